"""Work that outlives its request: one table, two claim statements, two kinds of handler.

A *transactional* handler runs in the transaction that marks its job done, so its effect happens exactly once.
An *outward* handler first calls the world outside any transaction, then settles: the result and the job's state
are written together. An outward call can happen twice (the process may die after it), so the other side must be
idempotent for the job's id.
"""

from __future__ import annotations

from .queue import DOMAIN, GRANTS, Job, add, claim, enqueue, jobs
from .runner import Backoff, GiveUp, Jobs, Retry

__all__ = ["DOMAIN", "GRANTS", "Backoff", "GiveUp", "Job", "Jobs", "Retry", "add", "claim", "enqueue", "jobs"]
