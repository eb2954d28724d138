"""The parts that drive pages: what leads out of the browser, what a form means, and what is declared about it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from redoubt.verify.openapi import Api
from redoubt.verify.pages.attack import like
from redoubt.verify.pages.declared import granted, operation_behind, reading
from redoubt.verify.pages.fill import acceptable, changed_by, follows, made_of
from redoubt.verify.pages.kinds import Planted, ids
from redoubt.verify.pages.relay import Relay
from redoubt.verify.pages.view import Field, Form, View, identity_of, pattern
from redoubt.verify.pages.visitor import Sending, sending_of
from redoubt.verify.target import Target

BASE = "https://app.localhost:8443"


def form(action: str, *fields: Field, words: str = "Save", method: str = "post") -> Form:
    return Form(f"{BASE}/page", 0, 0, False, BASE + action, method, words, fields)


# --- the way out ---


@pytest.fixture
def echo() -> Iterator[tuple[int, list[str]]]:
    """A server that answers with what it got, and a list of the addresses that it was reached from."""
    seen: list[str] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            while True:
                try:
                    taken, address = server.accept()
                except OSError:
                    return
                seen.append(address[0])
                with taken:
                    while got := taken.recv(100):
                        taken.sendall(got)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1], seen


def ask(door: int, host: bytes, port: int) -> tuple[bytes, socket.socket]:
    """Greet a SOCKS 5 door, ask for a host by name, and return its reply's code and the connection."""
    taken = socket.create_connection(("127.0.0.1", door), timeout=10)
    taken.sendall(b"\x05\x01\x00")
    assert taken.recv(2) == b"\x05\x00"
    taken.sendall(b"\x05\x01\x00\x03" + bytes([len(host)]) + host + port.to_bytes(2, "big"))
    return taken.recv(10)[1:2], taken


def test_a_door_leads_to_the_app_from_the_identity_s_own_address(echo: tuple[int, list[str]]) -> None:
    port, seen = echo
    with Relay(f"http://app.localhost:{port}") as relay:
        code, taken = ask(relay.door("127.33.4.5"), b"app.localhost", port)
        with taken:
            assert code == b"\x00"
            taken.sendall(b"hello")
            assert taken.recv(5) == b"hello"
    assert seen == ["127.33.4.5"]


@pytest.mark.parametrize("host", [b"other.localhost", b"127.0.0.1", b"app.localhost.evil.example"])
def test_a_door_leads_nowhere_else(echo: tuple[int, list[str]], host: bytes) -> None:
    port, seen = echo
    with Relay(f"http://app.localhost:{port}") as relay:
        code, taken = ask(relay.door("127.33.4.5"), host, port)
        taken.close()
        other, taken = ask(relay.door("127.33.4.5"), b"app.localhost", port + 1 if port < 65535 else 1)
        taken.close()
    assert (code, other, seen) == (b"\x02", b"\x02", [])


# --- forms ---


def test_a_form_that_makes_something_gets_a_canary_and_the_least_of_the_rest() -> None:
    given = form(
        "/orders",
        Field("csrf_token", "hidden", "t0ken"),
        Field("title", "text"),
        Field("mail", "email"),
        Field("price", "text", mode="decimal"),
        Field("items.1", "number"),
        Field("items.2", "number"),
        Field("copies", "number", required=True, least="3"),
        Field("customer", "select-one", options=("", "c1")),
        Field("kind", "select-one", required=True, options=("", "k1")),
    )
    assert given.creates
    assert made_of(given, "cny0123456789") == {
        "title": "cny0123456789",
        "mail": "cny0123456789@people.example",
        "price": "12.00",
        "items.1": "1",
        "copies": "3",
        "kind": "k1",
    }


def test_a_form_over_something_that_exists_changes_one_text_only() -> None:
    given = form("/orders/1", Field("price", "text", "12.00"), Field("note", "textarea", "old"))
    assert not given.creates
    assert changed_by(given, "cny0123456789") == {"note": "cny0123456789"}
    assert sending_of(given, {"note": "new"}).pairs == (("price", "12.00"), ("note", "new"))


@pytest.mark.parametrize(
    ("given", "fine"),
    [
        (form("/orders"), True),
        (form("/auth/logout", words="Sign out"), False),
        (form("/console/switches/kill"), False),
        (form("/orders/1/pay"), False),
        (form("/orders", Field("password", "password")), False),
        (form("/orders", method="get"), False),
        (Form(f"{BASE}/page", 0, 0, False, "https://elsewhere.example/orders", "post", "Save"), False),
    ],
)
def test_what_would_disturb_everybody_or_leaves_the_app_is_not_sent(given: Form, fine: bool) -> None:
    assert acceptable(given, BASE) is fine


def test_a_walk_follows_no_link_that_may_change_something() -> None:
    assert follows("/orders/1/edit")
    assert not any(map(follows, ("/logout", "/orders/1/delete", "/static/app.js", "/sessions/revoke")))


def test_a_form_is_the_same_for_every_object_of_its_kind() -> None:
    first, second = form("/orders/a1b2c3d4e5/cancel"), form("/orders/f6a7b8c9d0/cancel")
    assert first.key("a1b2c3d4e5") == second.key("f6a7b8c9d0") == "POST /orders/{id}/cancel"


def test_what_a_script_sent_is_told_again_of_another_object() -> None:
    sent = Sending("POST", f"{BASE}/tasks/11/state", body='{"id": "11"}', script=True)
    assert sent.about("11", "42").url == f"{BASE}/tasks/42/state"
    assert sent.about("11", "42").body == '{"id": "42"}'
    assert sent.about("", "42") == sent


# --- addresses ---


def test_ids_are_what_the_addresses_of_two_things_differ_by() -> None:
    assert identity_of(f"{BASE}/orders/17", f"{BASE}/orders/18") == ("17", "18")
    assert identity_of(f"{BASE}/orders?id=17&x=1", f"{BASE}/orders?id=18&x=1") == ("17", "18")
    assert identity_of(f"{BASE}/orders/17/a", f"{BASE}/orders/18/b") == ("", "")
    assert ids(Planted("", "", "/tasks", "7"), Planted("", "", "/tasks", "8")) == ("7", "8")
    assert pattern("/orders/01a219f0-99cc-72f9-af5e-b84b81ca01c2/edit") == "/orders/{id}/edit"
    assert like("17") != "17"
    assert like("17").isdigit()


def test_a_page_was_reached_only_where_it_was_asked_for() -> None:
    assert View(f"{BASE}/orders/1", f"{BASE}/orders/1", 200).ok
    assert not View(f"{BASE}/orders/1", f"{BASE}/login", 200).ok
    assert not View(f"{BASE}/orders/1", f"{BASE}/orders/1", 404).ok


def test_the_state_of_a_page_is_its_words_without_tokens_and_times() -> None:
    def sent(token: str, time: str, words: str) -> View:
        text = f'<p>{words} at {time}</p><input name="csrf" value="{token}"><script>let a="{token}"</script>'
        return View(f"{BASE}/t", f"{BASE}/t", 200, text=text, raw=True)

    assert sent("t1", "10:01", "open").state() == sent("t2", "10:02", "open").state()
    assert sent("t1", "10:01", "open").state() != sent("t1", "10:01", "done").state()


# --- what is declared ---

_BY_ID = {"get": {"x-permission": "Order.read"}, "patch": {"x-permission": "Order.update"}}
API = Api(
    {
        "paths": {
            "/api/orders": {"get": {"x-permission": "Order.list"}, "post": {"x-permission": "Order.create"}},
            "/api/orders/{id}": {**_BY_ID, "delete": {"x-permission": "Order.delete"}},
            "/api/orders/{id}/cancel": {"post": {"x-permission": "Order.cancel"}},
        }
    }
)


@pytest.mark.parametrize(
    ("method", "path", "permission"),
    [
        ("GET", "/orders", "Order.list"),
        ("GET", "/orders/new", "Order.create"),
        ("POST", "/orders", "Order.create"),
        ("GET", "/orders/17", "Order.read"),
        ("GET", "/orders/17/edit", "Order.update"),
        ("POST", "/orders/17", "Order.update"),
        ("POST", "/orders/17/delete", "Order.delete"),
        ("POST", "/orders/17/cancel", "Order.cancel"),
        ("GET", "/payments?order=17", None),
        ("POST", "/orders/17/ship", None),
    ],
)
def test_a_page_stands_for_an_operation(method: str, path: str, permission: str | None) -> None:
    found = operation_behind(API, method, BASE + path)
    assert (found.permission if found else None) == permission


def test_a_list_shows_what_its_reader_may_read() -> None:
    found = reading(API, f"{BASE}/orders")
    assert found is not None
    assert found.permission == "Order.read"


def test_who_may_is_declared_or_left_to_what_the_pages_offer() -> None:
    read = operation_behind(API, "GET", f"{BASE}/orders/17")
    table = Target.model_validate(
        {
            "access": [
                {"as": ["customer"], "do": ["Order.read"], "own": True},
                {"as": ["support"], "do": ["Order.read"]},
            ]
        }
    )
    assert granted(table, read, "customer", alike=True) is False
    assert granted(table, read, "support", alike=False) is True
    assert granted(table, read, "", alike=False) is False
    assert granted(Target(), read, "user", alike=True) is False
    assert granted(Target(), read, "admin", alike=False) is None
    assert granted(Target(), None, "user", alike=True) is None
    assert granted(Target(public=["GET /api/orders/{id}"]), read, "", alike=False) is True
