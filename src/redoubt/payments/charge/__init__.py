"""The charge service: the only process that holds the provider's key, with a database of its own.

It takes idempotent commands over mutual TLS, commits an intent before the provider is called, keeps an unknown
outcome as a state until a look-up resolves it, and books what happened in a ledger that the database defends.
"""

from pathlib import Path

from redoubt.core.db import Domain

from . import store
from .grants import DEFINERS, GRANTS

DOMAIN = Domain(
    name="charge",
    migrations=Path(__file__).parent / "migrations",
    metadata=store.metadata,
    triggers=store.TRIGGERS,
    grants=GRANTS,
    definers=DEFINERS,
)

__all__ = ["DOMAIN"]
