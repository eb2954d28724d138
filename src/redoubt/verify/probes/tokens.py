"""Tokens and authorization servers: whether an app has them at all, and what its tokens say."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

from ..errors import NoSubject, Unshown
from ..lab import Lab
from ..probe import probe

_WELL_KNOWN = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")
_JWT = re.compile(r"\beyJ[\w-]{6,}\.(eyJ[\w-]{6,})\.[\w-]*")
_CAP = 15 * 60


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


def tokens_seen(lab: Lab) -> Iterator[dict[str, Any]]:
    """Yield the claims of every JWT that people of every role get: in answers, headers and cookies."""
    for role in lab.world.people.roles():
        person = lab.person(role, f"{role}-tokens")
        sent = " ".join([*person.browser.cookies.values(), *person.browser.headers.values()])
        if lab.target.whoami is not None:
            sent += person.browser.get(lab.target.whoami.endpoint).text
        for match in _JWT.finditer(sent):
            body = match[1]
            try:
                claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
            except ValueError:
                continue
            if isinstance(claims, dict):
                yield claims


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
    claims = list(tokens_seen(lab))
    if not claims:
        raise NoSubject("people of no role get a JWT")
    with lab.attack("decode every token seen", "one lives longer than 15 minutes, or for ever") as attack:
        for one in claims:
            issued, ends = one.get("iat"), one.get("exp")
            if not isinstance(ends, int | float) or not isinstance(issued, int | float):
                attack.broke("a token has no exp or no iat")
            elif ends - issued > _CAP:
                attack.broke(f"a token lives {ends - issued:.0f} s")


def _claims(control: str) -> None:
    def tokens_are_fuzzed(lab: Lab) -> None:
        if not list(tokens_seen(lab)):
            raise NoSubject("people of no role get a JWT")
        raise Unshown("there is no probe that fuzzes claims yet")

    tokens_are_fuzzed.__doc__ = "See whether there are tokens to fuzz."
    probe(control)(tokens_are_fuzzed)


for _control in ("IDN-7", "VAL-2"):
    _claims(_control)
