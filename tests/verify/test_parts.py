"""The parts of verify, each by itself: target files, addresses, masking, passkeys, descriptions, samples, signing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from redoubt.verify.authenticator import UP, UV, Authenticator, b64url, cbor, from_b64url
from redoubt.verify.browser import _cookies
from redoubt.verify.engine import _refuse_foreign_hosts
from redoubt.verify.errors import HostRefused, TargetInvalid
from redoubt.verify.masking import Masker
from redoubt.verify.openapi import Api
from redoubt.verify.probes.identity import cookie_faults, password_inputs
from redoubt.verify.probes.payments import card_fields
from redoubt.verify.samples import sample
from redoubt.verify.shadow import routes_in, shadow_routes
from redoubt.verify.signing import SCHEMES
from redoubt.verify.target import call, load, parse
from redoubt.verify.transport import is_loopback


def test_a_target_file_may_be_empty() -> None:
    target = parse({})
    assert target.start is None
    assert target.webhooks == []


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"loginn": {}}, "loginn"),
        ({"start": {"command": []}}, "start.command"),
        ({"webhooks": [{"path": "/x", "scheme": "morse", "secret": "env:X"}]}, "webhooks.0.scheme"),
        ({"kind": "django"}, "no kind 'django'"),
        ([], "mapping"),
    ],
)
def test_a_wrong_target_file_names_what_is_wrong(data: Any, told: str) -> None:
    with pytest.raises(TargetInvalid, match=told):
        parse(data)


def test_an_unreadable_target_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(TargetInvalid):
        load(tmp_path / "missing.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(TargetInvalid, match="not YAML"):
        load(tmp_path / "bad.yaml")


def test_a_file_lies_over_the_preset_of_its_kind() -> None:
    target = parse({"kind": "redoubt", "public": ["GET /about"], "csrf": {"header": "X-Other"}})
    assert target.passkeys is not None
    assert target.passkeys.login == ("/auth/login/options", "/auth/login/verify")
    assert {"GET /about", "GET /healthz"} <= set(target.public)
    assert target.csrf is not None
    assert (target.csrf.endpoint, target.csrf.header) == ("/auth/session", "X-Other")


def test_an_auth_block_of_web_fuzzing_commons_is_taken_as_it_is() -> None:
    block = {
        "auth": [
            {
                "name": "alice",
                "description": "not ours",
                "loginEndpointAuth": {
                    "endpoint": "/login",
                    "verb": "POST",
                    "payloadUserPwd": {"username": "a", "password": "b", "usernameField": "u"},
                    "token": {
                        "extractFrom": "body",
                        "extractSelector": "/token",
                        "sendTemplate": "Bearer {token}",
                    },
                },
            }
        ]
    }
    target = parse({"auth": block})
    assert target.auth[0].loginEndpointAuth is not None
    assert target.auth[0].loginEndpointAuth.token is not None


def test_calls_are_a_method_and_a_path() -> None:
    assert call("POST /x") == ("POST", "/x")
    assert call("/x") == ("GET", "/x")


@pytest.mark.parametrize(
    "host", ["localhost", "shop.localhost", "127.0.0.1", "127.9.8.7", "[::1]", "Shop.LOCALHOST."]
)
def test_this_machine_is_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "localhost.example.com",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "128.0.0.1",
        "127.0.1",
        "0.0.0.0",
        "127.0.0.256",
    ],
)
def test_everything_else_is_not(host: str) -> None:
    assert not is_loopback(host)


def test_a_foreign_host_is_refused_unless_the_file_allows_it() -> None:
    with pytest.raises(HostRefused, match="allow"):
        _refuse_foreign_hosts("https://shop.example", parse({}))
    _refuse_foreign_hosts("https://shop.example", parse({"allow": ["shop.example"]}))
    _refuse_foreign_hosts("http://127.0.0.1:8000", parse({}))
    with pytest.raises(TargetInvalid):
        _refuse_foreign_hosts("ftp://127.0.0.1", parse({"allow": ["127.0.0.1"]}))


def test_secrets_get_one_label_each_and_never_show() -> None:
    masker = Masker()
    first = masker.learn("s3cret-value-one", "cookie", "alice")
    second = masker.learn("s3cret-value-two", "cookie", "alice")
    assert first == "<cookie:alice>"
    assert second != first
    assert masker.learn("s3cret-value-one", "token", "bob") == first
    shown = masker.text(
        "a s3cret-value-one b s3cret-value-two eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl sk_test_0123456789abcdef"
    )
    assert "s3cret" not in shown
    assert "eyJ" not in shown
    assert "sk_test" not in shown


def test_what_is_learnt_later_is_masked_in_what_was_shown_before() -> None:
    masker = Masker()
    masker.learn("s3cret", "cookie", "alice")
    sent = "a s3cret-value-one b"
    assert masker.text(sent) == masker.text(sent) == "a <cookie:alice>-value-one b"
    masker.learn("s3cret-value-one", "link", "bob")  # longer: what was known must not be cut out of it
    assert masker.text(sent) == masker.text(sent) == "a <link:bob> b"


def test_a_passkey_answers_as_a_browser_would() -> None:
    key = Authenticator("https://a.localhost", "a.localhost", b"c" * 32)
    made = key.create({"publicKey": {"challenge": b64url(b"one"), "user": {"id": b64url(b"handle")}}})
    client = json.loads(from_b64url(made["response"]["clientDataJSON"]))
    assert (client["type"], client["challenge"], client["origin"]) == (
        "webauthn.create",
        b64url(b"one"),
        "https://a.localhost",
    )
    got = key.get({"publicKey": {"challenge": b64url(b"two")}})
    data = from_b64url(got["response"]["authenticatorData"])
    assert data[:32] == hashlib.sha256(b"a.localhost").digest()
    assert data[32] & (UP | UV) == UP | UV
    signed = data + hashlib.sha256(from_b64url(got["response"]["clientDataJSON"])).digest()
    key.key.public_key().verify(from_b64url(got["response"]["signature"]), signed, ec.ECDSA(hashes.SHA256()))
    assert from_b64url(got["response"]["userHandle"]) == b"handle"
    later = from_b64url(key.get({"challenge": b64url(b"three")})["response"]["authenticatorData"])
    assert int.from_bytes(later[33:37], "big") > int.from_bytes(data[33:37], "big")


def test_a_passkey_can_lie() -> None:
    key = Authenticator("https://a.localhost", "a.localhost", b"c" * 32)
    lie = key.get({"challenge": "x"}, origin="https://evil.example", flags=UP)
    assert json.loads(from_b64url(lie["response"]["clientDataJSON"]))["origin"] == "https://evil.example"
    assert from_b64url(lie["response"]["authenticatorData"])[32] == UP


@pytest.mark.parametrize(
    "value",
    [{1: 2, 3: -7, -1: 1}, {"fmt": "none", "attStmt": {}, "authData": b"x" * 300}, 23, 24, 65536, -25],
)
def test_our_cbor_is_what_a_library_reads(value: Any) -> None:
    cbor2 = pytest.importorskip("cbor2", reason="cbor2 comes with webauthn")
    assert cbor2.loads(cbor(value)) == value


DOCUMENT = {
    "openapi": "3.1.0",
    "security": [{"s": []}],
    "components": {
        "schemas": {
            "New": {
                "type": "object",
                "required": ["title", "size", "kind"],
                "properties": {
                    "title": {"type": "string", "maxLength": 20},
                    "size": {"type": "integer", "minimum": 3},
                    "kind": {"enum": ["a", "b"]},
                    "of": {"type": "string", "format": "uuid", "x-entity": "Other"},
                    "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                },
            }
        }
    },
    "paths": {
        "/things": {
            "get": {"responses": {}},
            "post": {
                "requestBody": {
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/New"}}}
                }
            },
        },
        "/things/{id}": {"get": {"x-redoubt-permission": "Thing.read"}, "delete": {}},
        "/things/{id}/ship": {"post": {}},
        "/menu": {"get": {"security": []}},
    },
}


def test_a_description_gives_operations_and_resources() -> None:
    api = Api(DOCUMENT)
    assert {one.key for one in api.operations if one.open} == {"GET /menu"}
    (thing,) = api.resources()
    assert (thing.path, thing.item, thing.entity()) == ("/things", "/things/{id}", "Thing")
    assert [one.key for one in thing.moves] == ["POST /things/{id}/ship"]
    assert api.find("Thing.read") is api.find("GET /things/{id}")
    assert thing.delete is not None
    assert thing.delete.at(id="7") == "/things/7"


def test_a_sample_fits_its_schema_and_carries_the_canary() -> None:
    api = Api(DOCUMENT)
    body = sample(
        api, {"$ref": "#/components/schemas/New"}, "cny1", lambda kind: f"id-of-{kind}", optional=True
    )
    assert body == {"title": "cny1", "size": 3, "kind": "a", "of": "id-of-Other", "note": "cny1"}


def test_routes_are_read_from_code_without_running_it(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "raise SystemExit\napi = APIRouter(prefix='/v1')\n"
        "@api.get('/a/{x}')\ndef a(): ...\n@app.post('/b')\nasync def b(): ...\n"
        "@app.route('/c', methods=['PUT'])\ndef c(): ...\nroutes = [Route('/d', a, methods=['DELETE'])]\n"
    )
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "x.py").write_text("@app.get('/not-ours')\ndef n(): ...\n")
    found = {(method, path) for method, path, _ in routes_in(tmp_path)}
    assert found == {("GET", "/v1/a/{x}"), ("POST", "/b"), ("PUT", "/c"), ("DELETE", "/d")}
    api = Api({"paths": {"/v1/a/{id}": {"get": {}}, "/b": {"post": {}}}})
    assert [(method, path) for method, path, _ in shadow_routes(tmp_path, api)] == [
        ("DELETE", "/d"),
        ("PUT", "/c"),
    ]


def test_schemes_sign_as_their_senders_document_it() -> None:
    body = b'{"a":1}'
    # Standard Webhooks' own example values would need their clock; the form and the key's decoding are what matters.
    standard = SCHEMES["standard"].sign(
        body, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 1614265330, "msg_p5jXN8AQM9LWM0D4loKWxJek"
    )
    assert standard["webhook-signature"].startswith("v1,")
    github = SCHEMES["github"].sign(b"Hello, World!", "It's a Secret to Everybody", 0, "x")
    assert (
        github["X-Hub-Signature-256"]
        == "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    )
    stripe = SCHEMES["stripe"].sign(body, "k", 12, "x")
    assert stripe["Stripe-Signature"].startswith("t=12,v1=")


def test_the_specs_example_of_standard_webhooks_verifies() -> None:
    body = b'{"test": 2432232314}'
    signed = SCHEMES["standard"].sign(
        body, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 1614265330, "msg_p5jXN8AQM9LWM0D4loKWxJek"
    )
    assert signed["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("line", "fine"),
    [
        ("__Host-s=x; Path=/; Secure; HttpOnly; SameSite=Lax", True),
        ("s=x; Secure; HttpOnly; SameSite=strict", True),
        ("s=x; HttpOnly; SameSite=Lax", False),
        ("s=x; Secure; SameSite=Lax", False),
        ("s=x; Secure; HttpOnly", False),
        ("s=x; Secure; HttpOnly; SameSite=None", False),
        ("__Host-s=x; Path=/app; Secure; HttpOnly; SameSite=Lax", False),
        ("s=x; Secure; HttpOnly; SameSite=Lax; Domain=example.com", False),
    ],
)
def test_cookie_flags_are_read_as_browsers_read_them(line: str, fine: bool) -> None:
    (cookie,) = _cookies(httpx.Headers([("set-cookie", line)]))
    assert (not cookie_faults(cookie)) is fine


def test_pages_that_ask_for_passwords_and_cards_are_seen() -> None:
    assert password_inputs('<input type=password name=a><input name="passwd"><input name=q>') == [
        "a",
        "passwd",
    ]
    assert password_inputs('<input autocomplete="username webauthn">') == []
    assert card_fields('<input autocomplete="cc-number"><input name="card_number"><iframe src="/x"></iframe>')
    assert card_fields('<input name="quantity"><input name="discard">') == []
