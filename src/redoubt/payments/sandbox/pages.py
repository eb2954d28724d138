"""The hosted payment page: the only place where a card number is typed, on the provider's origin, without JavaScript."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from html import escape
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ...core.limits import one_of_each, read_body
from ...core.problem import Problem
from . import faults, sessions
from .account import Account
from .api import abort
from .cards import by_number
from .errors import ApiError

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { display: grid; place-items: center; min-height: 100vh; margin: 0 }
main { width: min(24rem, 92vw) }
h1 { font-size: 1.1rem; font-weight: 500 } .sum { font-size: 2rem; font-weight: 600; margin: 0 }
label { display: block; margin-top: 1rem } input { box-sizing: border-box; width: 100%; padding: .6rem; font: inherit }
.row { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem }
button { width: 100%; margin-top: 1.5rem; padding: .8rem; font: inherit; font-weight: 600; border: 0; border-radius: .4rem;
  background: #0a5; color: #fff; cursor: pointer }
.error { color: #c22; font-weight: 600 } .note { font-size: .85rem; opacity: .75 }
a:focus-visible, button:focus-visible, input:focus-visible { outline: 3px solid #06c; outline-offset: 2px }
"""
_ZERO_DECIMAL = frozenset(
    [
        "bif",
        "clp",
        "djf",
        "gnf",
        "jpy",
        "kmf",
        "krw",
        "mga",
        "pyg",
        "rwf",
        "ugx",
        "vnd",
        "vuv",
        "xaf",
        "xof",
        "xpf",
    ]
)


class Pages:
    """`GET /pay/{id}` shows the form, `POST /pay/{id}` charges the card and sends the customer back."""

    def __init__(self, account: Callable[[Request], Account], changed: Callable[[], None]) -> None:
        self._account = account
        self._changed = changed

    async def show(self, request: Request) -> Response:
        """Return the form of an open session."""
        account = self._account(request)
        with account.store.transaction():
            session = account.store.get("checkout.session", request.path_params["id"])
            session = sessions.current(account, session) if session else None
        self._changed()
        if session is None:
            return _page("Not found", "<p>This payment page does not exist.</p>", 404)
        return _closed(session) or self._form(account, session)

    async def pay(self, request: Request) -> Response:
        """Charge the card typed into the form: once for a session, however often the button is pressed."""
        account = self._account(request)
        fault = faults.take(account.store, faults.REQUEST_KINDS, "checkout.pay")
        kind = fault.kind if fault else ""
        if kind == "refuse":
            return abort(request)
        body = await read_body(request.stream(), 8192)
        fields = _fields(body)
        if fault and kind in ("slow", "timeout_before"):
            await asyncio.sleep(fault.seconds)
        if kind == "timeout_before":
            return abort(request)
        if kind == "error_before":
            return _page("Error", "<p>Something went wrong. Please try again.</p>", 500)
        response = self._pay(account, request.path_params["id"], fields)
        self._changed()
        if fault and kind == "timeout_after":
            await asyncio.sleep(fault.seconds)
        if kind in ("timeout_after", "drop_after"):
            return abort(request)
        if kind == "error_after":
            return _page("Error", "<p>Something went wrong.</p>", 500)
        return response

    def _pay(self, account: Account, session_id: str, fields: dict[str, str]) -> Response:
        with account.store.transaction():
            session = account.store.get("checkout.session", session_id)
            if session is None:
                return _page("Not found", "<p>This payment page does not exist.</p>", 404)
            session = sessions.current(account, session)
            if (closed := _closed(session)) is not None:
                return closed
            if not fields.get("expiry") or not fields.get("cvc"):
                return self._form(account, session, "Please fill in every field.")
            try:
                session, error = sessions.pay(account, session, by_number(fields.get("card_number", "")))
            except ApiError as refusal:
                return self._form(account, session, refusal.message)
            if error is not None:
                return self._form(account, session, error.message)
            return _closed(session) or self._form(
                account, session, "Your bank asks for a confirmation; use another card."
            )

    def _form(self, account: Account, session: dict[str, Any], error: str = "") -> Response:
        lines = sessions.lines_of(account, session["id"])
        items = "".join(f"<li>{line['quantity']} × {escape(line['description'])}</li>" for line in lines)
        cancel = (
            f'<p><a href="{escape(session["cancel_url"])}">Cancel and go back</a></p>'
            if session["cancel_url"]
            else ""
        )
        alert = f'<p class="error" role="alert">{escape(error)}</p>' if error else ""
        body = f"""<h1>Test payment</h1><p class="sum">{_money(session["amount_total"], session["currency"])}</p><ul>{items}</ul>
{alert}<form method="post" action="/pay/{session["id"]}" autocomplete="off">
<label>Card number<input name="card_number" inputmode="numeric" required maxlength="23" autocomplete="cc-number"></label>
<div class="row"><label>Expiry<input name="expiry" required maxlength="7" placeholder="12 / 34" autocomplete="cc-exp"></label>
<label>CVC<input name="cvc" inputmode="numeric" required maxlength="4" autocomplete="cc-csc"></label></div>
<button type="submit">Pay {_money(session["amount_total"], session["currency"])}</button></form>{cancel}
<p class="note">Sandbox: no money moves. 4242 4242 4242 4242 pays, 4000 0000 0000 0002 is declined.</p>"""
        return _page("Test payment", body, 402 if error else 200, _origins(session))


def style(request: Request) -> Response:
    """Return the page's style sheet."""
    return Response(STYLE, media_type="text/css", headers={"Cache-Control": "max-age=3600"})


def _closed(session: dict[str, Any]) -> Response | None:
    if session["status"] == "complete":
        target = session["success_url"].replace("{CHECKOUT_SESSION_ID}", session["id"])
        return RedirectResponse(target, 303, {"Cache-Control": "no-store"})
    if session["status"] == "expired":
        return _page("Expired", "<p>This payment page has expired.</p>", 410)
    return None


def _fields(body: bytes) -> dict[str, str]:
    try:
        return one_of_each(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=20))
    except (UnicodeDecodeError, ValueError, Problem):
        return {}


def _origins(session: dict[str, Any]) -> str:
    # A browser holds form-action against the redirect that follows the POST as well.
    urls = [urlsplit(session[name]) for name in ("success_url", "cancel_url") if session[name]]
    return " ".join(sorted({f"{url.scheme}://{url.netloc}" for url in urls}))


def _money(amount: int, currency: str) -> str:
    shown = f"{amount:,}" if currency in _ZERO_DECIMAL else f"{amount // 100:,}.{amount % 100:02d}"
    return f"{currency.upper()} {shown}"


def _page(title: str, body: str, status: int = 200, origins: str = "") -> Response:
    policy = (
        "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
        f"form-action 'self' {origins}".rstrip()
    )
    html = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/pay.css">'
        f"<main>{body}</main></html>"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(html, status, headers)
