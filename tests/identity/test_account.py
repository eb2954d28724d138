"""Step-up, the user's own passkeys, and assertions over an exact challenge."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
import sqlalchemy as sa

from redoubt.core.clock import ManualClock
from redoubt.identity import cookies, store
from redoubt.identity.encoding import b64url
from redoubt.identity.errors import CeremonyRefused, NoPasskey
from tests.identity.test_magic import ask
from tests.identity.world import AGENT, Client, World


async def add(world: World, client: Client) -> int:
    """Add another passkey and use it from now on; return the status."""
    options = await client.post("/account/passkeys/options")
    if options.status_code != 200:
        return options.status_code
    new = world.passkey()
    answer = await client.post("/account/passkeys/verify", {"credential": new.register(options.json())})
    client.passkey = new
    return answer.status_code


async def test_a_step_up_lasts_five_minutes_and_rotates_the_session(world: World, clock: ManualClock) -> None:
    client = world.client()
    await client.register("ada@example.org")
    assert (await client.session())["step_up_until"] is None
    old = client.http.cookies[cookies.SESSION]
    assert (await client.step_up()).status_code == 200
    assert client.http.cookies[cookies.SESSION] != old
    assert await world.identity.resolve(old, "203.0.1.10", AGENT) is None
    session = await world.identity.resolve(client.http.cookies[cookies.SESSION], "203.0.1.10", AGENT)
    assert session is not None
    clock.advance(timedelta(seconds=299))
    assert session.stepped_up(clock.now())
    clock.advance(timedelta(seconds=1))
    assert not session.stepped_up(clock.now())


async def test_what_needs_a_step_up_says_so_by_rfc_9470(world: World) -> None:
    client = world.client()
    await client.register("ada@example.org")
    answer = await client.post("/account/passkeys/options")
    assert (answer.status_code, answer.json()["code"]) == (401, "step-up-required")
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith('Bearer error="insufficient_user_authentication"')
    assert 'max_age="300"' in challenge


async def test_a_step_up_takes_only_ones_own_passkey_and_own_session(world: World) -> None:
    ada, eve = world.client(), world.client()
    await ada.register("ada@example.org")
    await eve.register("eve@example.org")
    options = (await ada.post("/auth/stepup/options")).json()
    assert [item["id"] for item in options["publicKey"]["allowCredentials"]] == [
        b64url(ada.passkey.credential_id)
    ]
    assert (
        await ada.post("/auth/stepup/verify", {"credential": eve.passkey.answer(options)})
    ).status_code == 401
    options = (await ada.post("/auth/stepup/options")).json()
    answer = ada.passkey.answer(options, count=50)  # a counter that no later login has passed
    assert (await eve.post("/auth/stepup/verify", {"credential": answer})).status_code == 401
    await ada.login(count=20)  # the same browser, but another session than the one that asked
    assert (await ada.post("/auth/stepup/verify", {"credential": answer})).status_code == 401
    options = (await ada.post("/auth/stepup/options")).json()
    answer = ada.passkey.answer(options, count=51)
    assert (await ada.post("/auth/stepup/verify", {"credential": answer})).status_code == 200


async def test_nobody_steps_up_without_a_session(world: World) -> None:
    client = world.client()
    assert (await client.post("/auth/stepup/options")).status_code == 401
    page = await client.http.get("/account", headers={"accept": "text/html"})
    assert (page.status_code, page.headers["location"]) == (303, "/auth/login?next=/account")
    for path in ("/account/passkeys", "/account/sessions"):
        assert (await client.http.get(path)).status_code == 401


async def test_a_second_passkey_signs_in_and_the_first_can_go(world: World) -> None:
    client = world.client()
    await client.register("ada@example.org")
    first = client.passkey
    await client.step_up()
    assert await add(world, client) == 201
    assert (await client.login()).status_code == 200
    await client.step_up()
    listed = (await client.http.get("/account/passkeys")).json()["passkeys"]
    assert len(listed) == 2
    assert (await client.post(f"/account/passkeys/{listed[0]['id']}/remove")).status_code == 200
    client.passkey = first
    assert (await client.login()).status_code == 401


async def test_the_last_way_to_sign_in_stays(world: World) -> None:
    client = world.client()
    await client.register("ada@example.org")
    only = (await client.http.get("/account/passkeys")).json()["passkeys"][0]["id"]
    assert (await client.post(f"/account/passkeys/{only}/remove")).status_code == 401  # not without a step-up
    await client.step_up()
    assert (await client.post(f"/account/passkeys/{only}/remove")).status_code == 409
    await world.jobs.run_once()
    await client.post("/auth/magic/confirm", {"token": world.mail.token("ada@example.org")})
    await client.step_up()
    assert (
        await client.post(f"/account/passkeys/{only}/remove")
    ).status_code == 200  # a proved address remains


async def test_an_operators_last_passkey_stays_even_with_a_proved_address(world: World) -> None:
    client = world.client()
    url = world.core.db.write_sync(lambda tx: world.identity.enrolments.mint(tx, "operator", "x"))[1]
    await client.enrol(url, "root@example.org")
    now = world.core.clock.now()
    world.core.db.write_sync(lambda tx: tx.execute(sa.update(store.users).values(email_verified_at=now)))
    await client.login()
    await client.step_up()
    only = (await client.http.get("/account/passkeys")).json()["passkeys"][0]["id"]
    assert (await client.post(f"/account/passkeys/{only}/remove")).status_code == 409


async def test_nobody_removes_a_strangers_passkey(world: World) -> None:
    ada, eve = world.client(), world.client()
    await ada.register("ada@example.org")
    await eve.register("eve@example.org")
    target = (await ada.http.get("/account/passkeys")).json()["passkeys"][0]["id"]
    await eve.step_up()
    assert (await eve.post(f"/account/passkeys/{target}/remove")).status_code == 404
    assert (await ada.login()).status_code == 200


async def test_who_came_by_mail_adds_a_first_passkey_while_the_login_is_fresh(
    world: World, clock: ManualClock
) -> None:
    client = world.client()
    await client.post("/auth/magic/confirm", {"token": await ask(world, client, "ada@example.org")})
    assert (await client.post("/auth/stepup/options")).status_code == 409
    clock.advance(timedelta(minutes=5))
    assert await add(world, client) == 401
    clock.advance(timedelta(minutes=11))
    await client.post("/auth/magic/confirm", {"token": await ask(world, client, "ada@example.org")})
    assert await add(world, client) == 201
    await client.session()
    assert await add(world, client) == 401  # a second one needs the first


async def test_an_approval_signs_exactly_its_challenge(world: World) -> None:
    ada, eve = world.client(), world.client()
    user = (await ada.register("ada@example.org")).json()["user"]["id"]
    stranger = (await eve.register("eve@example.org")).json()["user"]["id"]
    identity, db = world.identity, world.core.db
    challenge = hashlib.sha256(b"redoubt-approval-v1\0{}").digest()
    options = db.read_sync(lambda tx: identity.assertion_options(tx, user, challenge))
    assert options["publicKey"]["challenge"] == b64url(challenge)
    used = db.write_sync(
        lambda tx: identity.verify_assertion(tx, user, challenge, ada.passkey.answer(options))
    )
    assert (used.user_id, used.credential_id) == (user, ada.passkey.credential_id)
    key = db.read_sync(lambda tx: identity.public_key_for(tx, used.credential_id))
    assert key is not None
    assert db.read_sync(lambda tx: identity.public_key_for(tx, b"nobody's")) is None
    for who, what, by in (
        (user, hashlib.sha256(b"other").digest(), ada.passkey),
        (stranger, challenge, ada.passkey),
        (user, challenge, eve.passkey),
        (user, b"short", ada.passkey),
    ):
        answer = by.answer(options)
        with pytest.raises(CeremonyRefused):
            db.write_sync(
                lambda tx, who=who, what=what, a=answer: identity.verify_assertion(tx, who, what, a)
            )
    with pytest.raises(NoPasskey):
        db.read_sync(lambda tx: identity.assertion_options(tx, "nobody", challenge))


async def test_the_account_page_shows_what_is_there(world: World) -> None:
    client = world.client()
    await client.register("ada@example.org")
    page = await client.http.get("/account", headers={"accept": "text/html"})
    assert page.status_code == 200
    assert "ada@example.org" in page.text
    assert "Firefox" in page.text
    assert client.csrf in page.text
    assert "no-store" in page.headers["cache-control"]


async def test_a_user_agent_cannot_write_into_the_page(world: World) -> None:
    client = world.client()
    client.http.headers["user-agent"] = "<img src=x onerror=alert(1)>"
    await client.register("ada@example.org")
    page = await client.http.get("/account", headers={"accept": "text/html"})
    assert "<img" not in page.text
    assert "&lt;img" in page.text
