"""Card numbers never enter, in no spelling that a parser behind the door would turn into one."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from starlette.datastructures import Headers

from redoubt.runtime.cards import card_in
from redoubt.runtime.middleware import EVERYONE
from tests.console.world import World

CARD = "4242424242424242"
GROUPS = [CARD[at : at + 4] for at in range(0, 16, 4)]
SPELLINGS = {
    "plain": CARD,
    "double spaces": "  ".join(GROUPS),
    "dots": ".".join(GROUPS),
    "plus signs": "+".join(GROUPS),
    "invisible between": "\u200b".join(GROUPS),
    "no-break spaces": "\u00a0".join(GROUPS),
    "full-width digits": "".join(chr(0xFF10 + int(digit)) for digit in CARD),
    "arabic digits": "".join(chr(0x0660 + int(digit)) for digit in CARD),
    "percent signs": "".join(f"%{ord(digit):02x}" for digit in CARD),
    "slashes": "/".join(GROUPS),
}


def found(body: bytes, kind: str = "application/json", **scope: Any) -> bool:
    given = {"path": "/", "query_string": b"", "headers": [(b"content-type", kind.encode())], **scope}
    return card_in(given, Headers(raw=given["headers"]), body) is not None


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_card_in_json_is_seen_in_every_spelling(name: str) -> None:
    text = SPELLINGS[name]
    escaped = "".join(f"\\u{ord(char):04x}" for char in text)
    assert found(json.dumps({"note": text}, ensure_ascii=False).encode())
    assert found(json.dumps({"note": text}).replace("/", "\\/").encode())
    assert found(f'{{"note": ["x", "{escaped}"]}}'.encode())
    assert found(f'{{"{escaped}": 1}}'.encode())


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_card_in_a_form_or_an_address_is_seen_in_every_spelling(name: str) -> None:
    text = quote(SPELLINGS[name])
    assert found(f"a=1&note={text}".encode(), "application/x-www-form-urlencoded")
    assert found(b"", query_string=f"q={text}".encode())
    assert found(b"", raw_path=f"/x/{text}".encode())


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32-be"])
def test_a_card_in_wide_characters_is_seen(encoding: str) -> None:
    assert found(json.dumps({"note": CARD}).encode(encoding))


def test_what_is_no_card_passes() -> None:
    assert not found(b'{"note": "\\u0034242 4242", "id": "01a20a51-afa5-74e0-a32a-19a1d619f440", "n": 12345}')
    assert not found(b"\\ not json 4242")
    assert not found(b'["\\n"' * 100_000)


async def test_an_escaped_card_is_refused_at_the_door_and_leaves_no_digits(world: World) -> None:
    someone = await world.person("support")
    escaped = "".join(f"\\u{ord(char):04x}" for char in CARD)
    headers = {
        "origin": world.origin, "x-csrf-token": someone.csrf,
        "content-type": "application/json", "accept": "application/json",
    }  # fmt: skip
    answer = await someone.http.post("/auth/magic", content=f'{{"email": "{escaped}"}}', headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "card-number")
    [event] = world.events("payment.card_refused")
    assert CARD not in json.dumps(dict(event._mapping), default=str)


async def test_whoever_is_over_the_limit_writes_nothing(world: World) -> None:
    one = world.browser()
    for _ in range(1200):
        world.guard.limit(EVERYONE, one.address)
    answer = await one.http.post("/auth/magic", content=CARD)
    assert answer.status_code == 429
    assert world.events("payment.card_refused") == []
