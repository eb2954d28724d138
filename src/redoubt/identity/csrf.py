"""Cross-site request forgery: an own origin, and a token that only a page of ours could have read.

The token is a keyed MAC over the session cookie, or before login over the browser cookie, so it needs no storage,
dies with its cookie and cannot be carried to another session.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from redoubt.core.keys import MacKey

HEADER = "x-csrf-token"
FIELD = "csrf_token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_LENGTH = 64


def token(mac: MacKey, session_token: str | None, pre_cookie: str | None) -> str:
    """Return the token that belongs to these cookies: the session's where there is one, else the browser's."""
    return mac.hexdigest(_subject(session_token, pre_cookie))


def allowed(
    mac: MacKey,
    headers: Mapping[str, str],
    origins: tuple[str, ...],
    session_token: str | None,
    pre_cookie: str | None,
    form_token: str | None = None,
) -> bool:
    """Say whether an unsafe request is ours: both its origin and its token must hold.

    `headers` has lower-case names. Origin decides where it is sent, else Sec-Fetch-Site (Fetch Metadata); a client
    that sends neither is no browser that could be tricked, and the token alone decides. Without any cookie there
    is nothing to prove it with: refused. Pass `session_token` only where it resolved to a live session, here and
    in `token`: a dead session's cookie counts for nothing, and the page falls back on the browser's token.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is not None:
        if origin not in origins:
            return False
    elif site is not None and site not in ("same-origin", "none"):
        return False
    given = headers.get(HEADER) or form_token or ""
    if len(given) != _LENGTH or not given.isascii() or not (session_token or pre_cookie):
        return False
    found = False
    for tag in mac.digests(_subject(session_token, pre_cookie)):
        found |= hmac.compare_digest(given, tag.hex())
    return found


def _subject(session_token: str | None, pre_cookie: str | None) -> str:
    return f"session:{session_token}" if session_token else f"pre:{pre_cookie or ''}"
