"""Who does what with change requests and switches: people decide in the app; the worker only looks."""

from __future__ import annotations

from ..core.db import use
from .store import approvals, switches

_DECISION = ("state", "decided_by", "decided_at", "reason", "credential", "assertion", "assertion_hash")
_FLIP = ("state", "version", "reason", "changed_by", "changed_at", "approval_id")

GRANTS = {
    # A decided request is never changed: a trigger holds that for every role.
    "app": (use(approvals, insert=True, update=_DECISION), use(switches, insert=True, update=_FLIP)),
    # The table of members looks for the approval of an emergency role, whoever keeps it.
    "worker": (use(switches), use(approvals)),
}
