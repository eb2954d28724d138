"""Who is there: passkeys, magic links, sessions, step-up and one-time enrolment. No password anywhere."""

from pathlib import Path

from redoubt.core.db import Domain

from . import store

DOMAIN = Domain(name="identity", migrations=Path(__file__).parent / "migrations", metadata=store.metadata)

__all__ = ["DOMAIN"]
