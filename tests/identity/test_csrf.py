"""Requests from elsewhere: wrong origin, no token, a token of somebody else."""

from __future__ import annotations

import pytest

from tests.identity.world import World


@pytest.fixture
def database_url(one_database: str) -> str:
    return one_database


UNSAFE = [
    "/auth/register/options", "/auth/register/verify", "/auth/login/options", "/auth/login/verify", "/auth/magic",
    "/auth/magic/confirm", "/auth/stepup/options", "/auth/stepup/verify", "/auth/logout", "/enrol/options",
    "/enrol/verify", "/account/passkeys/options", "/account/passkeys/verify", "/account/passkeys/x/remove",
    "/account/sessions/x/revoke", "/account/sessions/revoke-all",
]  # fmt: skip


async def test_every_unsafe_route_refuses_a_request_without_its_token(world: World) -> None:
    client = world.client()
    await client.register("ada@example.org")
    assert sorted(UNSAFE) == sorted(
        route.path.replace("{id}", "x") for route in world.app.routes if "POST" in route.methods
    )
    for path in UNSAFE:
        assert (await client.http.post(path, json={})).status_code == 403, path
        form = await client.http.post(path, data={"csrf_token": ""})
        assert form.status_code == 403, path
    assert await client.signed_in()


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "https://test.localhost"},
        {"origin": "http://test.localhost:8443"},
        {"origin": "https://test.localhost:8443.evil.example"},
        {"x-csrf-token": ""},
        {"x-csrf-token": "0" * 64},
        {"x-csrf-token": "ü" * 64},
    ],
)
async def test_a_foreign_origin_or_token_is_refused(world: World, headers: dict[str, str]) -> None:
    client = world.client()
    await client.register("ada@example.org")
    encoded = {name: value.encode() for name, value in headers.items()}
    assert (await client.post("/auth/logout", headers=encoded)).status_code == 403
    assert await client.signed_in()


@pytest.mark.parametrize(("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200)])
async def test_fetch_metadata_decides_where_there_is_no_origin(world: World, site: str, status: int) -> None:
    client = world.client()
    await client.register("ada@example.org")
    await client.session()
    del client.http.headers["origin"]
    assert (await client.post("/auth/logout", headers={"sec-fetch-site": site})).status_code == status


async def test_a_token_belongs_to_one_session(world: World) -> None:
    ada, eve = world.client(), world.client()
    await ada.register("ada@example.org")
    await eve.register("eve@example.org")
    before = (await ada.session())["csrf"]
    assert (await ada.post("/auth/logout", headers={"x-csrf-token": eve.csrf})).status_code == 403
    await ada.login()
    assert (await ada.post("/auth/logout", headers={"x-csrf-token": before})).status_code == 403
    assert (await ada.post("/auth/logout")).status_code == 200


async def test_the_token_of_before_login_is_dead_after_it(world: World) -> None:
    client = world.client()
    before = (await client.session())["csrf"]
    await client.register("ada@example.org")
    assert (await client.post("/auth/logout", headers={"x-csrf-token": before})).status_code == 403


async def test_login_itself_cannot_be_forged(world: World) -> None:
    victim, mallory = world.client(), world.client()
    await mallory.register("mallory@example.org")
    await victim.session()
    options = (await mallory.post("/auth/login/options")).json()
    body = {"credential": mallory.passkey.answer(options)}
    assert (await victim.http.post("/auth/login/verify", json=body)).status_code == 403
    assert (await victim.post("/auth/login/verify", body)).status_code == 401
    assert not await victim.signed_in()


async def test_only_json_and_forms_are_read(world: World) -> None:
    client = world.client()
    await client.session()
    headers = {"x-csrf-token": client.csrf, "content-type": "text/plain"}
    answer = await client.http.post("/auth/magic", content=b'{"email":"a@b.cd"}', headers=headers)
    assert answer.status_code == 415
