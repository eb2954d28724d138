"""The hosted page: pays without JavaScript, once, and keeps no card number anywhere."""

import re
import threading
import time

import httpx
import pytest

from tests.payments.sandbox.support import until
from tests.payments.sandbox.test_contract import SESSION

CARD = {"card_number": "4242 4242 4242 4242", "expiry": "12 / 34", "cvc": "123"}


@pytest.fixture
def session(api):
    return api.checkout.sessions.create(SESSION)


def pay(session, **change):
    return httpx.post(session.url, data={**CARD, **change}, trust_env=False, timeout=20)


def test_the_page_shows_what_is_bought_and_has_no_script(session):
    page = httpx.get(session.url, trust_env=False)
    assert page.status_code == 200
    assert "EUR 34.99" in page.text
    assert "Tea &amp; &lt;b&gt;" in page.text
    assert "<script" not in page.text
    assert not re.search(r"\son\w+=|style=|javascript:", page.text)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self' https://shop.localhost:8443;" in policy + ";"
    assert "frame-ancestors 'none'" in policy
    assert (
        httpx.get(session.url.rpartition("/pay/")[0] + "/pay.css", trust_env=False)
        .headers["content-type"]
        .startswith("text/css")
    )


def test_a_good_card_pays_once_and_sends_the_customer_back(session, api, sandbox, receiver):
    done = pay(session)
    assert done.status_code == 303
    assert done.headers["location"] == f"https://shop.localhost:8443/done?s={session.id}"
    for _ in range(2):
        assert pay(session).status_code == 303
        assert httpx.get(session.url, trust_env=False).status_code == 303
    after = api.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent.latest_charge"]})
    assert (after.status, after.payment_status, after.url) == ("complete", "paid", None)
    assert after.payment_intent.metadata["op"] == "s1-pi"
    assert after.payment_intent.latest_charge.payment_method_details.card.last4 == "4242"
    assert len(sandbox.objects("charge")) == 1
    (event,) = until(lambda: receiver.events("checkout.session.completed"))
    assert event["data"]["object"]["payment_intent"] == after.payment_intent.id
    assert event["data"]["object"]["metadata"] == {"op": "s1"}
    assert api.refunds.create({"payment_intent": after.payment_intent.id}).amount == 3499


def test_the_button_pressed_many_times_at_once_charges_once(session, sandbox):
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(pay(session).status_code)) for _ in range(10)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert set(answers) == {303}
    assert len(sandbox.objects("charge")) == 1


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("4000000000000002", "Your card was declined."),
        ("4000000000000069", "Your card has expired."),
        ("4000 0000 0000 9995", "Your card was declined."),
        ("4111111111111111", "Your card was declined."),
        ("4242424242424241", "Your card number is incorrect."),
        ("", "Your card number is incorrect."),
        ("<script>", "Your card number is incorrect."),
    ],
)
def test_a_bad_card_is_told_so_and_the_session_stays_open(session, api, sandbox, number, said):
    answer = pay(session, card_number=number)
    assert answer.status_code == 402
    assert said in answer.text
    assert "<script" not in answer.text
    assert api.checkout.sessions.retrieve(session.id).status == "open"
    assert pay(session).status_code == 303
    assert [charge["paid"] for charge in sandbox.objects("charge")] == [False, True]
    assert len(sandbox.objects("payment_intent")) == 1


def test_incomplete_repeated_and_oversized_forms_charge_nothing(session, sandbox):
    for body in (
        b"",
        b"card_number=4242424242424242",
        b"card_number=1&card_number=2&expiry=1&cvc=1",
        b"\xff" * 40,
    ):
        assert httpx.post(session.url, content=body, trust_env=False).status_code == 402
    assert httpx.post(session.url, content=b"x" * 9000, trust_env=False).status_code in (413, 500)
    assert sandbox.objects("charge") == []


def test_an_expired_or_unknown_page_takes_no_money(session, api, sandbox):
    api.checkout.sessions.expire(session.id)
    assert pay(session).status_code == 410
    assert httpx.get(f"{sandbox.url}/pay/cs_none", trust_env=False).status_code == 404
    assert httpx.post(f"{sandbox.url}/pay/cs_none", data=CARD, trust_env=False).status_code == 404
    assert sandbox.objects("charge") == []


def test_the_card_number_is_kept_nowhere(session, sandbox, receiver):
    pay(session, card_number="4000000000000002")
    pay(session)
    until(lambda: receiver.events("checkout.session.completed"))
    everything = b"".join(path.read_bytes() for path in sandbox.state.parent.iterdir())
    everything += b"".join(body for _, body, _ in receiver.seen)
    for number in (b"4242424242424242", b"4000000000000002", b"4242 4242"):
        assert number not in everything


@pytest.mark.parametrize(
    ("kind", "charges"), [("refuse", 0), ("drop_after", 1), ("error_before", 0), ("error_after", 1)]
)
def test_faults_reach_the_page_too(session, sandbox, kind, charges):
    sandbox.fault(kind, "checkout.pay")
    try:
        assert pay(session).status_code == 500
    except httpx.TransportError:
        assert kind in ("refuse", "drop_after")
    assert len(sandbox.objects("charge")) == charges
    assert pay(session).status_code == 303
    assert len(sandbox.objects("charge")) == 1


def test_a_session_past_its_time_is_expired_when_it_is_looked_at(tmp_path):
    """On a clock of the test's own, in this process: 24 hours are long."""
    from datetime import timedelta

    from starlette.testclient import TestClient

    from redoubt.core.clock import ManualClock
    from redoubt.core.secrets import Secret
    from redoubt.payments.sandbox import create_app

    clock = ManualClock()
    app = create_app(tmp_path / "s.db", Secret("sk_test_x"), clock=clock)
    with TestClient(app, base_url="http://pay.localhost:1") as client:
        client.headers["Authorization"] = "Bearer sk_test_x"
        form = {
            "line_items[0][price_data][currency]": "jpy",
            "line_items[0][price_data][unit_amount]": "500",
            "line_items[0][price_data][product_data][name]": "x",
            "success_url": "https://shop.localhost/",
        }
        made = client.post("/v1/checkout/sessions", data=form).json()
        assert made["url"] == f"http://pay.localhost:1/pay/{made['id']}"
        assert "JPY 500" in client.get(f"/pay/{made['id']}").text
        clock.advance(timedelta(hours=24))
        assert client.post(f"/pay/{made['id']}", data=CARD).status_code == 410
        assert client.get("/v1/checkout/sessions").json()["data"][0]["status"] == "expired"
        assert client.get("/v1/events").json()["data"][0]["type"] == "checkout.session.expired"
        assert made["created"] <= time.time()
