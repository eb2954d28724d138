"""The overview: what was proven last, what waits, what is switched off, how far the audit log reaches."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from redoubt.authz import permit
from redoubt.authz.breakglass import open_now
from redoubt.core.db import Tx
from redoubt.guard.switches import status
from redoubt.runtime.app import Redoubt
from redoubt.runtime.request import GuardedRequest

from .web import answer

_MAX_REPORT = 16 * 1024 * 1024
_WAITING_SHOWN = 20


def last_verdicts(state_dir: Path) -> dict[str, Any] | None:
    """Return counts and age of the report that `redoubt verify` left in the state folder, if one is there."""
    path = state_dir / "verify" / "report.json"
    try:
        if path.stat().st_size > _MAX_REPORT:
            return None
        report = json.loads(path.read_text())
        counts = Counter(str(control["verdict"]) for control in report["controls"])
        broken = [str(control["id"]) for control in report["controls"] if control["verdict"] == "broken"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return {
        "at": str(report.get("finished_at") or report.get("at") or ""),
        "counts": dict(counts),
        "broken": broken,
    }


def routes(guard: Redoubt) -> list[Route]:
    """Return the overview's route."""

    @permit("Console.view")
    async def overview(request: Request) -> Response:
        g = GuardedRequest.of(request)
        approvals = guard.services.approvals
        now = g.core.clock.now()

        def look(tx: Tx) -> dict[str, Any]:
            waiting = [
                one
                for one in approvals.list(tx, g.tenant, state="pending", limit=200)
                if one.status(now) == "pending"
            ]
            return {
                "waiting": [
                    {"id": one.id, "kind": one.kind, "created_at": one.created_at}
                    for one in waiting[:_WAITING_SHOWN]
                ],
                "waiting_count": len(waiting),
                "killed": [
                    {"capability": one.capability, "tenant": one.tenant} for one in status(tx) if one.killed
                ],
                "emergencies": [
                    {
                        "user": one.user_id,
                        "role": one.role,
                        "until": one.expires_at,
                        "approval": one.approval_id,
                    }
                    for one in open_now(tx, g.core, g.tenant)
                ],
                "audit": guard.services.audit_head(tx),
            }

        found = await g.read(look)
        names = guard.services.names
        people = await g.read(lambda tx: names(tx, sorted({one["user"] for one in found["emergencies"]})))
        found["policy_version"] = guard.services.head.decider(g.tenant).version
        found["verdicts"] = last_verdicts(g.core.settings.state_dir)
        return answer(g, "overview.html", found, people=people)

    return [Route("/console", overview, methods=["GET"])]
