"""The charge service as its own process against the sandbox, and the same service against localstripe."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from redoubt.core.base import Core
from redoubt.core.clock import SystemClock
from redoubt.core.db import Database
from redoubt.core.keys import Keyring
from redoubt.core.secrets import Secret
from redoubt.payments import ChargeClient
from redoubt.payments.charge import store
from redoubt.payments.charge.commands import Command
from redoubt.payments.charge.ledger_verify import verify
from redoubt.payments.errors import ChargeUnavailable
from redoubt.payments.models import OutboxCommand
from redoubt.runtime.localca import LocalCa
from tests.payments.sandbox.localstripe_process import LocalStripe
from tests.payments.sandbox.support import KEY, SECRET, Receiver, Sandbox
from tests.payments.support import Account, Charge, Person, pay, refund, refund_payload, settle_all

CARD = {"card_number": "4242424242424242", "expiry": "12/34", "cvc": "123"}
APP = "spiffe://redoubt/app"


class Installation:
    """An app's folder with a running charge service, its provider, and the receiver that stands for the app's inbox."""

    def __init__(self, folder: Path, sandbox: Sandbox, receiver: Receiver) -> None:
        self.folder, self.sandbox, self.receiver = folder, sandbox, receiver
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.state = folder / "var"
        clock = SystemClock()
        self.ca = LocalCa(self.state / "tls", clock)
        self.ca.issue("charge", ["charge.localhost"])
        self.ca.issue("client-app", [APP], client=True)
        keys = self.state / "charge"
        keys.mkdir(parents=True, mode=0o700)
        (keys / "master.key").write_text("m" * 48)
        os.chmod(keys / "master.key", 0o600)
        Keyring.create(keys / "keyring", Secret("m" * 48))
        (folder / "redoubt.toml").write_text(
            f"""
[app]
name = "shop"
profile = "development"
base_url = "https://shop.localhost:8443"
[charge]
address = "https://charge.localhost:{self.port}"
provider_url = "{sandbox.url}"
provider_key = "env:SHOP_STRIPE_KEY"
webhook_secrets = ["env:SHOP_WEBHOOK_SECRET"]
currencies = ["EUR", "JPY"]
per_payment = 100000
refunds_per_day = 4000
[egress]
private = ["127.0.0.1:{sandbox.port}"]
"""
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.events = 0

    def start(self) -> None:
        environment = {**os.environ, "SHOP_STRIPE_KEY": KEY, "SHOP_WEBHOOK_SECRET": SECRET}
        command = [sys.executable, "-m", "redoubt.payments.charge", "--dir", str(self.folder)]
        log = (self.folder / "charge.log").open("ab")
        self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        log.close()
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return
            except OSError:
                assert self.process.poll() is None, (self.folder / "charge.log").read_text()
                time.sleep(0.05)
        raise AssertionError("the charge service did not come up")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def client(self) -> ChargeClient:
        tls = self.state / "tls"
        return ChargeClient(
            f"https://charge.localhost:{self.port}",
            ca=tls / "ca.pem",
            cert=tls / "client-app.pem",
            key=tls / "client-app.key",
        )

    async def forward(self, client: ChargeClient) -> None:
        """Do what the app's inbox does: hand on every delivery, byte for byte."""
        while self.events < len(self.receiver.seen):
            headers, body, _ = self.receiver.seen[self.events]
            await client.provider_event(body, headers)
            self.events += 1


def wire(command: Command) -> OutboxCommand:
    return OutboxCommand(
        command.id, command.tenant, command.kind, command.body, "", "pending", None, datetime.now(UTC), None
    )


async def becomes(check: Callable[[], Awaitable[Any]], seconds: float = 30.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := await check():
                return found
        except ChargeUnavailable:
            pass
        await asyncio.sleep(0.1)
    raise AssertionError("it never became true")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Installation]:
    receiver = Receiver()
    folder = tmp_path / "sandbox"
    folder.mkdir()
    sandbox = Sandbox(folder, receiver.url)
    made = Installation(tmp_path / "shop", sandbox, receiver) if (tmp_path / "shop").mkdir() is None else None
    assert made is not None
    made.start()
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.terminate()
        assert made.process.wait(20) in (0, -15)
    sandbox.stop()
    receiver.close()


async def test_pay_on_the_hosted_page_kill_the_service_refund_and_count(shop: Installation) -> None:
    client, bob = shop.client(), Person("bob")
    clock = SystemClock()
    await client.command(wire(bob.enrolment()))

    async def state(op: str) -> Mapping[str, Any] | None:
        await shop.forward(client)
        found = [change for change in await client.changes(0) if change["op"] == op]
        return found[-1] if found else None

    async def ended(op: str) -> Mapping[str, Any] | None:
        found = await state(op)
        return found if found is not None and found["state"] in ("succeeded", "refused") else None

    shop.sandbox.fault("error_after", "checkout.sessions.create", saved=False)
    order = wire(pay(mode="checkout"))
    answer = await client.command(order)
    shop.kill()  # with an unknown outcome in its hands
    shop.start()

    async def page() -> Any:
        intent = (await client.command(order))["intent"]
        return intent["redirect_url"] if intent else None

    answer_url = await becomes(page)
    assert answer["intent"]["state"] in ("unknown", "pending")
    assert httpx.post(answer_url, data=CARD, trust_env=False, timeout=20).status_code in (200, 302, 303)
    paid = await becomes(lambda: ended("pay-1"))
    assert paid["state"] == "succeeded"

    core: Any = type("Now", (), {"clock": clock})
    payload = refund_payload(core, paid["provider_payment"], 1500)
    shop.sandbox.fault("drop_after", "refunds.create")
    wanted = wire(refund(payload, bob))
    await client.command(wanted)
    shop.kill()
    shop.start()
    await becomes(lambda: client.command(wanted))
    assert (await becomes(lambda: ended("ref-1")))["state"] == "succeeded"
    over = refund(refund_payload(core, paid["provider_payment"], 2501), bob, "ref-2")
    assert (await client.command(wire(over)))["reason"] == "velocity-amount"
    await client.aclose()
    sessions = shop.sandbox.objects("checkout.session")
    charges = [one for one in shop.sandbox.objects("payment_intent") if one["status"] == "succeeded"]
    assert len(sessions) == 1
    assert [one["amount"] for one in charges] == [5000]
    assert [one["amount"] for one in shop.sandbox.objects("refund")] == [1500]
    shop.kill()
    db = Database(f"sqlite:///{shop.state / 'charge.db'}")
    report = db.read_sync(verify)
    db.close()
    assert report.sound, report.faults
    assert report.entries == 3
    log = (shop.folder / "charge.log").read_text()
    assert KEY not in log
    assert SECRET not in log


@pytest.fixture(scope="module")
def local() -> Iterator[LocalStripe]:
    process = LocalStripe()
    yield process
    process.stop()


class LocalAccount(Account):
    """localstripe in the place of our own provider; it has no control face for faults."""

    def __init__(self, local: LocalStripe) -> None:
        self.psp, self.key, self.local = local, local.key, local  # type: ignore[assignment]
        local.reset()

    def set(self, **body: Any) -> None:
        return None

    def objects(self, kind: str) -> list[dict[str, Any]]:
        path = {"payment_intent": "payment_intents", "refund": "refunds"}[kind]
        return json.loads(self.local.http.get(f"/v1/{path}?limit=100").content)["data"]  # type: ignore[no-any-return]

    def method(self) -> str:
        card = {
            "type": "card",
            "card[number]": CARD["card_number"],
            "card[exp_month]": 12,
            "card[exp_year]": 2034,
            "card[cvc]": "123",
        }
        return str(self.local.http.post("/v1/payment_methods", data=card).json()["id"])


async def test_localstripe_which_ignores_keys_and_allows_any_refund(
    charge_core: Core, local: LocalStripe
) -> None:
    account = LocalAccount(local)
    bob = Person("bob")
    async with Charge(charge_core, account, honours=False) as service:
        await service.command(bob.enrolment(), APP)
        charge_core.clock.advance(datetime.now(UTC) - charge_core.clock.now())  # type: ignore[attr-defined]
        orders = [pay("pay-1", 1000, method=account.method())] * 3
        answers = await asyncio.gather(*(service.command(order, APP) for order in orders))
        await settle_all(service)
        assert answers[0]["status"] == "accepted"
        payment = charge_core.db.read_sync(lambda tx: store.intent_by(tx, store.intents.c.op == "pay-1"))
        assert payment is not None
        assert payment.state == "succeeded"
        commands = [
            refund(refund_payload(charge_core, str(payment.provider_payment), 300), bob, f"r{n}")
            for n in range(8)
        ]
        await asyncio.gather(*(service.command(command, APP) for command in commands * 2))
        await settle_all(service)
    assert [one["amount"] for one in account.objects("payment_intent")] == [1000]
    assert [one["amount"] for one in account.objects("refund")] == [300, 300, 300]
    assert charge_core.db.read_sync(verify).sound
