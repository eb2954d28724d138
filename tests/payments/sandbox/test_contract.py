"""The official SDK, its retries off, against the real process: what Stripe documents is what it gets."""

import time

import pytest
import stripe

from tests.payments.sandbox.support import KEY

INTENT = {"amount": 1999, "currency": "eur", "payment_method": "pm_card_visa", "metadata": {"op": "one"}}
SESSION = {
    "mode": "payment",
    "line_items": [
        {
            "quantity": 2,
            "price_data": {"currency": "eur", "unit_amount": 1500, "product_data": {"name": "Tea & <b>"}},
        },
        {
            "quantity": 1,
            "price_data": {"currency": "eur", "unit_amount": 499, "product_data": {"name": "Cup"}},
        },
    ],
    "success_url": "https://shop.localhost:8443/done?s={CHECKOUT_SESSION_ID}",
    "cancel_url": "https://shop.localhost:8443/orders",
    "client_reference_id": "order-1",
    "metadata": {"op": "s1"},
    "payment_intent_data": {"metadata": {"op": "s1-pi"}},
}


def key(value):
    return {"idempotency_key": value}


def test_an_intent_is_created_confirmed_and_settled(api, sandbox):
    intent = api.payment_intents.create({**INTENT, "confirm": True})
    assert (intent.status, intent.amount_received, intent.currency) == ("succeeded", 1999, "eur")
    assert intent.id.startswith("pi_")
    charge = api.charges.retrieve(intent.latest_charge)
    assert (charge.paid, charge.captured, charge.payment_intent) == (True, True, intent.id)
    transaction = api.balance_transactions.retrieve(charge.balance_transaction)
    assert (transaction.amount, transaction.fee, transaction.net) == (1999, 87, 1912)
    assert api.payment_intents.retrieve(intent.id).metadata["op"] == "one"


def test_an_intent_is_confirmed_in_a_second_step_and_canceled_only_before_it_is_paid(api):
    intent = api.payment_intents.create({"amount": 500, "currency": "usd"})
    assert intent.status == "requires_payment_method"
    with pytest.raises(stripe.InvalidRequestError):
        api.payment_intents.confirm(intent.id)
    assert api.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"}).status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError) as error:
        api.payment_intents.cancel(intent.id)
    assert error.value.code == "payment_intent_unexpected_state"
    other = api.payment_intents.create({"amount": 500, "currency": "usd"})
    assert api.payment_intents.cancel(other.id, {"cancellation_reason": "duplicate"}).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError):
        api.payment_intents.confirm(other.id, {"payment_method": "pm_card_visa"})


def test_a_manual_capture_takes_at_most_what_was_authorised(api):
    intent = api.payment_intents.create({**INTENT, "confirm": True, "capture_method": "manual"})
    assert (intent.status, intent.amount_capturable) == ("requires_capture", 1999)
    with pytest.raises(stripe.InvalidRequestError):
        api.refunds.create({"payment_intent": intent.id})
    with pytest.raises(stripe.InvalidRequestError):
        api.payment_intents.capture(intent.id, {"amount_to_capture": 2000})
    assert api.payment_intents.capture(intent.id, {"amount_to_capture": 1000}).amount_received == 1000
    with pytest.raises(stripe.InvalidRequestError):
        api.refunds.create({"payment_intent": intent.id, "amount": 1001})


@pytest.mark.parametrize(
    ("method", "code", "decline"),
    [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error"),
    ],
)
def test_a_decline_is_a_card_error_that_leaves_the_intent_waiting(api, method, code, decline):
    with pytest.raises(stripe.CardError) as error:
        api.payment_intents.create({**INTENT, "payment_method": method, "confirm": True})
    assert (error.value.code, error.value.http_status) == (code, 402)
    assert error.value.error.decline_code == decline
    intent = api.payment_intents.retrieve(error.value.error.payment_intent["id"])
    assert intent.status == "requires_payment_method"
    assert intent.last_payment_error.code == code
    assert api.charges.retrieve(intent.latest_charge).paid is False
    with pytest.raises(stripe.InvalidRequestError):
        api.refunds.create({"payment_intent": intent.id})


def test_a_card_that_needs_its_owner_waits_for_action(api):
    intent = api.payment_intents.create(
        {**INTENT, "payment_method": "pm_card_authenticationRequired", "confirm": True}
    )
    assert intent.status == "requires_action"


def test_the_api_refuses_raw_card_numbers(api, sandbox):
    with pytest.raises(stripe.InvalidRequestError) as error:
        api.payment_intents.create(
            {
                "amount": 500,
                "currency": "eur",
                "payment_method_data": {"type": "card", "card": {"number": "4242424242424242"}},
            }
        )
    assert error.value.param == "payment_method_data"
    assert sandbox.objects() == []


def test_lists_are_newest_first_paged_and_filtered(api):
    made = [api.payment_intents.create({"amount": 100 + i, "currency": "eur"}).id for i in range(7)][::-1]
    page = api.payment_intents.list({"limit": 3})
    assert [item.id for item in page.data] == made[:3]
    assert page.has_more
    page = api.payment_intents.list({"limit": 3, "starting_after": made[2]})
    assert [item.id for item in page.data] == made[3:6]
    page = api.payment_intents.list({"limit": 3, "ending_before": made[5]})
    assert [item.id for item in page.data] == made[2:5]
    assert [item.id for item in api.payment_intents.list({"limit": 2}).auto_paging_iter()] == made
    now = int(time.time())
    assert len(api.payment_intents.list({"created": {"gte": now - 60, "lte": now + 60}}).data) == 7
    assert api.payment_intents.list({"created": {"gt": now + 60}}).data == []
    assert api.payment_intents.list({"created": {"lt": now - 3600}}).data == []
    with pytest.raises(stripe.InvalidRequestError):
        api.payment_intents.list({"starting_after": "pi_none"})


def test_refunds_never_exceed_the_charge(api):
    intent = api.payment_intents.create({**INTENT, "confirm": True})
    first = api.refunds.create(
        {
            "payment_intent": intent.id,
            "amount": 1000,
            "reason": "requested_by_customer",
            "metadata": {"op": "r1"},
        }
    )
    assert (first.status, first.amount, first.payment_intent) == ("succeeded", 1000, intent.id)
    with pytest.raises(stripe.InvalidRequestError):
        api.refunds.create({"payment_intent": intent.id, "amount": 1000})
    rest = api.refunds.create({"charge": intent.latest_charge})
    assert rest.amount == 999
    with pytest.raises(stripe.InvalidRequestError) as error:
        api.refunds.create({"payment_intent": intent.id, "amount": 1})
    assert error.value.code == "charge_already_refunded"
    charge = api.charges.retrieve(intent.latest_charge)
    assert (charge.amount_refunded, charge.refunded) == (1999, True)
    assert [r.id for r in api.refunds.list({"payment_intent": intent.id}).data] == [rest.id, first.id]
    amounts = [t.amount for t in api.balance_transactions.list({"type": "refund"}).data]
    assert sorted(amounts) == [-1000, -999]
    assert api.refunds.retrieve(first.id).metadata["op"] == "r1"


def test_a_checkout_session_is_created_retrieved_listed_and_expired(api, sandbox):
    session = api.checkout.sessions.create(SESSION)
    assert (session.amount_total, session.status, session.payment_status) == (3499, "open", "unpaid")
    assert session.url == f"{sandbox.url}/pay/{session.id}"
    assert session.payment_intent is None
    again = api.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]})
    assert again.client_reference_id == "order-1"
    assert [line.description for line in api.checkout.sessions.line_items.list(session.id).data] == [
        "Tea & <b>",
        "Cup",
    ]
    assert [s.id for s in api.checkout.sessions.list({"status": "open"}).data] == [session.id]
    expired = api.checkout.sessions.expire(session.id)
    assert (expired.status, expired.url) == ("expired", None)
    with pytest.raises(stripe.InvalidRequestError):
        api.checkout.sessions.expire(session.id)


@pytest.mark.parametrize(
    "change",
    [
        {"success_url": "javascript:alert(1)"},
        {"success_url": None},
        {"line_items": []},
        {"mode": "subscription"},
        {"expires_at": 1},
        {"colour": "red"},
        {
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {"currency": "eur", "unit_amount": -5, "product_data": {"name": "x"}},
                }
            ]
        },
        {"metadata": {"k": "v" * 501}},
    ],
)
def test_a_bad_session_is_refused_and_nothing_is_made(api, sandbox, change):
    given = {name: value for name, value in {**SESSION, **change}.items() if value is not None}
    with pytest.raises(stripe.InvalidRequestError):
        api.checkout.sessions.create(given)
    assert sandbox.objects() == []


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": -1}, "amount"),
        ({"amount": 1.5}, "amount"),
        ({"amount": 100_000_000}, "amount"),
        ({"currency": "euro"}, "currency"),
        ({"colour": "red"}, "colour"),
        ({"metadata": {"k" * 41: "v"}}, "metadata"),
        ({"payment_method_types": ["sepa_debit"]}, "payment_method_types"),
        ({"payment_method": "pm_none"}, "payment_method"),
    ],
)
def test_a_bad_parameter_is_named(api, sandbox, change, param):
    with pytest.raises(stripe.InvalidRequestError) as error:
        api.payment_intents.create({**INTENT, **change})
    assert error.value.param == param
    assert sandbox.objects() == []


def test_expanding_brings_the_object(api):
    intent = api.payment_intents.create(
        {**INTENT, "confirm": True, "expand": ["latest_charge.balance_transaction"]}
    )
    assert intent.latest_charge.balance_transaction.amount == 1999
    with pytest.raises(stripe.InvalidRequestError):
        api.payment_intents.retrieve(intent.id, {"expand": ["secrets"]})


def test_missing_objects_unknown_paths_and_wrong_keys_answer_as_stripe_does(api, sandbox):
    with pytest.raises(stripe.InvalidRequestError) as error:
        api.payment_intents.retrieve("pi_none")
    assert (error.value.http_status, error.value.code) == (404, "resource_missing")
    assert sandbox.get("/v1/customers").status_code == 404
    assert sandbox.http.get("/v1/refunds").status_code == 401
    for header in ("Bearer sk_test_wrong", "Basic !!!", "Basic c2tfdGVzdF93cm9uZzo=", "Bearer", KEY):
        answer = sandbox.http.post(
            "/v1/payment_intents", data={"amount": 1}, headers={"Authorization": header}
        )
        assert answer.status_code == 401, header
        assert "sk_test" not in answer.text
    assert sandbox.http.get("/v1/refunds", auth=(KEY, "")).status_code == 200


def test_the_same_key_and_body_replay_the_answer_and_make_nothing_new(api, sandbox):
    first = api.payment_intents.create({**INTENT, "confirm": True}, key("k1"))
    again = api.payment_intents.create({**INTENT, "confirm": True}, key("k1"))
    assert first.id == again.id
    assert again.last_response.headers["idempotent-replayed"] == "true"
    assert len(sandbox.objects("payment_intent")) == len(sandbox.objects("charge")) == 1


def test_the_same_key_with_another_body_or_path_is_refused(api, sandbox):
    api.payment_intents.create(INTENT, key("k1"))
    for call in (
        lambda: api.payment_intents.create({**INTENT, "amount": 1}, key("k1")),
        lambda: api.refunds.create({"payment_intent": "x"}, key("k1")),
    ):
        with pytest.raises(stripe.IdempotencyError) as error:
            call()
        assert error.value.http_status == 400
    assert len(sandbox.objects("payment_intent")) == 1


def test_a_decline_is_replayed_and_a_bad_parameter_is_not_kept(api, sandbox):
    bad = {**INTENT, "payment_method": "pm_card_chargeDeclined", "confirm": True}
    for _ in range(2):
        with pytest.raises(stripe.CardError):
            api.payment_intents.create(bad, key("k1"))
    assert len(sandbox.objects("charge")) == 1
    with pytest.raises(stripe.InvalidRequestError):
        api.payment_intents.create({**INTENT, "colour": "red"}, key("k2"))
    assert api.payment_intents.create(INTENT, key("k2")).id


def test_keys_that_stripe_forgot_make_a_new_object(api, sandbox):
    first = api.payment_intents.create(INTENT, key("k1"))
    assert sandbox.control("keys/forget") == {"forgotten": 1}
    assert api.payment_intents.create(INTENT, key("k1")).id != first.id


def test_an_overlong_key_is_refused(api):
    with pytest.raises(stripe.InvalidRequestError):
        api.payment_intents.create(INTENT, key("k" * 256))


def test_events_tell_what_happened_in_order(api):
    intent = api.payment_intents.create({**INTENT, "confirm": True})
    api.refunds.create({"payment_intent": intent.id})
    kinds = [event.type for event in api.events.list({"limit": 100}).data][::-1]
    assert kinds == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "refund.created",
        "charge.refunded",
    ]
    (created,) = api.events.list({"type": "payment_intent.created"}).data
    assert created.data.object["status"] == "requires_confirmation"
    assert api.events.retrieve(created.id).data.object["id"] == intent.id


def test_bodies_that_are_no_form_are_refused(sandbox):
    auth = {"Authorization": f"Bearer {KEY}"}
    for body in (
        b"\xff=1",
        b"amount",
        b"a[b=1",
        b"a=1&a=2",
        b"a=1&a[b]=2",
        b"a[b]=1&a=2",
        b"&" * 400,
        b"a[" * 30 + b"]" * 30 + b"=1",
    ):
        assert sandbox.http.post("/v1/payment_intents", content=body, headers=auth).status_code == 400, body
    assert sandbox.http.post("/v1/payment_intents", content=b"a" * 70_000, headers=auth).status_code == 413
