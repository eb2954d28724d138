"""The pages and calls of signing in: passkeys, magic links, step-up, enrolment."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route

from redoubt.core.problem import Problem

from . import account, cookies
from .http import PUBLIC, SELF, Call, reply, route, safe_next, user_json
from .service import IdentityService

STATIC = Path(__file__).parent / "static"
_FILES = {"passkey.js": "text/javascript", "redoubt.css": "text/css"}


def routes(identity: IdentityService) -> list[Route]:
    """Return every route of identity; each endpoint declares `__redoubt_permission__`."""

    def of(path: str, method: str, handler: object, permission: str = PUBLIC, page: bool = False) -> Route:
        return route(identity, path, method, handler, permission, page)  # type: ignore[arg-type]

    return [
        of("/auth/session", "GET", session),
        of("/auth/login", "GET", login_page, page=True),
        of("/auth/register", "GET", register_page, page=True),
        of("/auth/register/options", "POST", register_options),
        of("/auth/register/verify", "POST", register_verify),
        of("/auth/login/options", "POST", login_options),
        of("/auth/login/verify", "POST", login_verify),
        of("/auth/magic", "POST", magic_ask),
        of("/auth/magic/confirm", "POST", magic_confirm),
        of("/auth/magic/{token}", "GET", magic_page, page=True),
        of("/auth/stepup", "GET", stepup_page, SELF, page=True),
        of("/auth/stepup/options", "POST", stepup_options, SELF),
        of("/auth/stepup/verify", "POST", stepup_verify, SELF),
        of("/auth/logout", "POST", logout),
        of("/enrol/options", "POST", enrol_options),
        of("/enrol/verify", "POST", enrol_verify),
        of("/enrol/{token}", "GET", enrol_page, page=True),
        of("/static/redoubt/{name}", "GET", static),
        *account.routes(identity),
    ]


async def session(call: Call) -> Response:
    """Tell a page who is signed in, and give it its CSRF token."""
    current = call.guard.subject
    body = {
        "authenticated": current is not None,
        "user": user_json(current) if current else None,
        "csrf": call.csrf_token(),
        "auth_time": current.auth_time.isoformat() if current else None,
        "amr": list(current.amr) if current else [],
        "step_up_until": current.step_up_until.isoformat() if current and current.step_up_until else None,
    }
    response = reply(body)
    if current is None and call.guard.session_token is not None:
        cookies.clear_session(response)
    return response


async def login_page(call: Call) -> Response:
    """Show the login: passkey first, a link by mail beside it."""
    return _page(call, "redoubt/login.html", next=_next(call))


async def register_page(call: Call) -> Response:
    """Show the sign-up."""
    return _page(call, "redoubt/register.html", next=_next(call))


async def register_options(call: Call) -> Response:
    """Begin a self sign-up."""
    return reply(await call.identity.register_options(call.browser, call.body.get("email")))


async def register_verify(call: Call) -> Response:
    """End a self sign-up."""
    signed_in = await call.identity.register_verify(call.browser, call.credential, call.text("label", 64))
    return call.signed_in(signed_in, 201)


async def login_options(call: Call) -> Response:
    """Begin a login."""
    return reply(await call.identity.login_options(call.browser))


async def login_verify(call: Call) -> Response:
    """End a login."""
    return call.signed_in(await call.identity.login_verify(call.browser, call.credential))


async def magic_ask(call: Call) -> Response:
    """Ask for a magic link; the same 202 for every address."""
    await call.identity.magic_ask(
        call.browser, call.body.get("email"), safe_next(call.body.get("next")) or ""
    )
    if call.wants_page:
        return _page(call, "redoubt/sent.html", status=202)
    return reply({"status": "accepted"}, 202)


async def magic_page(call: Call) -> Response:
    """Show the form that confirms a link; opening it changes nothing."""
    token = call.request.path_params["token"]
    await call.identity.magic_peek(call.browser, token)
    return _page(call, "redoubt/magic.html", token=token)


async def magic_confirm(call: Call) -> Response:
    """Take a magic link."""
    signed_in, next_path = await call.identity.magic_confirm(call.browser, call.body.get("token"))
    return call.signed_in(signed_in, next_path=next_path)


async def stepup_page(call: Call) -> Response:
    """Show the page that asks for the passkey again."""
    return _page(call, "redoubt/stepup.html", next=_next(call))


async def stepup_options(call: Call) -> Response:
    """Begin a step-up."""
    return reply(await call.identity.stepup_options(call.browser, call.session))


async def stepup_verify(call: Call) -> Response:
    """End a step-up."""
    return call.signed_in(await call.identity.stepup_verify(call.browser, call.session, call.credential))


async def logout(call: Call) -> Response:
    """End the session, if there is one."""
    if call.guard.subject is not None:
        await call.identity.logout(call.browser, call.guard.subject)
    response: Response = (
        RedirectResponse("/auth/login", 303) if call.wants_page else reply({"authenticated": False})
    )
    cookies.clear_session(response)
    return response


async def enrol_page(call: Call) -> Response:
    """Show an open enrolment link; opening it changes nothing."""
    token = call.request.path_params["token"]
    role, email = await call.identity.enrol_peek(call.browser, token)
    return _page(call, "redoubt/enrol.html", token=token, role=role, email=email or "")


async def enrol_options(call: Call) -> Response:
    """Begin an enrolment."""
    body = call.body
    return reply(await call.identity.enrol_options(call.browser, body.get("token"), body.get("email")))


async def enrol_verify(call: Call) -> Response:
    """End an enrolment."""
    token = call.body.get("token")
    signed_in = await call.identity.enrol_verify(call.browser, token, call.credential, call.text("label", 64))
    return call.signed_in(signed_in, 201)


async def static(call: Call) -> Response:
    """Serve the script and the style that every page of the library uses."""
    name = call.request.path_params["name"]
    if name not in _FILES:
        raise Problem(404, "not-found", "There is nothing here.")
    headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    return FileResponse(STATIC / name, media_type=_FILES[name], headers=headers)


def _page(call: Call, template: str, *, status: int = 200, **context: object) -> Response:
    config = call.identity.config
    response = call.guard.render(
        template,
        status=status,
        csrf_token=call.csrf_token(),
        sign_up=config.sign_up is not None,
        magic_links=config.magic_links,
        **context,
    )
    response.headers["Cache-Control"] = "no-store"
    # The address may hold a one-time token. Not `no-referrer`: browsers then send `Origin: null` with forms.
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def _next(call: Call) -> str:
    return safe_next(call.request.query_params.get("next")) or call.identity.config.home
