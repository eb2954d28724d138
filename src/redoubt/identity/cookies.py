"""The two cookies, set by this one piece of code: `__Host-`, HttpOnly, Secure, SameSite=Lax (RFC 6265bis).

`__Host-session` is the session's token. `__Host-pre` names the browser: it exists before login, outlives it, binds
challenges and magic links to who asked for them, and lets a known browser pass limits that an attacker filled.
It is worth nothing by itself, and only values that we made are taken.
"""

from __future__ import annotations

import hmac

from starlette.responses import Response

from redoubt.core.ids import Ids
from redoubt.core.keys import MacKey

SESSION = "__Host-session"
PRE = "__Host-pre"
_PRE_AGE = 400 * 86_400  # the longest that browsers keep a cookie
_TAG = 32
_MAX = 128


def new_pre(ids: Ids, mac: MacKey) -> str:
    """Return a new browser cookie: randomness and our tag over it."""
    value = ids.token(24)
    return f"{value}.{mac.hexdigest(value)[:_TAG]}"


def valid_pre(value: str | None, mac: MacKey) -> str | None:
    """Return `value` if we made it, else None: a planted cookie binds nothing."""
    if value is None or len(value) > _MAX or not value.isascii():
        return None
    body, dot, tag = value.partition(".")
    if not dot:
        return None
    good = False
    for digest in mac.digests(body):
        good |= hmac.compare_digest(tag, digest.hex()[:_TAG])
    return value if good else None


def set_session(response: Response, token: str, max_age: int) -> None:
    """Set the session cookie."""
    _set(response, SESSION, token, max_age)


def clear_session(response: Response) -> None:
    """Take the session cookie back."""
    _set(response, SESSION, "", 0)


def set_pre(response: Response, value: str) -> None:
    """Set the browser cookie."""
    _set(response, PRE, value, _PRE_AGE)


def _set(response: Response, name: str, value: str, max_age: int) -> None:
    response.set_cookie(name, value, max_age=max_age, path="/", secure=True, httponly=True, samesite="lax")
