"""Magic links: one browser, one use, ten minutes, one answer."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from redoubt.core.clock import ManualClock
from redoubt.core.jobs import Retry, jobs
from redoubt.identity import cookies, store
from tests.identity.world import Client, World


async def ask(world: World, client: Client, email: str) -> str:
    await world.jobs.run_once()  # a mail that waits since a sign-up goes first
    answer = await client.post("/auth/magic", {"email": email})
    assert answer.status_code == 202, answer.text
    await world.jobs.run_once()
    return world.mail.token(email)


async def test_a_link_signs_its_asker_up_and_proves_the_address(world: World) -> None:
    client = world.client()
    token = await ask(world, client, "ada@example.org")
    page = await client.http.get(f"/auth/magic/{token}", headers={"accept": "text/html"})
    assert page.status_code == 200
    assert 'action="/auth/magic/confirm"' in page.text
    assert not await client.signed_in()  # looking changes nothing
    answer = await client.post("/auth/magic/confirm", {"token": token})
    assert answer.status_code == 200
    assert answer.json()["user"]["email_verified"] is True
    assert answer.json()["user"]["roles"] == ["customer"]
    assert await client.signed_in()


async def test_the_form_works_without_scripts(world: World) -> None:
    client = world.client()
    await client.session()
    form = {"email": "ada@example.org", "csrf_token": client.csrf, "next": "/orders"}
    sent = await client.http.post("/auth/magic", data=form)
    assert (sent.status_code, "Look at your mail" in sent.text) == (202, True)
    await world.jobs.run_once()
    form = {"token": world.mail.token("ada@example.org"), "csrf_token": client.csrf}
    done = await client.http.post("/auth/magic/confirm", data=form)
    assert (done.status_code, done.headers["location"]) == (303, "/orders")
    assert await client.signed_in()


async def test_a_link_works_once(world: World) -> None:
    client = world.client()
    token = await ask(world, client, "ada@example.org")
    assert (await client.post("/auth/magic/confirm", {"token": token})).status_code == 200
    await client.session()
    again = await client.post("/auth/magic/confirm", {"token": token})
    assert again.status_code == 403
    page = await client.http.get(f"/auth/magic/{token}", headers={"accept": "text/html"})
    assert page.status_code == 403


async def test_a_forwarded_link_opens_nothing_elsewhere_and_still_works_at_home(world: World) -> None:
    client, thief = world.client(), world.client()
    token = await ask(world, client, "ada@example.org")
    await thief.session()
    assert (await thief.http.get(f"/auth/magic/{token}")).status_code == 403
    assert (await thief.post("/auth/magic/confirm", {"token": token})).status_code == 403
    assert not await thief.signed_in()
    assert (await client.post("/auth/magic/confirm", {"token": token})).status_code == 200


async def test_a_browser_without_or_with_a_planted_cookie_gets_nothing(world: World) -> None:
    client, bare = world.client(), world.client()
    token = await ask(world, client, "ada@example.org")
    refused = await bare.http.post("/auth/magic/confirm", json={"token": token})
    assert refused.status_code == 403
    pre = client.http.cookies[cookies.PRE]
    bare.http.cookies.set(cookies.PRE, pre[:-1] + ("0" if pre[-1] != "0" else "1"))
    assert (await bare.post("/auth/magic/confirm", {"token": token})).status_code == 403
    assert not await bare.signed_in()


async def test_an_expired_link_is_refused(world: World, clock: ManualClock) -> None:
    client = world.client()
    token = await ask(world, client, "ada@example.org")
    clock.advance(timedelta(minutes=10))
    assert (await client.post("/auth/magic/confirm", {"token": token})).status_code == 403


async def test_tokens_of_our_own_shape_but_not_of_our_making_are_refused(world: World) -> None:
    client = world.client()
    token = await ask(world, client, "ada@example.org")
    flipped = token[:-1] + ("A" if token[-1] != "A" else "E")
    for bad in (flipped, token[::-1], token + "A", token[:-4], "", "A" * 64, "x" * 5000, None, 7, {"a": 1}):
        assert (await client.post("/auth/magic/confirm", {"token": bad})).status_code == 403
    assert (await client.post("/auth/magic/confirm", {"token": token})).status_code == 200


async def test_an_enrolment_token_is_no_magic_token(world: World) -> None:
    client = world.client()
    url = world.core.db.write_sync(lambda tx: world.identity.enrolments.mint(tx, "operator", "x"))[1]
    assert (await client.post("/auth/magic/confirm", {"token": url.rpartition("/")[2]})).status_code == 403


async def test_known_and_unknown_addresses_get_one_answer_and_the_same_work(core) -> None:
    world = World(core, sign_up=None)
    url = world.core.db.write_sync(lambda tx: world.identity.enrolments.mint(tx, "customer", "x"))[1]
    owner, stranger = world.client(), world.client()
    await owner.enrol(url, "ada@example.org")
    world.core.db.write_sync(
        lambda tx: tx.execute(sa.update(store.users).values(email_verified_at=core.clock.now()))
    )
    known = await stranger.post("/auth/magic", {"email": "ada@example.org"})
    unknown = await stranger.post("/auth/magic", {"email": "eve@example.org"})
    assert (
        (known.status_code, known.content)
        == (unknown.status_code, unknown.content)
        == (202, b'{"status":"accepted"}')
    )
    assert sorted(known.headers) == sorted(unknown.headers)
    assert len(world.rows(sa.select(store.magic_links))) == 2
    assert len(world.rows(sa.select(jobs.c.id).where(jobs.c.kind == "identity.magic"))) == 2
    await world.jobs.run_once()
    assert [message[0] for message in world.mail.messages] == ["ada@example.org"]  # nobody else is mailed


async def test_the_link_and_its_mail_commit_together_or_not_at_all(world: World, monkeypatch) -> None:
    client = world.client()
    await client.session()

    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("the audit log is gone")

    monkeypatch.setattr(world.identity.journal, "done", broken)
    with pytest.raises(RuntimeError):
        await client.post("/auth/magic", {"email": "ada@example.org"})
    assert world.rows(sa.select(store.magic_links)) == []
    assert world.rows(sa.select(jobs.c.id)) == []


async def test_no_secret_lies_in_the_database(world: World) -> None:
    client = world.client()
    token = await ask(world, client, "ada@example.org")
    row = world.rows(sa.select(store.magic_links))[0]
    payload = world.rows(sa.select(jobs.c.payload).where(jobs.c.kind == "identity.magic"))[0].payload
    assert token not in repr(row)
    assert set(payload) == {"link"}


async def test_a_mail_that_failed_is_sent_again_under_the_same_id(world: World, clock: ManualClock) -> None:
    client = world.client()
    world.mail.fail = Retry("the server is away")
    await client.post("/auth/magic", {"email": "ada@example.org"})
    await world.jobs.run_once()
    assert world.mail.messages == []
    world.mail.fail = None
    clock.advance(timedelta(seconds=30))
    await world.jobs.run_once()
    assert len(world.mail.messages) == 1
    link = world.rows(sa.select(store.magic_links))[0]
    assert world.mail.messages[0][3] == link.id
    assert link.mailed_at is not None


async def test_a_stale_link_is_not_mailed(world: World, clock: ManualClock) -> None:
    client = world.client()
    await client.post("/auth/magic", {"email": "ada@example.org"})
    clock.advance(timedelta(minutes=11))
    await world.jobs.run_once()
    assert world.mail.messages == []


async def test_whoever_claimed_an_address_first_does_not_wait_in_its_owners_account(world: World) -> None:
    mallory, ada = world.client(), world.client()
    trap = (await mallory.register("ada@example.org")).json()["user"]["id"]
    token = await ask(world, ada, "ada@example.org")
    answer = (await ada.post("/auth/magic/confirm", {"token": token})).json()
    assert answer["user"]["id"] != trap
    await mallory.session()
    mine = (await mallory.session())["user"]
    assert (mine["id"], mine["email_verified"]) == (trap, False)


async def test_the_mail_after_a_sign_up_proves_the_address_in_that_browser_only(world: World) -> None:
    client, other = world.client(), world.client()
    user = (await client.register("ada@example.org")).json()["user"]
    await world.jobs.run_once()
    token = world.mail.token("ada@example.org")
    assert (await other.post("/auth/magic/confirm", {"token": token})).status_code == 403
    proved = (await client.post("/auth/magic/confirm", {"token": token})).json()["user"]
    assert (proved["id"], proved["email_verified"]) == (user["id"], True)


async def test_a_link_in_the_browser_of_ones_own_passkey_leads_to_the_same_account(world: World) -> None:
    client = world.client()
    user = (await client.register("ada@example.org")).json()["user"]
    await client.post("/auth/logout")
    client.csrf = ""
    token = await ask(world, client, "ada@example.org")
    assert (await client.post("/auth/magic/confirm", {"token": token})).json()["user"]["id"] == user["id"]


async def test_an_operator_is_never_signed_in_by_mail(world: World) -> None:
    client = world.client()
    url = world.core.db.write_sync(lambda tx: world.identity.enrolments.mint(tx, "operator", "x"))[1]
    await client.enrol(url, "root@example.org")
    await client.post("/auth/logout")
    client.csrf = ""
    await client.post("/auth/magic", {"email": "root@example.org"})
    await world.jobs.run_once()
    text = world.mail.messages[-1][2]
    assert "by passkey only" in text
    assert "/auth/magic/" not in text
    link = world.rows(sa.select(store.magic_links.c.id))[-1].id
    from redoubt.identity import links

    token = links.mint(world.core.keys.mac("identity-link"), "magic", link)  # even a real token is of no use
    assert (await client.post("/auth/magic/confirm", {"token": token})).status_code == 403
    assert not await client.signed_in()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "email",
    [
        "",
        "x",
        "a@",
        "@b.c",
        "a b@c.d",
        "a@b..c",
        "a@b.c\nBcc: e@f.g",
        "a@b.c\r\n",
        "a" * 300 + "@b.c",
        7,
        None,
    ],
)
async def test_what_is_no_address_is_refused(world: World, email: object) -> None:
    assert (await world.client().post("/auth/magic", {"email": email})).status_code == 400


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example", "/\\evil", "javascript:x", "/a\r\nb", ""]
)
async def test_the_way_on_stays_on_this_origin(world: World, path: str) -> None:
    client = world.client()
    await client.post("/auth/magic", {"email": "ada@example.org", "next": path})
    await world.jobs.run_once()
    body = {"token": world.mail.token("ada@example.org")}
    assert (await client.post("/auth/magic/confirm", body)).json()["next"] == "/"
