"""Who may ask: enforcement points with a name, a tenant and rights; nobody else learns anything about policies.

AuthZEN 1.0, security considerations, "sender authentication": an anonymous caller could map the policies by asking.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterable

from attrs import frozen
from starlette.requests import HTTPConnection

from redoubt.core.canonical import sha256_hex

MIN_TOKEN = 32


@frozen
class Pep:
    """An enforcement point: its name in the audit log, the tenant that it asks about, and what else it may.

    `may_search` lets it list subjects, resources and actions; `explain` puts the deciding policies' ids and the
    policy version into the answers.
    """

    name: str
    tenant: str = "main"
    may_search: bool = False
    explain: bool = False


Authenticate = Callable[[HTTPConnection], Awaitable[Pep | None]]


class BearerCallers:
    """Knows enforcement points by bearer tokens (RFC 6750), of which it keeps the SHA-256 alone."""

    def __init__(self, peps: Iterable[tuple[Pep, str]]) -> None:
        """Take pairs of an enforcement point and `token_hash` of its token; raises ValueError for a shared token."""
        self._known = [(pep, hashed) for pep, hashed in peps]
        if len({hashed for _, hashed in self._known}) != len(self._known):
            raise ValueError("two enforcement points share a token")

    async def __call__(self, connection: HTTPConnection) -> Pep | None:
        """Return who sent the request, or None; every known token is compared, whichever fits."""
        given = connection.headers.getlist("authorization")
        scheme, _, token = (given[0] if len(given) == 1 else "").partition(" ")
        presented = sha256_hex(token.strip().encode())
        found = None
        for pep, hashed in self._known:
            if hmac.compare_digest(hashed, presented):
                found = pep
        return found if scheme.lower() == "bearer" else None


def token_hash(token: str) -> str:
    """Return what is kept of a token; raises ValueError for one short enough to be guessed."""
    if len(token) < MIN_TOKEN:
        raise ValueError(f"a token has at least {MIN_TOKEN} characters")
    return sha256_hex(token.encode())
