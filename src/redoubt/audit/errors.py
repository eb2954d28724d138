"""What can go wrong with the audit log.

AuditError
├── EventInvalid         an event that cannot be recorded: a caller's mistake
├── LeaseLost            another worker sequences the log; this one must stop
├── LogTampered          the store contradicts itself or a published checkpoint; nothing more is signed
│   └── LogRolledBack    the store is older than a checkpoint that was already published
├── NoteInvalid          a signed note or checkpoint does not parse, or no trusted key signed it
├── ProofInvalid         a proof was asked for something outside the tree
└── EntryUnknown         there is no such entry
"""

from __future__ import annotations

from ..core.errors import RedoubtError


class AuditError(RedoubtError):
    """The audit log could not do what was asked."""

    code = "audit"


class EventInvalid(AuditError):
    """The event cannot be recorded: its action, actor or outcome is not well formed."""

    code = "audit-event-invalid"


class LeaseLost(AuditError):
    """Another worker holds the sequencer's lease; nothing was written."""

    code = "audit-lease-lost"


class LogTampered(AuditError):
    """The store contradicts itself or what was published; nothing is signed until a person has looked."""

    code = "audit-log-tampered"


class LogRolledBack(LogTampered):
    """The store is older than a checkpoint that was already published."""

    code = "audit-log-rolled-back"


class NoteInvalid(AuditError):
    """A signed note or checkpoint does not parse, or no trusted key signed it."""

    code = "audit-note-invalid"


class ProofInvalid(AuditError):
    """A proof was asked for an index or a size that the tree does not have."""

    code = "audit-proof-invalid"


class EntryUnknown(AuditError):
    """There is no such entry."""

    code = "audit-entry-unknown"
