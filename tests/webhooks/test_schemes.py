"""Each scheme accepts what independent signers make, and nothing that was changed afterwards."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import standardwebhooks
import stripe
import svix.webhooks
from hypothesis import given, settings
from hypothesis import strategies as st

from redoubt.webhooks.errors import ConfigError, DeliveryRefused, NotFresh, Unidentified, Unproven
from redoubt.webhooks.schemes import (
    GITHUB,
    SCHEMES,
    STANDARD,
    STRIPE,
    Body,
    Header,
    Scheme,
    SigningKey,
    sign,
    verify,
)
from redoubt.webhooks.schemes.keys import decode_secret, encode_secret
from redoubt.webhooks.schemes.model import Prefixed

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOLERANCE = timedelta(minutes=5)
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
STRIPE_SECRET = "whsec_0123456789abcdef0123456789abcdef"
GITHUB_SECRET = "It's a Secret to Everybody"
BODY = b'{"id":"evt_1","type":"thing.made","pending_webhooks":1,"data":{"n":1.50}}'

Headers = list[tuple[bytes, bytes]]


def as_headers(values: dict[str, str]) -> Headers:
    return [(name.encode(), value.encode()) for name, value in values.items()]


def standard_headers(
    body: bytes = BODY, at: datetime = NOW, message_id: str = "msg_1", secret: str = WHSEC
) -> Headers:
    """Signed by the reference library, not by us."""
    signature = standardwebhooks.Webhook(secret).sign(message_id, at, body.decode())
    return as_headers(
        {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": signature,
        }
    )


def stripe_headers(body: bytes = BODY, at: datetime = NOW, secret: str = STRIPE_SECRET) -> Headers:
    """Signed by Stripe's own SDK."""
    value = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, int(at.timestamp()))
    return as_headers({"stripe-signature": value})


def github_headers(body: bytes = BODY, secret: str = GITHUB_SECRET) -> Headers:
    import hashlib
    import hmac

    return as_headers(
        {
            "x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
            "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        }
    )


KEYS = {
    "standard": SigningKey("k1", decode_secret(WHSEC, "whsec")),
    "stripe": SigningKey("k1", decode_secret(STRIPE_SECRET, "text")),
    "github": SigningKey("k1", decode_secret(GITHUB_SECRET, "text")),
}
SIGNED = {"standard": standard_headers, "stripe": stripe_headers, "github": github_headers}


def check(name: str, headers: Headers, body: bytes = BODY, *, keys=None, now: datetime = NOW):
    return verify(
        SCHEMES[name], keys if keys is not None else [KEYS[name]], headers, body, now=now, tolerance=TOLERANCE
    )


@pytest.mark.parametrize("name", SIGNED)
def test_a_delivery_of_an_independent_signer_is_accepted(name):
    verified = check(name, SIGNED[name]())
    assert verified.key_id == "k1"


def test_svix_and_ours_agree_in_both_directions():
    theirs = svix.webhooks.Webhook(WHSEC).sign("msg_9", NOW, BODY.decode())
    headers = as_headers(
        {"webhook-id": "msg_9", "webhook-timestamp": str(int(NOW.timestamp())), "webhook-signature": theirs}
    )
    assert check("standard", headers).identity == "msg_9"
    at = datetime.now(UTC)
    ours = sign(STANDARD, [KEYS["standard"]], "msg_7", at, BODY)
    svix.webhooks.Webhook(WHSEC).verify(BODY, ours)
    standardwebhooks.Webhook(WHSEC).verify(BODY, ours)


def test_stripes_sdk_accepts_what_our_verifier_accepts():
    at = datetime.now(UTC)
    headers = stripe_headers(at=at)
    event = stripe.Webhook.construct_event(BODY, headers[0][1].decode(), STRIPE_SECRET)
    assert check("stripe", headers, now=at).identity == event["id"] == "evt_1"


def test_the_documented_examples_hold():
    """Standard Webhooks' and GitHub's own published values."""
    body = b'{"test": 2432232314}'
    at = datetime.fromtimestamp(1614265330, UTC)
    headers = as_headers(
        {
            "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "webhook-timestamp": "1614265330",
            "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        }
    )
    assert check("standard", headers, body, now=at).identity == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    documented = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert check("github", as_headers({"x-hub-signature-256": documented}), b"Hello, World!")


@pytest.mark.parametrize("name", ["standard", "stripe"])
@pytest.mark.parametrize(
    ("offset", "fresh"), [(-301, False), (-300, True), (0, True), (300, True), (301, False)]
)
def test_the_signed_moment_counts_in_both_directions(name, offset, fresh):
    headers = SIGNED[name](at=NOW + timedelta(seconds=offset))
    if fresh:
        assert check(name, headers).signed_at == NOW + timedelta(seconds=offset)
    else:
        with pytest.raises(NotFresh):
            check(name, headers)


def test_a_stale_delivery_with_a_wrong_signature_is_unproven_not_stale():
    headers = standard_headers(at=NOW - timedelta(days=1))
    with pytest.raises(Unproven):
        check("standard", headers, BODY + b" ")


def test_several_keys_live_side_by_side_and_each_ends_at_its_time():
    old = SigningKey("old", KEYS["standard"].secret, not_after=NOW + timedelta(hours=1))
    new = SigningKey("new", decode_secret("whsec_" + "bmV3" * 8, "whsec"), not_before=NOW)
    for keys in ([old, new], [new, old]):
        assert check("standard", standard_headers(), keys=keys).key_id == "old"
        assert check("standard", standard_headers(secret="whsec_" + "bmV3" * 8), keys=keys).key_id == "new"
    later = NOW + timedelta(hours=1)
    with pytest.raises(Unproven):
        check("standard", standard_headers(at=later), keys=[old, new], now=later)
    before = NOW - timedelta(seconds=1)
    with pytest.raises(Unproven):
        check(
            "standard", standard_headers(at=before, secret="whsec_" + "bmV3" * 8), keys=[old, new], now=before
        )


def test_every_live_key_is_tried_even_after_one_fitted(monkeypatch):
    import redoubt.webhooks.schemes.verifier as module

    seen = []
    real = module.mac_text
    monkeypatch.setattr(
        module, "mac_text", lambda secret, base, enc: seen.append(secret) or real(secret, base, enc)
    )
    others = [SigningKey(f"k{i}", bytes([i]) * 32) for i in range(2, 5)]
    check("standard", standard_headers(), keys=[KEYS["standard"], *others])
    assert len(seen) == 4


def test_a_sender_under_rotation_may_present_several_signatures():
    other = standardwebhooks.Webhook("whsec_" + "b3RoZXI=" * 4).sign("msg_1", NOW, BODY.decode())
    headers = dict(standard_headers())
    headers[b"webhook-signature"] = other.encode() + b" v1a,AAAA " + headers[b"webhook-signature"]
    assert check("standard", list(headers.items())).identity == "msg_1"


def test_no_key_means_no_proof():
    for name, signed in SIGNED.items():
        with pytest.raises(Unproven):
            check(name, signed(), keys=[])


@pytest.mark.parametrize("name", SIGNED)
def test_a_header_that_is_dropped_or_doubled_is_refused(name):
    headers = SIGNED[name]()
    read = [h for h in headers if h[0].decode() in SCHEMES[name].headers]
    for header in read:
        with pytest.raises(Unproven):
            check(name, [h for h in headers if h is not header])
        with pytest.raises(Unproven):
            check(name, [*headers, header])
        with pytest.raises(Unproven):
            check(name, [*headers, (header[0].title(), b"other")])


def test_doubled_members_of_one_header_are_refused():
    value = stripe_headers()[0][1]
    t, v1 = value.split(b",")
    for forged in (
        value + b"," + t,
        t + b"," + value,
        value + b",t=1",
        value + b"," + v1,
        value + b",,",
        b"v0=" + v1[3:] + b"," + t,
    ):
        with pytest.raises(Unproven):
            check("stripe", [(b"stripe-signature", forged)])


def test_another_schemes_signature_proves_nothing():
    value = stripe_headers()[0][1].replace(b"v1=", b"v0=")
    with pytest.raises(Unproven):
        check("stripe", [(b"stripe-signature", value)])
    headers = dict(standard_headers())
    headers[b"webhook-signature"] = headers[b"webhook-signature"].replace(b"v1,", b"v1a,")
    with pytest.raises(Unproven):
        check("standard", list(headers.items()))
    sha1 = [(b"x-hub-signature", b"sha1=" + b"0" * 40)]
    with pytest.raises(Unproven):
        check("github", sha1)


def test_the_border_between_id_and_timestamp_cannot_be_moved():
    """`msg.T` + `1700000000` + `rest` has the same signature base as `msg` + `T` + `1700000000.rest`."""
    stamp = int(NOW.timestamp())
    body = f"{stamp}.rest".encode()
    headers = dict(standard_headers(body=body))
    assert check("standard", list(headers.items()), body)
    moved = {**headers, b"webhook-id": f"msg_1.{stamp}".encode(), b"webhook-timestamp": str(stamp).encode()}
    with pytest.raises(Unproven):
        check("standard", list(moved.items()), b"rest")


def test_the_identity_comes_from_signed_material_only():
    first, second = github_headers(), github_headers()
    second[1] = (b"x-github-delivery", b"another-id")
    assert check("github", first).identity == check("github", second).identity
    assert (
        check("github", first).identity != check("github", github_headers(body=b"other"), b"other").identity
    )
    with pytest.raises(ValueError, match="identity is not part"):
        Scheme("bad", Prefixed("x-sig", "v="), "hex", "text", (Body(),), None, Header("x-id"))
    with pytest.raises(ValueError, match="timestamp is not part"):
        Scheme("bad", Prefixed("x-sig", "v="), "hex", "text", (Body(),), Header("x-time"), None)


def test_stripes_retry_is_the_same_delivery_though_it_is_signed_anew():
    retry = BODY.replace(b'"pending_webhooks":1', b'"pending_webhooks":2')
    first = check("stripe", stripe_headers())
    again = check(
        "stripe", stripe_headers(retry, NOW + timedelta(seconds=60)), retry, now=NOW + timedelta(seconds=60)
    )
    assert (first.identity, first.digest) == (again.identity, again.digest)
    changed = BODY.replace(b"1.50", b"1.51")
    assert check("stripe", stripe_headers(changed), changed).digest != first.digest
    respelt = BODY.replace(b"1.50", b"1.5")
    assert check("stripe", stripe_headers(respelt), respelt).digest != first.digest


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"",
        b'{"id":5}',
        b'{"id":""}',
        b'{"id":"a","id":"b"}',
        b'{"id":"a',
        b"[" * 100_000,
        b'{"id":"a","n":NaN}',
    ],
)
def test_a_proven_body_without_one_clear_identity_is_refused(body):
    with pytest.raises(Unidentified):
        check("stripe", stripe_headers(body), body)


@pytest.mark.parametrize(
    "stamp", ["", "+1", "1772366400.0", "01772366400", "1e9", "-5", "١٧٧٢٣٦٦٤٠٠", "9" * 40, "1 772 366 400"]
)
def test_a_timestamp_has_one_spelling(stamp):
    import hashlib
    import hmac

    mac = hmac.new(STRIPE_SECRET.encode(), stamp.encode() + b"." + BODY, hashlib.sha256).hexdigest()
    with pytest.raises(DeliveryRefused):
        check("stripe", [(b"stripe-signature", f"t={stamp},v1={mac}".encode())])


def test_a_future_beyond_the_calendar_is_refused_without_an_error_of_another_kind():
    headers = stripe_headers()
    stamp = "99999999999"
    value = stripe.WebhookSignature.generate_signature_header(BODY.decode(), STRIPE_SECRET, int(stamp))
    headers = [(b"stripe-signature", value.encode())]
    with pytest.raises(NotFresh):
        check("stripe", headers)


def test_secrets_decode_as_their_senders_make_them():
    assert decode_secret(WHSEC, "whsec") == decode_secret(WHSEC.removeprefix("whsec_"), "whsec")
    assert decode_secret(encode_secret(b"k" * 32, "whsec"), "whsec") == b"k" * 32
    for bad, form in (("whsec_", "whsec"), ("whsec_!!", "whsec"), ("short", "text"), ("", "text")):
        with pytest.raises(ConfigError):
            decode_secret(bad, form)
    assert "MfKQ" not in repr(KEYS["standard"])


def test_what_cannot_be_signed_is_not_sent():
    dead = SigningKey("k", b"x" * 32, not_after=NOW)
    with pytest.raises(ConfigError):
        sign(STANDARD, [dead], "msg", NOW, BODY)
    for scheme in (STRIPE, GITHUB):
        with pytest.raises(ConfigError):
            sign(scheme, [KEYS["standard"]], "msg", NOW, BODY)


@st.composite
def mutants(draw: st.DrawFn) -> tuple[str, Headers, bytes]:
    """A proven delivery with one structural or byte change to what is signed, or to the signature itself."""
    name = draw(st.sampled_from(sorted(SIGNED)))
    body = json.dumps({"id": "evt_1", "v": draw(st.integers(0, 99))}).encode()
    scheme, headers = SCHEMES[name], SIGNED[name](body)
    read = [i for i, h in enumerate(headers) if h[0].decode() in scheme.headers]
    kind = draw(
        st.sampled_from(["body", "flip", "cut", "insert", "case", "drop", "double", "swap", "reserialise"])
    )
    i = draw(st.sampled_from(read))
    header, value = headers[i]
    at = draw(st.integers(0, len(value) - 1))
    if kind == "body":
        where, extra = draw(st.integers(0, len(body))), draw(st.binary(min_size=1, max_size=4))
        return name, headers, body[:where] + extra + body[where:]
    if kind == "reserialise":
        return name, headers, json.dumps(json.loads(body), indent=1).encode()
    if kind == "flip":
        headers[i] = (header, value[:at] + bytes([value[at] ^ draw(st.integers(1, 255))]) + value[at + 1 :])
    elif kind == "cut":
        headers[i] = (header, value[:at])
    elif kind == "insert":
        headers[i] = (header, value[:at] + draw(st.binary(min_size=1, max_size=3)) + value[at:])
    elif kind == "case":
        headers[i] = (header, value.swapcase())
    elif kind == "drop":
        del headers[i]
    elif kind == "double":
        headers.append((header, draw(st.sampled_from([value, b"x", value[:at]]))))
    else:
        headers[i] = (header, SIGNED[name](body + b" ")[i][1])
    return name, headers, body


def meaning(name: str, headers: Headers) -> object:
    """What a mutant says, read naively: equal to the original means that nothing was changed that counts."""
    from redoubt.webhooks.schemes.parse import pick, presented

    scheme = SCHEMES[name]
    found = pick(scheme, headers)
    rest = {k: v for k, v in found.items() if k != scheme.signatures.header}
    t = [part for part in found[scheme.signatures.header].split(",") if part.startswith("t=")]
    return frozenset(presented(scheme, found)), tuple(sorted(rest.items())), tuple(t)


@settings(max_examples=1500, deadline=None)
@given(mutants())
def test_no_changed_delivery_is_accepted(mutant):
    name, headers, body = mutant
    try:
        check(name, headers, body)
    except DeliveryRefused:
        return
    original = SIGNED[name](body)
    # Accepted: then it must say exactly what the signer signed over these very bytes.
    signatures, rest, t = meaning(name, headers)
    true_signatures, true_rest, true_t = meaning(name, original)
    assert true_signatures <= signatures
    assert (rest, t) == (true_rest, true_t)
