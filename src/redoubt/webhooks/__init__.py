"""Webhooks: signed deliveries in, kept exactly once, and signed deliveries out."""

from pathlib import Path

from ..core.db import Domain
from . import store

DOMAIN = Domain(
    name="webhooks",
    migrations=Path(__file__).parent / "migrations",
    metadata=store.metadata,
    triggers=store.TRIGGERS,
)
