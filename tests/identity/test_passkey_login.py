"""Registering and signing in by passkey, and every answer that must not sign in."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
import sqlalchemy as sa

from redoubt.core.clock import ManualClock
from redoubt.identity import store
from redoubt.identity.encoding import b64url
from tests.identity.authenticator import BE, BS, UP, UV
from tests.identity.world import World


async def test_a_person_registers_and_is_signed_in_as_a_customer(world: World) -> None:
    client = world.client()
    answer = await client.register("Ada@Example.org ")
    assert answer.status_code == 201
    user = answer.json()["user"]
    assert (user["email"], user["email_verified"], user["roles"]) == ("ada@example.org", False, ["customer"])
    session = await client.session()
    assert session["authenticated"]
    assert session["user"] == user
    assert session["step_up_until"] is None
    assert world.events().count(("identity.register", "success")) == 1


async def test_the_owner_signs_in_again_from_another_browser(world: World) -> None:
    first, second = world.client(), world.client()
    registered = (await first.register("ada@example.org")).json()["user"]
    second.passkey = first.passkey
    assert not await second.signed_in()
    assert (await second.login()).json()["user"]["id"] == registered["id"]
    assert await second.signed_in()
    assert await first.signed_in()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("algorithm", [-7, -8, -257])
async def test_each_offered_algorithm_signs_in(world: World, algorithm: int) -> None:
    client = world.client()
    client.passkey = world.passkey(algorithm)
    assert (await client.register("ada@example.org")).status_code == 201
    assert (await client.login()).status_code == 200


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_options_ask_for_a_discoverable_verified_passkey_and_no_attestation(world: World) -> None:
    client = world.client()
    options = (await client.post("/auth/register/options", {"email": "ada@example.org"})).json()["publicKey"]
    assert [item["alg"] for item in options["pubKeyCredParams"]] == [-7, -8, -257]
    assert options["attestation"] == "none"
    assert options["authenticatorSelection"] == {
        "residentKey": "required",
        "requireResidentKey": True,
        "userVerification": "required",
    }
    assert "ada" not in options["user"]["id"]
    login = (await client.post("/auth/login/options")).json()["publicKey"]
    assert login["userVerification"] == "required"
    assert login["allowCredentials"] == []
    assert login["challenge"] != options["challenge"]


LIES = {
    "origin": {"origin": "https://test.localhost.evil.example:8443"},
    "other port": {"origin": "https://test.localhost:9443"},
    "plain http": {"origin": "http://test.localhost:8443"},
    "rp id": {"rp_id": "evil.example"},
    "cross origin": {"crossOrigin": True},
    "cross origin as text": {"crossOrigin": "false"},
    "top origin": {"topOrigin": "https://evil.example"},
    "top origin of our own": {"topOrigin": "https://test.localhost:8443"},
    "no user verification": {"flags": UP | BE | BS},
    "no user presence": {"flags": UV | BE | BS},
    "backed up but not eligible": {"flags": UP | UV | BS},
    "registration in place of login": {"type": "webauthn.create"},
    "not JSON": {"raw_client_data": b"{"},
    "a list": {"raw_client_data": b"[]"},
    "challenge of nobody": {"challenge": b64url(bytes(32))},
}


async def test_a_lie_in_the_assertion_does_not_sign_in(world: World) -> None:
    client = world.client()
    await client.register("ada@example.org")
    for name, lie in LIES.items():
        await client.session()
        await client.post("/auth/logout")
        client.csrf = ""
        refused = await client.login(**lie)
        assert refused.status_code in (401, 429), name  # failures beyond their limit are told to wait
        assert refused.headers["content-type"] == "application/problem+json"
        assert not await client.signed_in(), name
        assert (await client.login()).status_code == 200, name  # the owner still can


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_refusals_do_not_say_why(world: World) -> None:
    client = world.client()
    await client.register("ada@example.org")
    stranger = world.client()
    stranger.passkey.handle = os.urandom(32)
    bodies = {
        (await client.login(**lie)).text
        for lie in ({"rp_id": "x.example"}, {"topOrigin": "https://x.example"})
    }
    bodies.add((await stranger.login()).text)
    assert len(bodies) == 1


async def test_another_key_for_a_known_credential_is_refused(world: World) -> None:
    client = world.client()
    await client.register("ada@example.org")
    assert (await client.login(key=world.passkey().key)).status_code == 401
    assert ("identity.login", "failure") in world.events()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_foreign_or_missing_user_handle_is_refused(world: World) -> None:
    client = world.client()
    await client.register("ada@example.org")
    assert (await client.login(handle=os.urandom(32))).status_code == 401
    assert (await client.login(handle=None)).status_code == 401


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_backup_eligibility_may_not_change_after_registration(world: World) -> None:
    client = world.client()
    await client.register("ada@example.org")
    assert (await client.login(flags=UP | UV)).status_code == 401


async def test_a_counter_that_goes_back_is_refused_and_recorded(world: World) -> None:
    client = world.client()
    await client.register("ada@example.org")
    assert (await client.login(count=7)).status_code == 200
    for count in (7, 6, 0):
        assert (await client.login(count=count)).status_code == 401
    assert (await client.login(count=8)).status_code == 200
    stored = world.rows(sa.select(store.passkeys.c.sign_count))
    assert stored[0].sign_count == 8
    assert ("identity.login", "failure") in world.events()


async def test_a_challenge_answers_once(world: World) -> None:
    client = world.client()
    await client.register("ada@example.org")
    options = (await client.post("/auth/login/options")).json()
    first, second = client.passkey.answer(options), client.passkey.answer(options)
    assert (await client.post("/auth/login/verify", {"credential": first})).status_code == 200
    assert (await client.post("/auth/login/verify", {"credential": first})).status_code == 401
    assert (await client.post("/auth/login/verify", {"credential": second})).status_code == 401


async def test_a_refused_answer_uses_its_challenge_up(world: World) -> None:
    client = world.client()
    await client.register("ada@example.org")
    options = (await client.post("/auth/login/options")).json()
    bad = client.passkey.answer(options, rp_id="evil.example")
    assert (await client.post("/auth/login/verify", {"credential": bad})).status_code == 401
    good = client.passkey.answer(options)
    assert (await client.post("/auth/login/verify", {"credential": good})).status_code == 401


async def test_a_challenge_of_another_browser_is_refused(world: World) -> None:
    owner, thief = world.client(), world.client()
    await owner.register("ada@example.org")
    options = (await owner.post("/auth/login/options")).json()
    answer = owner.passkey.answer(options)
    assert (await thief.post("/auth/login/verify", {"credential": answer})).status_code == 401
    assert (await owner.post("/auth/login/verify", {"credential": answer})).status_code == 200


async def test_an_old_challenge_is_refused(world: World, clock: ManualClock) -> None:
    client = world.client()
    await client.register("ada@example.org")
    options = (await client.post("/auth/login/options")).json()
    clock.advance(timedelta(minutes=5))
    answer = client.passkey.answer(options)
    assert (await client.post("/auth/login/verify", {"credential": answer})).status_code == 401


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_challenge_of_another_purpose_is_refused(world: World) -> None:
    client = world.client()
    await client.register("ada@example.org")
    options = (await client.post("/auth/stepup/options")).json()
    answer = client.passkey.answer(options)
    assert (await client.post("/auth/login/verify", {"credential": answer})).status_code == 401


async def test_a_known_credential_cannot_be_registered_again(world: World) -> None:
    owner, thief = world.client(), world.client()
    await owner.register("ada@example.org")
    options = (await thief.post("/auth/register/options", {"email": "mallory@example.org"})).json()
    body = thief.passkey.register(options, credential_id=owner.passkey.credential_id)
    assert (await thief.post("/auth/register/verify", {"credential": body})).status_code == 401
    assert not await thief.signed_in()
    assert len(world.rows(sa.select(store.users.c.id))) == 1


async def test_claiming_someones_address_gives_nothing_of_theirs(world: World) -> None:
    owner, claimant = world.client(), world.client()
    first = (await owner.register("ada@example.org")).json()["user"]["id"]
    answer = await claimant.register("ada@example.org")
    assert answer.status_code == 201
    assert answer.json()["user"]["id"] != first


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_sign_up_can_be_closed(core) -> None:
    world = World(core, sign_up=None)
    client = world.client()
    assert (await client.post("/auth/register/options", {"email": "ada@example.org"})).status_code == 403


BAD_BODIES = [
    b"", b"null", b"[]", b"{", b'"x"', b"\xff", b"1e999", b"[" * 5000,
    b'{"credential": 1}', b'{"credential": {"id": 1}}', b'{"credential": {"id": "AA", "type": "public-key"}}',
    b'{"credential": {"id": "AA", "type": "public-key", "response": {"clientDataJSON": "!!"}}}',
]  # fmt: skip


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("path", ["/auth/login/verify", "/auth/register/verify", "/enrol/verify"])
async def test_nonsense_is_refused_cleanly(world: World, path: str) -> None:
    client = world.client()
    await client.session()
    headers = {"x-csrf-token": client.csrf, "content-type": "application/json"}
    for body in BAD_BODIES:
        answer = await client.http.post(path, content=body, headers=headers)
        assert answer.status_code in (400, 401), body
        assert "Traceback" not in answer.text


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_huge_body_is_refused(world: World) -> None:
    client = world.client()
    await client.session()
    headers = {"x-csrf-token": client.csrf, "content-type": "application/json"}
    answer = await client.http.post("/auth/login/verify", content=b" " * 70_000, headers=headers)
    assert answer.status_code == 413


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_there_is_no_password_field_or_endpoint(world: World) -> None:
    client = world.client()
    for page in ("/auth/login", "/auth/register"):
        text = (await client.http.get(page)).text.lower()
        assert 'type="password"' not in text
        assert 'name="password"' not in text
    assert not [route.path for route in world.app.routes if "password" in route.path]
