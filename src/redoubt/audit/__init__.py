"""Audit: OCSF-shaped events, committed with their effect, in one Merkle log with signed checkpoints."""

from pathlib import Path

from ..core.db import Domain
from . import store
from .grants import GRANTS
from .models import ANONYMOUS, Actor, Entry, Event, Written
from .service import RECORD, RecordCommand, record

DOMAIN = Domain(
    name="audit",
    migrations=Path(__file__).parent / "migrations",
    metadata=store.metadata,
    triggers=store.TRIGGERS,
    grants=GRANTS,
)

__all__ = ["ANONYMOUS", "DOMAIN", "RECORD", "Actor", "Entry", "Event", "RecordCommand", "Written", "record"]
