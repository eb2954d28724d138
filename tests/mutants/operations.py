"""Mutants of operations: no audit event, a verifier that sees nothing, dead switches, prices and dry runs that skip."""

from __future__ import annotations

from .model import Mutant, library

MUTANTS = (
    Mutant(
        "OPS-1",
        "logins-leave-no-event",
        [library("identity/journal.py", "        record(tx, self._core, event)\n", "        del event\n")],
    ),
    Mutant(
        "OPS-1",
        "decisions-leave-no-event",
        [
            library(
                "authz/enforce.py",
                "        await self._noise.record(decision_event(caller, action, target, decision, step_up_would_allow))\n",
                "        return\n",
            )
        ],
        quick=True,
    ),
    Mutant(
        "OPS-1",
        "the-verifier-is-blind",
        [library("audit/verify.py", "        if len(self.findings) < MAX_FINDINGS:\n", "        if False:\n")],
    ),
    Mutant(
        "OPS-2",
        "a-hundred-days-are-enough",
        [library("core/settings.py", "retention_days: Annotated[int, Field(ge=365,", "retention_days: Annotated[int, Field(ge=1,")],
    ),
    Mutant(
        "OPS-2",
        "entries-can-be-deleted",  # the trigger stands, and never says no
        [
            library(
                "audit/migrations/0001_audit.py",
                '("audit_entries", "DELETE", None, "an audit entry cannot be deleted"),',
                '("audit_entries", "DELETE", "1 = 0", "an audit entry cannot be deleted"),',
            )
        ],
    ),
    Mutant(
        "OPS-7",
        "killed-capabilities-live-on",
        [library("guard/board.py", "                raise Killed(capability, tenant)\n", "                return\n")],
    ),
    Mutant(
        "OPS-7",
        "other-processes-never-hear-of-it",
        [
            library("guard/board.py", "            await asyncio.sleep(self._interval)\n",
                    "            await asyncio.sleep(3600)\n"),
            library("guard/board.py", "            self._killed = self._killed | {(tenant, capability)}\n",
                    "            return\n"),
        ],
    ),
    Mutant(
        "OPS-8",
        "a-price-counts-at-once",  # neither the handler nor the database waits for anybody
        [
            library(
                "runtime/crud.py",
                "        wanted = take_prices(self.kind, row, values, reasons)\n",
                "        wanted = take_prices(self.kind, row, {}, reasons)\n",
            ),
            library("payments/prices/defence.py", "    refused = f'NOT (", "    refused = f'1 = 0 AND NOT ("),
        ],
    ),
    Mutant(
        "OPS-8",
        "a-change-over-an-old-price-counts",  # neither the service nor the database looks what it was rehearsed over
        [
            library("payments/prices/service.py", "        if head.version != proposal.base:\n", "        if head.version < proposal.base:\n"),
            library(
                "payments/migrations/0002_prices.py",
                "(NEW.version > 1 AND NOT EXISTS ({_approved()}))",
                "(NEW.version > 1 AND 1 = 0)",
            ),
        ],
    ),
    Mutant(
        "OPS-8",
        "the-dry-run-leaves-an-order-out",
        [library("payments/prices/rehearsal.py", "    for order in orders:\n", "    for order in orders[1:]:\n")],
    ),
    Mutant(
        "OPS-8",
        "the-dry-run-counts-a-question-once",  # however often it was decided
        [library("authz/gate/rehearsal.py", "        found[turned] += times[item.digest]\n", "        found[turned] += 1\n")],
    ),
)  # fmt: skip
