"""Replay: an audited decision, decided again under the version that it records."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from redoubt.audit import store as audit_store
from redoubt.core.db import Tx

from .errors import ReplayError
from .explain import Explanation, explain
from .models import AuthzRequest
from .versions import load


@frozen
class Replay:
    """A recorded decision beside the one that its version makes today of the recorded values.

    `complete` is False where personal data in the values was redacted: then the digest differs, and a policy that
    reads such a value may decide otherwise.
    """

    entry_id: str
    version: str
    recorded_allowed: bool
    recorded_reasons: tuple[str, ...]
    explanation: Explanation
    complete: bool

    @property
    def agrees(self) -> bool:
        """Say whether decision and determining policies are those that were recorded."""
        decision = self.explanation.decision
        return (decision.allowed, decision.reasons) == (self.recorded_allowed, self.recorded_reasons)


def replay(tx: Tx, entry_id: str) -> Replay:
    """Decide the audited decision `entry_id` again; raises ReplayError, UnknownVersion or CorruptPolicies."""
    row = tx.execute(
        sa.select(*audit_store.entry_columns()).where(audit_store.entries.c.id == entry_id)
    ).one_or_none()
    if row is None or row.action != "authz.decide":
        raise ReplayError(f"no decision {entry_id!r} is recorded.", hint="`redoubt audit list` shows ids.")
    data: dict[str, Any] = json.loads(row.body).get("unmapped", {})
    if not data.get("values") or not data.get("version"):
        raise ReplayError(
            "this record does not hold the values that were read.",
            hint="The resource did not exist, no policies could be trusted, or the values were too large.",
        )
    policies = load(tx, row.tenant, str(data["version"]))
    try:
        request = AuthzRequest.from_values(data["values"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ReplayError("the recorded values cannot be read back.") from error
    explanation = explain(policies, request)
    return Replay(
        entry_id,
        policies.version,
        row.outcome == "success",
        tuple(data["reasons"]),
        explanation,
        explanation.decision.digest == data["digest"],
    )
