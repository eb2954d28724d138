"""Tokens and authorization servers: whether an app has them at all, and what its tokens say."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from ..errors import NoSubject, Unshown
from ..lab import Lab
from ..probe import probe

_WELL_KNOWN = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")
_JWT = re.compile(r"\beyJ[\w-]{6,}\.(eyJ[\w-]{6,})\.[\w-]*")
_CAP = 15 * 60
_NONE = "people of no role get a JWT, as they join, log in or read"


def authorization_server(lab: Lab) -> dict[str, Any]:
    """Return the app's published metadata; raises NoSubject when it neither publishes any nor describes such calls."""
    nobody = lab.anonymous()
    for path in _WELL_KNOWN:
        found = nobody.get(path)
        if found.ok and isinstance(found.json(), dict) and "issuer" in found.json():
            metadata: dict[str, Any] = found.json()
            return metadata
    if lab.world.api is None:
        raise Unshown("the app's operations are not known", add="openapi: openapi.json")
    if any(re.search(r"(?i)oauth|/authorize\b|openid|/token\b", one.path) for one in lab.api.operations):
        raise Unshown("there is no probe of authorization servers yet")
    raise NoSubject(
        "the app is no OAuth or OpenID provider: it publishes no metadata and describes no such call"
    )


def tokens_seen(lab: Lab) -> list[dict[str, Any]]:
    """Return the claims of every JWT that people of every role get: in cookies, headers and bodies, as they join, log
    in, ask who they are and read what lists and pages there are.

    Raises Unshown where nobody can log in, and where the description says that there are such tokens but none was seen.
    """
    roles = lab.world.people.roles()
    if not roles:
        raise Unshown("nobody can log in", add="register: {endpoint: /register}\nlogin: {endpoint: /login}")
    described = lab.api.operations if lab.world.api is not None else []
    lists = [one.path for one in described if one.method == "GET" and not one.path_parameters]
    sent = []
    for role in roles:
        person = lab.person(role, f"{role}-tokens")
        with lab.quietly():
            again = lab.login(person)
            sent += [*again.cookies.values(), *again.headers.values()]
        if lab.target.whoami is not None:
            person.browser.get(lab.target.whoami.endpoint)
        for path in dict.fromkeys((*lists, *lab.target.pages)):
            person.browser.get(path)
        sent += [*person.browser.cookies.values(), *person.browser.headers.values()]
    for exchange in lab.trial.seen():
        sent += [exchange.answer, *exchange.answer_headers.values(), *exchange.headers.values()]
    bodies = {match[1] for text in sent for match in _JWT.finditer(text)}
    found = [claims for body in sorted(bodies) if (claims := _decoded(body)) is not None]
    if not found and lab.world.api is not None and lab.api.bearer_tokens:
        raise Unshown("the description says that calls carry JWTs, but nobody was given one")
    return found


def _decoded(body: str) -> dict[str, Any] | None:
    try:
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except ValueError:
        return None
    return claims if isinstance(claims, dict) else None


def _provider(control: str) -> None:
    def needs_a_provider(lab: Lab) -> None:
        authorization_server(lab)
        raise Unshown("there is no probe of authorization servers yet")

    needs_a_provider.__doc__ = "See whether there is an authorization server to try."
    probe(control)(needs_a_provider)


for _control in ("IDN-3", "IDN-4", "IDN-5", "VAL-1"):
    _provider(_control)


@probe("IDN-6")
def tokens_live_a_quarter_of_an_hour(lab: Lab) -> None:
    """Decode every token that anybody gets."""
    claims = tokens_seen(lab)
    if not claims:
        raise NoSubject(_NONE)
    with lab.attack("decode every token seen", "one lives longer than 15 minutes, or for ever") as attack:
        for one in claims:
            issued, ends = one.get("iat"), one.get("exp")
            if not isinstance(ends, int | float) or not isinstance(issued, int | float):
                attack.broke("a token has no exp or no iat")
            elif ends - issued > _CAP:
                attack.broke(f"a token lives {ends - issued:.0f} s")


def _claims(control: str) -> None:
    def tokens_are_fuzzed(lab: Lab) -> None:
        if not tokens_seen(lab):
            raise NoSubject(_NONE)
        raise Unshown("there is no probe that fuzzes claims yet")

    tokens_are_fuzzed.__doc__ = "See whether there are tokens to fuzz."
    probe(control)(tokens_are_fuzzed)


for _control in ("IDN-7", "VAL-2"):
    _claims(_control)
