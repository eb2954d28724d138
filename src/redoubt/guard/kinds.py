"""Kinds of change requests: every kind says who may decide it and what its approval sets in motion."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Protocol

from attrs import field, frozen

from ..core.db import Tx
from .errors import KindUnknown
from .models import Approval, Decision, VerifiedAssertion

_NAME = re.compile(r"[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)+")
MAX_LIFETIME = timedelta(days=7)


class AssertionVerifier(Protocol):
    """Checks a WebAuthn assertion; bound by the runtime to the passkeys of identity."""

    def verify(
        self, tx: Tx, user_id: str, challenge: bytes, assertion: Mapping[str, Any]
    ) -> VerifiedAssertion:
        """Return what `assertion` proved about `challenge`; raises any RedoubtError or Problem when it proves nothing.

        `tx` is the approving transaction: a signature counter is written with the decision or not at all.
        """
        ...


class Executor(Protocol):
    """Brings about what was approved, inside the approving transaction."""

    def execute(self, tx: Tx, approval: Approval, decision: Decision) -> Mapping[str, Any] | None:
        """Apply the payload and return what the audit entry should say about it.

        Raises ApprovalStale when the payload no longer fits; then nothing is decided and nothing is written.
        """
        ...


class DryRun(Protocol):
    """Shows what an approval would change, before it is given."""

    def run(self, tx: Tx, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the difference as canonical JSON values; the same state gives the same result."""
        ...


MayDecide = Callable[[Tx, Approval, str], bool]
"""Says whether a person may decide a request; bound by the runtime to authorization."""


@frozen
class Kind:
    """One kind of change request. There is no default for who may decide it.

    With `dry_run` the hash of its result joins the payload, so that the approver signs it, and it is run again when
    they do: a different outcome refuses the approval.
    """

    name: str
    executor: Executor
    may_decide: MayDecide
    dry_run: DryRun | None = None
    lifetime: timedelta = field(default=timedelta(hours=24))

    def __attrs_post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError("a kind is lower-case words joined by dots, such as payments.refund")
        if not timedelta(0) < self.lifetime <= MAX_LIFETIME:
            raise ValueError("a change request lives for at most seven days")


class Kinds:
    """The kinds that this process can carry out."""

    def __init__(self, *kinds: Kind) -> None:
        self._kinds: dict[str, Kind] = {}
        for kind in kinds:
            self.register(kind)

    def register(self, kind: Kind) -> None:
        """Add a kind; a name is never taken twice."""
        if kind.name in self._kinds:
            raise ValueError(f"the kind {kind.name} is registered already")
        self._kinds[kind.name] = kind

    def __getitem__(self, name: str) -> Kind:
        """Return the kind of that name; raises KindUnknown."""
        try:
            return self._kinds[name]
        except KeyError:
            raise KindUnknown("no such kind of change request is registered here.") from None

    def names(self) -> list[str]:
        """Return the registered names in order."""
        return sorted(self._kinds)
