"""The user's own passkeys and sessions: listed, added, removed, ended."""

from __future__ import annotations

from typing import Any

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from redoubt.core.db import Tx

from . import cookies
from .http import SELF, Call, reply, route
from .service import IdentityService
from .store import passkeys_of


def routes(identity: IdentityService) -> list[Route]:
    """Return the routes under /account; each is for the signed-in user's own objects only."""

    def of(path: str, method: str, handler: Any, page: bool = False) -> Route:
        return route(identity, path, method, handler, SELF, page)

    return [
        of("/account", "GET", account_page, page=True),
        of("/account/passkeys", "GET", list_passkeys),
        of("/account/passkeys/options", "POST", add_options),
        of("/account/passkeys/verify", "POST", add_verify),
        of("/account/passkeys/{id}/remove", "POST", remove_passkey),
        of("/account/sessions", "GET", list_sessions),
        of("/account/sessions/revoke-all", "POST", revoke_all),
        of("/account/sessions/{id}/revoke", "POST", revoke_session),
    ]


async def account_page(call: Call) -> Response:
    """Show the user's passkeys and sessions."""
    passkeys, sessions = await call.identity.core.db.read(
        lambda tx: (_passkeys(call, tx), _sessions(call, tx))
    )
    response = call.guard.render(
        "redoubt/account.html",
        csrf_token=call.csrf_token(),
        passkeys=passkeys,
        sessions=sessions,
        me=call.session,
    )
    response.headers["Cache-Control"] = "no-store"
    return response


async def list_passkeys(call: Call) -> Response:
    """List the user's passkeys."""
    return reply({"passkeys": await call.identity.core.db.read(lambda tx: _passkeys(call, tx))})


async def list_sessions(call: Call) -> Response:
    """List the user's live sessions."""
    return reply({"sessions": await call.identity.core.db.read(lambda tx: _sessions(call, tx))})


async def add_options(call: Call) -> Response:
    """Begin adding a passkey."""
    return reply(await call.identity.passkey_options(call.browser, call.session))


async def add_verify(call: Call) -> Response:
    """End adding a passkey."""
    signed_in = await call.identity.passkey_verify(
        call.browser, call.session, call.credential, call.text("label", 64)
    )
    return call.signed_in(signed_in, 201)


async def remove_passkey(call: Call) -> Response:
    """Remove one of the user's passkeys."""
    await call.identity.remove_passkey(call.browser, call.session, call.request.path_params["id"])
    return _done(call)


async def revoke_session(call: Call) -> Response:
    """End one of the user's sessions."""
    session_id = call.request.path_params["id"]
    await call.identity.revoke_session(call.browser, call.session, session_id)
    response = _done(call)
    if session_id == call.session.session_id:
        cookies.clear_session(response)
    return response


async def revoke_all(call: Call) -> Response:
    """End every session of the user, this one included."""
    await call.identity.revoke_all_sessions(call.browser, call.session)
    response: Response = (
        RedirectResponse("/auth/login", 303) if call.wants_page else reply({"status": "done"})
    )
    cookies.clear_session(response)
    return response


def _done(call: Call) -> Response:
    return RedirectResponse("/account", 303) if call.wants_page else reply({"status": "done"})


def _passkeys(call: Call, tx: Tx) -> list[dict[str, Any]]:
    return [
        {
            "id": row.id,
            "label": row.label or "Passkey",
            "created_at": row.created_at.isoformat(),
            "last_used_at": row.last_used_at.isoformat() if row.last_used_at else None,
            "backed_up": row.backed_up,
            "transports": row.transports,
        }
        for row in passkeys_of(tx, call.session.user_id)
    ]


def _sessions(call: Call, tx: Tx) -> list[dict[str, Any]]:
    return [
        {
            "id": row.id,
            "current": row.id == call.session.session_id,
            "created_at": row.created_at.isoformat(),
            "seen_at": row.seen_at.isoformat(),
            "network": row.network,
            "agent": row.agent,
            "amr": row.amr,
        }
        for row in call.identity.sessions.list_of(tx, call.session.user_id)
    ]
