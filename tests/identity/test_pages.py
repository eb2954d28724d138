"""Pages hold under a strict CSP, declare their permissions, and send nobody elsewhere."""

from __future__ import annotations

import re

import pytest

from redoubt.identity.http import safe_next
from redoubt.identity.pages import STATIC, TEMPLATES
from tests.identity.world import World


@pytest.fixture
def database_url(one_database: str) -> str:
    return one_database


@pytest.mark.parametrize("template", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: path.name)
def test_templates_have_no_inline_script_or_style(template) -> None:
    text = template.read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"\son\w+=", text)
    assert "<style" not in text
    assert not re.search(r"\sstyle=", text)
    assert "|safe" not in text
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", text)
    for form in re.findall(r"<form[^>]*method=\"post\".*?</form>", text, re.S):
        assert 'name="csrf_token"' in form


def test_the_script_writes_text_only() -> None:
    code = re.sub(r"/\*.*?\*/|//[^\n]*", "", (STATIC / "passkey.js").read_text(), flags=re.S)
    for sink in (
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        "new Function",
        'setTimeout("',
    ):
        assert sink not in code
    assert "import " not in code


async def test_every_route_declares_a_permission(world: World) -> None:
    declared = {route.path: route.endpoint.__redoubt_permission__ for route in world.app.routes}
    assert set(declared.values()) == {"public", "self"}
    assert all(
        value == "self" for path, value in declared.items() if path.startswith(("/account", "/auth/stepup"))
    )
    assert all(
        value == "public" for path, value in declared.items() if path.startswith(("/enrol", "/static"))
    )


async def test_routes_for_oneself_refuse_nobody(world: World) -> None:
    for route in world.app.routes:
        if route.endpoint.__redoubt_permission__ != "self":
            continue
        client = world.client()
        await client.session()
        path = route.path.replace("{id}", "x")
        if "POST" in route.methods:
            assert (await client.post(path)).status_code == 401, path
        else:
            assert (await client.http.get(path)).status_code in (303, 401), path


async def test_static_files_are_these_two(world: World) -> None:
    http = world.client().http
    script = await http.get("/static/redoubt/passkey.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert (await http.get("/static/redoubt/redoubt.css")).headers["content-type"].startswith("text/css")
    for path in ("passwd", "..%2F__init__.py", "%2e%2e/store.py", "base.html"):
        assert (await http.get(f"/static/redoubt/{path}")).status_code == 404


async def test_pages_are_not_kept_and_tell_other_sites_no_referrer(world: World) -> None:
    page = await world.client().http.get("/auth/login", headers={"accept": "text/html"})
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize(
    "bad", ["//evil", "/\\evil", "https://evil", "/a b", "/a\tb", "/ä", "", None, 7, "/" * 600, "evil"]
)
def test_only_paths_of_this_origin_are_followed(bad: object) -> None:
    assert safe_next(bad) is None
    assert safe_next("/orders?page=2#x") == "/orders?page=2#x"


async def test_a_next_in_the_address_cannot_break_out(world: World) -> None:
    http = world.client().http
    page = await http.get(
        "/auth/login", params={"next": '/"><script>alert(1)</script>'}, headers={"accept": "text/html"}
    )
    assert "<script>alert" not in page.text
    page = await http.get("/auth/login", params={"next": "//evil.example"}, headers={"accept": "text/html"})
    assert "evil.example" not in page.text


async def test_refusals_are_pages_for_people_and_problems_for_programs(world: World) -> None:
    http = world.client().http
    page = await http.get("/auth/magic/nonsense", headers={"accept": "text/html"})
    assert (page.status_code, page.headers["content-type"]) == (403, "text/html; charset=utf-8")
    assert "request req-1" in page.text
    problem = await world.client().post("/auth/magic/confirm", {"token": "nonsense"})
    assert problem.json()["code"] == "link-refused"
    assert problem.json()["request_id"] == "req-1"
