"""localstripe runs as a process of its own, on loopback only, and is as hostile as it is wanted for."""

import ast
from pathlib import Path

import pytest
import stripe

from tests.payments.sandbox.localstripe_process import LAUNCHER, LocalStripe
from tests.payments.sandbox.support import Receiver, until

INTENT = {"amount": 1999, "currency": "eur", "payment_method_types": ["card"], "metadata": {"op": "one"}}


@pytest.fixture(scope="module")
def local():
    process = LocalStripe()
    yield process
    process.stop()


@pytest.fixture
def api(local):
    local.reset()
    http = stripe.HTTPXClient(timeout=5, allow_sync_methods=True)
    return stripe.StripeClient(
        local.key, base_addresses={"api": local.url}, max_network_retries=0, http_client=http
    ).v1


def paid(api, **options):
    method = api.payment_methods.create(
        {
            "type": "card",
            "card": {"number": "4242424242424242", "exp_month": 12, "exp_year": 2034, "cvc": "123"},
        }
    )
    return api.payment_intents.create({**INTENT, "payment_method": method.id, "confirm": True}, options)


def test_it_listens_on_loopback_only_and_leaves_nothing_behind(local):
    found = []
    for table in ("tcp", "tcp6"):
        lines = Path(f"/proc/{local.process.pid}/net/{table}").read_text().splitlines()[1:]
        found += [
            line.split()[1]
            for line in lines
            if line.split()[3] == "0A" and line.split()[1].endswith(f":{local.port:04X}")
        ]
    assert found == [f"0000000000000000FFFF00000100007F:{local.port:04X}"]


def test_the_official_sdk_pays_and_refunds_through_it(api):
    intent = paid(api)
    assert intent.status == "succeeded"
    assert api.payment_intents.retrieve(intent.id).amount == 1999
    assert api.refunds.create({"payment_intent": intent.id, "amount": 500}).status == "succeeded"


def test_it_ignores_idempotency_keys_and_allows_too_large_refunds(api):
    assert paid(api, idempotency_key="k").id != paid(api, idempotency_key="k").id
    intent = paid(api)
    for _ in range(3):
        api.refunds.create({"payment_intent": intent.id, "amount": 1999})


def test_its_events_are_signed_and_sent_once(local, api):
    receiver = Receiver()
    try:
        local.webhook(receiver.url, "whsec_local")
        paid(api)
        until(lambda: receiver.events("payment_intent.succeeded"))
        headers, body, _ = receiver.seen[0]
        assert stripe.Webhook.construct_event(body, headers["Stripe-Signature"], "whsec_local")
    finally:
        receiver.close()


def test_nothing_of_ours_imports_it():
    root = Path(__file__).parents[3]
    for path in [*root.glob("src/**/*.py"), *root.glob("tests/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not [name for name in names if name.split(".")[0] == "localstripe"], path
    assert "import localstripe" not in LAUNCHER
