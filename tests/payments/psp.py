"""A small provider in a process of its own: Stripe's shapes over real HTTP, one account an API key, faults on demand.

It shares no code with what it serves. `honours` says whether idempotency keys mean anything to an account.
`python -m tests.payments.psp` prints its port.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


class Account:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.objects: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, tuple[str, int, dict[str, Any]]] = {}
        self.events: list[dict[str, Any]] = []
        self.faults: list[dict[str, Any]] = []
        self.honours = True
        self.calls: list[str] = []
        self.refund_ceiling = True

    def new(self, prefix: str, kind: str, **fields: Any) -> dict[str, Any]:
        made = {
            "id": f"{prefix}_{len(self.objects) + 1:06d}{id(self) % 997}",
            "object": kind,
            "created": int(time.time()),
            **fields,
        }
        self.objects[made["id"]] = made
        return made

    def emit(self, kind: str, item: dict[str, Any]) -> None:
        self.events.append(
            {
                "id": f"evt_{len(self.events) + 1}_{id(self)}",
                "object": "event",
                "type": kind,
                "data": {"object": json.loads(json.dumps(item))},
            }
        )


ACCOUNTS: dict[str, Account] = defaultdict(Account)


def unflatten(body: bytes) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in parse_qsl(body.decode(), keep_blank_values=True):
        path = name.replace("]", "").split("[")
        here = out
        for step in path[:-1]:
            here = here.setdefault(step, {})
        here[path[-1]] = value
    return out


class Fault(Exception):
    pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body in one segment

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def error(self, status: int, kind: str, code: str, **extra: Any) -> tuple[int, Any]:
        return status, {"error": {"type": kind, "code": code, "message": "no", **extra}}

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        account = ACCOUNTS[self.headers.get("X-Account") or token]
        if parts.path.startswith("/_"):
            self.answer(200, self.control(account, parts.path, body))
            return
        call = f"{self.command} {parts.path}"
        try:
            with account.lock:
                account.calls.append(call)
                fault = next((f for f in account.faults if call.startswith(f["match"])), None)
                if fault is not None:
                    account.faults.remove(fault)
                if fault is not None and fault["when"] == "before":
                    self.fail(fault)
                status, result = self.route(account, self.command, parts.path, parts.query, body)
            if fault is not None:
                self.fail(fault)
        except Fault:
            return
        self.answer(status, result)

    do_GET = do_POST = handle_any

    def fail(self, fault: dict[str, Any]) -> None:
        what = fault["what"]
        if what == "hide":  # a list that lags behind
            self.answer(200, {"object": "list", "data": [], "has_more": False, "url": "/"})
            raise Fault
        if what == "drop":
            self.close_connection = True
            self.connection.close()
        elif what == "hang":
            time.sleep(0.7)
            self.close_connection = True
        else:
            kind = {409: "idempotency_error", 429: "rate_limit_error", 401: "authentication_error"}.get(
                what, "api_error"
            )
            self.answer(what, {"error": {"type": kind, "code": "fault", "message": "no"}})
        raise Fault

    def control(self, account: Account, path: str, body: bytes) -> Any:
        given = json.loads(body or b"{}")
        with account.lock:
            if path == "/_set":
                account.faults.extend(given.get("faults", []))
                account.honours = given.get("honours", account.honours)
                account.refund_ceiling = given.get("refund_ceiling", account.refund_ceiling)
            elif path == "/_forget_keys":
                account.keys.clear()
            elif path == "/_pay":
                self.pay(account, account.objects[given["session"]])
            elif path == "/_expire":
                account.objects[given["session"]]["status"] = "expired"
                account.emit("checkout.session.expired", account.objects[given["session"]])
            elif path == "/_refund_fails":
                made = account.objects[given["refund"]]
                made["status"], made["failure_reason"] = "failed", "lost_or_stolen_card"
                account.emit("refund.failed", made)
            return {
                "objects": list(account.objects.values()),
                "events": account.events,
                "calls": account.calls,
            }

    def pay(self, account: Account, session: dict[str, Any]) -> None:
        intent = account.new(
            "pi", "payment_intent", amount=session["amount_total"], currency=session["currency"], status="succeeded",
            metadata=session["_intent_metadata"],
        )  # fmt: skip
        session.update(status="complete", payment_status="paid", payment_intent=intent["id"], url=None)
        account.emit("payment_intent.succeeded", intent)
        account.emit("checkout.session.completed", session)

    def route(self, account: Account, method: str, path: str, query: str, body: bytes) -> tuple[int, Any]:
        if method == "POST":
            key = self.headers.get("Idempotency-Key")
            digest = body.decode()
            if key and account.honours and key in account.keys:
                known, status, result = account.keys[key]
                return (
                    (status, result)
                    if known == digest
                    else self.error(400, "idempotency_error", "key_reused")
                )
            status, result = self.make(account, path, unflatten(body))
            if key and account.honours:
                account.keys[key] = (digest, status, json.loads(json.dumps(result)))
            return status, result
        names = {
            "payment_intents": "payment_intent",
            "refunds": "refund",
            "checkout/sessions": "checkout.session",
        }
        rest = path.removeprefix("/v1/")
        if rest in names:
            wanted = dict(parse_qsl(query))
            found = [o for o in reversed(account.objects.values()) if o["object"] == names[rest]]
            if "payment_intent" in wanted:
                found = [o for o in found if o.get("payment_intent") == wanted["payment_intent"]]
            return 200, {"object": "list", "data": found, "has_more": False, "url": path}
        found_one = account.objects.get(rest.rpartition("/")[2])
        return (200, found_one) if found_one else self.error(404, "invalid_request_error", "resource_missing")

    def make(self, account: Account, path: str, given: dict[str, Any]) -> tuple[int, Any]:
        if path == "/v1/payment_intents":
            declined = given["payment_method"] == "pm_card_declined"
            made = account.new(
                "pi", "payment_intent", amount=int(given["amount"]), currency=given["currency"],
                status="requires_payment_method" if declined else "succeeded", metadata=given.get("metadata", {}),
                last_payment_error={"code": "card_declined"} if declined else None,
            )  # fmt: skip
            account.emit("payment_intent.payment_failed" if declined else "payment_intent.succeeded", made)
            if declined:
                return self.error(402, "card_error", "card_declined", payment_intent=made)
            return 200, made
        if path == "/v1/checkout/sessions":
            price = given["line_items"]["0"]["price_data"]
            made = account.new(
                "cs", "checkout.session", amount_total=int(price["unit_amount"]), currency=price["currency"], status="open",
                payment_status="unpaid", payment_intent=None, metadata=given.get("metadata", {}), url="https://pay.example/x",
                _intent_metadata=given["payment_intent_data"]["metadata"],
            )  # fmt: skip
            return 200, made
        if path == "/v1/refunds":
            payment = account.objects[given["payment_intent"]]
            before = sum(
                o["amount"] for o in account.objects.values()
                if o["object"] == "refund" and o["payment_intent"] == payment["id"] and o["status"] != "failed"
            )  # fmt: skip
            if account.refund_ceiling and before + int(given["amount"]) > payment["amount"]:
                return self.error(400, "invalid_request_error", "charge_already_refunded")
            made = account.new(
                "re", "refund", amount=int(given["amount"]), currency=payment["currency"], status="succeeded",
                payment_intent=payment["id"], metadata=given.get("metadata", {}),
            )  # fmt: skip
            account.emit("refund.created", made)
            return 200, made
        return self.error(404, "invalid_request_error", "unknown_url")


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()  # lives as long as its parent holds the pipe
