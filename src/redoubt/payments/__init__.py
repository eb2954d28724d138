"""Payments: the app's side, which writes commands and mirrors what the charge service reports.

The charge service (`payments.charge`) is a process of its own with its own database; only it holds the provider's key.
"""

from pathlib import Path

from redoubt.core.db import Domain

from . import store
from .client import ChargeClient
from .grants import GRANTS
from .models import Payment, PaymentHook, Refund
from .prices import store as price_store
from .service import Payments

DOMAIN = Domain(
    name="payments",
    migrations=Path(__file__).parent / "migrations",
    metadata=store.metadata,
    triggers=store.TRIGGERS | price_store.TRIGGERS,
    grants=GRANTS,
)

__all__ = ["DOMAIN", "ChargeClient", "Payment", "PaymentHook", "Payments", "Refund"]
