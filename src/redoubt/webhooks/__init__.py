"""Webhooks: signed deliveries in, kept exactly once, and signed deliveries out."""

from pathlib import Path

from ..core.db import Domain
from . import store
from .grants import GRANTS
from .models import Delivery, EndpointConfig, Handler, TargetConfig
from .outbox import emit
from .routes import routes
from .service import Webhooks

DOMAIN = Domain(
    name="webhooks",
    migrations=Path(__file__).parent / "migrations",
    metadata=store.metadata,
    triggers=store.TRIGGERS,
    grants=GRANTS,
)

__all__ = ["DOMAIN", "Delivery", "EndpointConfig", "Handler", "TargetConfig", "Webhooks", "emit", "routes"]
