"""The control face under `/_sandbox/`: arm faults, count what happened, start over. For tests; never a part of the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...core.limits import parse_json_object, read_body
from ...core.problem import Problem, problem_response
from . import faults, refunds
from .account import Account
from .errors import ApiError
from .operations import NAMES

_TYPES = ("payment_intent", "charge", "refund", "checkout.session", "balance_transaction", "event")
_Handler = Callable[[Account, Request, dict[str, Any]], Any]


class Control:
    """Handlers of the control face.

    Changes take JSON only, which a foreign web page cannot send without a preflight that nobody answers.
    """

    def __init__(self, account: Callable[[Request], Account], changed: Callable[[], None]) -> None:
        self._account = account
        self._changed = changed

    def routes(self) -> list[Route]:
        """Return the routes of the control face."""
        table: list[tuple[str, str, _Handler]] = [
            ("GET", "/_sandbox/", _index),
            ("GET", "/_sandbox/objects", _objects),
            ("GET", "/_sandbox/calls", _calls),
            ("GET", "/_sandbox/deliveries", _deliveries),
            ("GET", "/_sandbox/faults", lambda account, *_: {"faults": faults.armed(account.store)}),
            ("POST", "/_sandbox/faults", _arm),
            ("POST", "/_sandbox/faults/clear", _clear),
            ("POST", "/_sandbox/keys/forget", _forget),
            ("POST", "/_sandbox/events/{id}/redeliver", _redeliver),
            ("POST", "/_sandbox/refunds/{id}/fail", lambda a, r, _: refunds.fail(a, r.path_params["id"])),
            ("POST", "/_sandbox/reset", _reset),
        ]
        return [Route(path, self._wrap(handler), methods=[method]) for method, path, handler in table]

    def _wrap(self, handler: _Handler) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            try:
                given: dict[str, Any] = {}
                if request.method == "POST":
                    if (
                        request.headers.get("content-type", "").partition(";")[0].strip()
                        != "application/json"
                    ):
                        raise Problem(415, "json-only", "Send JSON.")
                    given = parse_json_object(await read_body(request.stream(), 16_384) or b"{}")
                account = self._account(request)
                with account.store.transaction():
                    answer = handler(account, request, given)
                self._changed()
                return JSONResponse(answer, headers={"Cache-Control": "no-store"})
            except ApiError as error:
                return JSONResponse(error.body(), error.status)
            except Problem as problem:
                return problem_response(problem, None)

        return endpoint


def _index(account: Account, request: Request, given: dict[str, Any]) -> Any:
    return {"operations": NAMES, "faults": [*faults.REQUEST_KINDS, *faults.WEBHOOK_KINDS], "types": _TYPES}


def _objects(account: Account, request: Request, given: dict[str, Any]) -> Any:
    wanted = request.query_params.get("type")
    kinds = _TYPES if wanted is None else (wanted,)
    fields: dict[str, Any] = {}
    for name, value in request.query_params.items():
        if name == "type":
            continue
        path = name.replace("metadata[", "metadata.").removesuffix("]")
        if '"' in path or len(path) > 80:
            raise Problem(400, "bad-filter", "The filter is not valid.")
        fields[path] = int(value) if name == "amount" and value.isdigit() else value
    found = [item for kind in kinds for item in account.store.find(kind, fields)]
    return {"count": len(found), "objects": found}


def _calls(account: Account, request: Request, given: dict[str, Any]) -> Any:
    wanted = request.query_params.get("operation")
    rows = account.store.run("SELECT operation, key, fault, status FROM calls ORDER BY id")
    calls = [dict(zip(("operation", "key", "fault", "status"), row, strict=True)) for row in rows]
    calls = [call for call in calls if wanted in (None, call["operation"])]
    return {"count": len(calls), "calls": calls}


def _deliveries(account: Account, request: Request, given: dict[str, Any]) -> Any:
    rows = account.store.run("SELECT event, state, attempts, answer FROM deliveries ORDER BY id")
    found = [dict(zip(("event", "state", "attempts", "answer"), row, strict=True)) for row in rows]
    return {"count": len(found), "waiting": sum(d["state"] == "waiting" for d in found), "deliveries": found}


def _arm(account: Account, request: Request, given: dict[str, Any]) -> Any:
    bad = given.keys() - {"kind", "operation", "times", "seconds", "saved"}
    kind, operation = given.get("kind"), given.get("operation", "*")
    times, seconds, saved = given.get("times", 1), given.get("seconds", 30.0), given.get("saved", True)
    if bad or kind not in faults.REQUEST_KINDS + faults.WEBHOOK_KINDS:
        raise Problem(
            400, "bad-fault", "The fault is not known.", extra={"allowed": _index(account, request, given)}
        )
    if kind in faults.REQUEST_KINDS and operation not in ("*", *NAMES):
        raise Problem(400, "bad-fault", "The operation is not known.", extra={"allowed": list(NAMES)})
    if (
        type(times) is not int
        or not 1 <= times <= 100_000
        or type(saved) is not bool
        or not isinstance(operation, str)
    ):
        raise Problem(400, "bad-fault", "The fault's counts are not valid.")
    if type(seconds) not in (int, float) or not 0 <= seconds <= 600:
        raise Problem(400, "bad-fault", "seconds is from 0 to 600.")
    faults.arm(account.store, faults.Fault(kind, operation, times, float(seconds), saved))
    return {"faults": faults.armed(account.store)}


def _clear(account: Account, request: Request, given: dict[str, Any]) -> Any:
    account.store.run("DELETE FROM faults")
    return {"faults": []}


def _forget(account: Account, request: Request, given: dict[str, Any]) -> Any:
    return {"forgotten": len(account.store.run("DELETE FROM keys RETURNING key"))}


def _redeliver(account: Account, request: Request, given: dict[str, Any]) -> Any:
    event = account.need("event", request.path_params["id"])
    account.store.run(
        "INSERT INTO deliveries (event, state, attempts, due) VALUES (?, 'waiting', 1, ?)",
        event["id"],
        account.clock.now().timestamp(),
    )
    return {"event": event["id"]}


def _reset(account: Account, request: Request, given: dict[str, Any]) -> Any:
    account.store.reset()
    return {"reset": True}
