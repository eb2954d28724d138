"""Redaction: what is personal or secret does not pass, what is not stays readable, and failure lets nothing through."""

import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redoubt.core.keys import Keyring
from redoubt.core.redact import FAILED, Redactor
from redoubt.core.secrets import Secret


class Mac:
    def __init__(self, key=b"k"):
        self.key = key

    def hexdigest(self, data):
        return hmac.new(
            self.key, data if isinstance(data, bytes) else data.encode(), hashlib.sha256
        ).hexdigest()


R = Redactor(Mac())

LEAKS = [
    ("mail ann.lee+x@shop.example now", "ann.lee"),
    ("ann%40shop.example", "ann"),
    ("jörg@bücher.example", "jörg"),
    ("login@localhost", "login@"),
    ("call +49 30 1234567", "1234567"),
    ("call (555) 123-4567", "123-4567"),
    ("call +1-202-555-0143.", "0143"),
    ("GET /api/products/+36 30 555 0184 404", "0184"),
    ("GET /api/products/+36305550184 404", "0184"),
    ("GET /api/products/%2B36%2030%20555%200184 404", "0184"),
    ("GET /api/products/(202) 555-0143 404", "0143"),
    ("IBAN DE89 3704 0044 0532 0130 00.", "3704"),
    ("GB82WEST12345698765432", "WEST"),
    ("gb82 west 1234 5698 7654 32", "west"),
    ("paid by 4242 4242 4242 4242 today", "4242"),
    ("paid by 2223003122003222", "2223"),
    ("Authorization: Bearer abc", "abc"),
    ("authorization: Basic dXNlcjpwYXNz", "dXNl"),
    ('"Authorization": "Digest xyz"', "xyz"),
    ("sent bearer eyabc.def-123", "eyabc"),
    ("DPoP 0123456789abcdefXYZ", "abcdefXYZ"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "eyJ"),
    ("key sk_live_51Habcdef", "51Habc"),
    ("key sk_test_51Habcdef", "51Habc"),
    ("rk_live_51Habcdef", "51Habc"),
    ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ"),
    ("pi_3abc_secret_defg", "defg"),
    ("AKIAIOSFODNN7EXAMPLE", "IOSF"),
    ("ghp_0123456789abcdefghijABCDEFGHIJ012345", "0123"),
    ("Set-Cookie: __Host-session=abcdef; Path=/", "abcdef"),
    ("cookie: a=secretvalue; b=c", "secretvalue"),
    ("{'cookie': 'a=secretvalue'}", "secretvalue"),
    ("found __Host-pre=abcdef in it", "abcdef"),
    ("-----BEGIN PRIVATE KEY-----\nMIIBsecret\n-----END PRIVATE KEY-----", "MIIB"),
    ("-----BEGIN EC PRIVATE KEY-----\nMIIBsecret", "MIIB"),
    ("GET /auth/magic/AbCdEfGh1234 200", "AbCd"),
    ("GET /enrol/AbCdEfGh1234", "AbCd"),
    ("postgresql://app:hunter2@db/app", "hunter2"),
    ("password=hunter2&x=1", "hunter2"),
    ('{"api_key": "abc def"}', "abc def"),
    ("csrf_token=hunter2", "hunter2"),
    ("client_secret: hunter2", "hunter2"),
    ("access_token%3Dhunter2", "hunter2"),
]


@pytest.mark.parametrize(("text", "leak"), LEAKS)
def test_what_is_personal_or_secret_does_not_pass(text, leak):
    shown = R.text(text)
    assert leak not in shown
    assert "<" in shown
    assert R.text(shown) == shown


HARMLESS = [
    "GET /api/orders/0190a1b2-4111-7111-8111-111122223333 200 12ms",
    "2026-11-23T10:11:12.123456+01:00",
    "[10/Oct/2000:13:55:36 -0700] 1234567",
    "192.168.100.200:8443",
    "version 1.2.3.4",
    "1700000000000000",
    "the token was fine; basic information about bearer rules",
    "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "amount=1200 currency=EUR",
    "POST /auth/magic/confirm 200",
    "GET /reports/2026/11/23/1200 200",
    "https://shop.localhost:8443/orders",
    "order 12345678901234567890",
    "policy version 3, 4 entries, 100% of 20",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_harmless_stays_as_it_is(text):
    assert R.text(text) == text


def test_one_value_has_one_token_however_it_is_spelled_and_another_under_another_key():
    assert R.text("Ann@Shop.example") == R.text("ann%40shop.example") == R.text("ann@shop.example")
    assert R.text("4242 4242 4242 4242") == R.text("4242-4242-4242-4242")
    assert R.text("DE89 3704 0044 0532 0130 00") == R.text("DE89370400440532013000")
    assert R.text("ann@shop.example") != Redactor(Mac(b"other")).text("ann@shop.example")


def test_a_wrong_check_digit_is_no_iban():
    assert R.text("DE88 3704 0044 0532 0130 00 x") == "DE88 3704 0044 0532 0130 00 x"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda c: st.lists(c) | st.dictionaries(st.text(), c),
    )
)
def test_redacting_twice_is_redacting_once_and_stays_json(value):
    once = R.value(value)
    json.dumps(once)
    assert R.value(once) == once


@given(
    st.text(max_size=200),
    st.sampled_from([leak for leak in LEAKS if leak[0] not in ("rk_live_51Habcdef",)]),
    st.text(max_size=200),
)
def test_what_stands_around_does_not_hide_it(before, leak, after):
    text, part = leak
    shown = R.text(f"{before}\n{text}\n{after}")
    assert part not in shown.replace(before, "").replace(after, "") or part in before + after


def test_values_are_redacted_at_every_depth_and_under_secret_names():
    shown = R.value(
        {
            "password": "hunter2",
            "nested": [{"Authorization": "x-secret", "clientSecret": 12345678}],
            "card": 4242424242424242,
            "when": 1700000000000000,
            "email": "ann@shop.example",
            "ann@shop.example": 1,
            "raw": b"ann@shop.example",
            "ok": True,
            "token_type": "Bearer",
            "session_token_id": "0190",
            "secret": Secret("hunter2"),
            "missing_token": None,
        }
    )
    text = json.dumps(shown)
    for leak in ("hunter2", "x-secret", "12345678", "4242", "ann@"):
        assert leak not in text
    assert shown["when"] == 1700000000000000
    assert shown["ok"] is True
    assert shown["token_type"] == "Bearer"
    assert shown["session_token_id"] == "0190"
    assert shown["missing_token"] is None
    assert shown["raw"] == "<bytes:16>"


class Hostile:
    def __str__(self):
        raise RuntimeError("ann@shop.example")


class BrokenMac:
    def hexdigest(self, data):
        raise RuntimeError("no key")


def test_failure_drops_the_text_instead_of_passing_it():
    broken = Redactor(BrokenMac())
    assert broken.text("ann@shop.example") == FAILED
    assert broken.value({"a": ["ann@shop.example"]}) == FAILED
    assert R.value({"a": Hostile()}) == FAILED
    assert R.text(b"not text") == FAILED  # type: ignore[arg-type]


def test_endless_and_self_containing_values_come_to_an_end():
    loop: list = []
    loop.append(loop)
    assert "<too-deep>" in json.dumps(R.value(loop))
    assert len(R.value(list(range(5000)))) == 1000


def test_a_long_text_is_cut_where_no_secret_is_split():
    shown = R.text("x " * 32_000 + "a" * 1500 + " ann@shop.example " + "4242424242424242 " * 10)
    assert len(shown) <= 64 * 1024
    assert shown.endswith("<cut>")
    for size in range(65_480, 65_540):
        assert "4242" not in R.text("x" * size + " 4242424242424242 4242424242424242")


def test_it_works_over_a_real_keyring(tmp_path):
    ring = Keyring.create(tmp_path / "ring", Secret("m" * 40))
    shown = Redactor(ring.mac("redact")).text("to ann@shop.example")
    assert shown.startswith("to <email:")
    assert len(shown) == len("to <email:123456>")
