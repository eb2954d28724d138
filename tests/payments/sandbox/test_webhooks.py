"""Events arrive signed, at least once, and misbehave on demand."""

import json

import pytest
import stripe

from tests.payments.sandbox.support import SECRET, until

INTENT = {
    "amount": 1999,
    "currency": "eur",
    "payment_method": "pm_card_visa",
    "confirm": True,
    "metadata": {"op": "one"},
}
KINDS = ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]


def test_the_sdk_verifies_each_event_and_refuses_a_changed_one(api, sandbox, receiver):
    intent = api.payment_intents.create(INTENT)
    until(lambda: len(receiver.events()) == 3)
    for headers, body, _ in receiver.seen:
        event = stripe.Webhook.construct_event(body, headers["Stripe-Signature"], SECRET)
        assert event.type in KINDS
        for wrong_body, wrong_secret in ((body.replace(b"eur", b"usd"), SECRET), (body, SECRET + "x")):
            with pytest.raises(stripe.SignatureVerificationError):
                stripe.Webhook.construct_event(wrong_body, headers["Stripe-Signature"], wrong_secret)
    assert [event["type"] for event in receiver.events()] == KINDS
    assert receiver.events("payment_intent.succeeded")[0]["data"]["object"]["id"] == intent.id
    assert receiver.events("payment_intent.succeeded")[0]["data"]["object"]["metadata"] == {"op": "one"}


def test_an_event_is_sent_again_until_it_is_taken(api, sandbox, receiver):
    receiver.answers += [500, 303, 404]
    api.payment_intents.create({"amount": 5, "currency": "eur"})
    until(lambda: receiver.events("payment_intent.created"))
    assert [status for _, _, status in receiver.seen] == [500, 303, 404, 200]
    assert len({json.loads(body)["id"] for _, body, _ in receiver.seen}) == 1
    until(lambda: sandbox.deliveries()["waiting"] == 0)
    assert sandbox.deliveries()["deliveries"][0]["attempts"] == 4


def test_an_event_is_delivered_twice_dropped_or_overtaken_on_demand(api, sandbox, receiver):
    sandbox.fault("webhook_duplicate", "payment_intent.created")
    sandbox.fault("webhook_drop", "charge.succeeded")
    api.payment_intents.create(INTENT)
    until(lambda: len(receiver.events()) == 3)
    until(lambda: sandbox.deliveries()["waiting"] == 0)
    kinds = [event["type"] for event in receiver.events()]
    assert sorted(kinds) == ["payment_intent.created", "payment_intent.created", "payment_intent.succeeded"]
    assert len({event["id"] for event in receiver.events("payment_intent.created")}) == 1
    assert [d["state"] for d in sandbox.deliveries()["deliveries"]].count("dropped") == 1
    receiver.seen.clear()
    sandbox.fault("webhook_reorder", "payment_intent.created", seconds=0.5)
    api.payment_intents.create(INTENT)
    until(lambda: len(receiver.events()) == 3)
    assert [event["type"] for event in receiver.events()] == [*KINDS[1:], KINDS[0]]


def test_what_was_not_delivered_before_a_kill_is_delivered_after_it(api, sandbox, receiver):
    receiver.answers += [503] * 3
    api.payment_intents.create(INTENT)
    until(lambda: receiver.seen)
    sandbox.kill()
    receiver.answers.clear()
    sandbox.start()
    until(lambda: {event["type"] for event in receiver.events()} >= set(KINDS), seconds=60)


def test_an_event_can_be_sent_again_by_hand(api, sandbox, receiver):
    api.payment_intents.create({"amount": 5, "currency": "eur"})
    (event,) = until(lambda: receiver.events())
    sandbox.control(f"events/{event['id']}/redeliver")
    until(lambda: len(receiver.events()) == 2)
    assert receiver.events()[1]["id"] == event["id"]
