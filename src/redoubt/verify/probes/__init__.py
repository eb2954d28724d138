"""The probes, one module a subject; importing this package registers them."""

from . import (
    authorization,
    corpus,
    durability,
    identity,
    operations,
    payments,
    powers,
    supply,
    table,
    validation,
    webhooks,
)

__all__ = [
    "authorization",
    "corpus",
    "durability",
    "identity",
    "operations",
    "payments",
    "powers",
    "supply",
    "table",
    "validation",
    "webhooks",
]
