"""The probes, one module a subject; importing this package registers them."""

from . import (
    abuse,
    authorization,
    corpus,
    denials,
    durability,
    identity,
    mutual,
    operations,
    payments,
    powers,
    rules,
    supply,
    table,
    tokens,
    validation,
    webhooks,
)

__all__ = [
    "abuse",
    "authorization",
    "corpus",
    "denials",
    "durability",
    "identity",
    "mutual",
    "operations",
    "payments",
    "powers",
    "rules",
    "supply",
    "table",
    "tokens",
    "validation",
    "webhooks",
]
