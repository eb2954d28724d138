"""What the payment tests share: the provider process, a charge service over it, people with passkeys."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import subprocess
import sys
import uuid
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import cbor2
import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from redoubt.core.base import Core
from redoubt.core.canonical import canonical_json
from redoubt.payments.charge.approvers import challenge
from redoubt.payments.charge.commands import Command
from redoubt.payments.charge.models import Cap, ChargeConfig
from redoubt.payments.charge.provider.stripe import StripeProvider
from redoubt.payments.charge.service import ChargeService

ROOT = Path(__file__).resolve().parents[2]
RP_ID, ORIGIN = "shop.localhost", "https://shop.localhost:8443"
SECRET = b"whsec_for_tests_only"
NO_TLS = ssl.create_default_context()  # plain HTTP on loopback: made once, it is what costs


class Psp:
    """The provider's process, and what it holds for one account."""

    def __init__(self, port: int, process: subprocess.Popen[str]) -> None:
        self.url, self.process = f"http://127.0.0.1:{port}", process
        self.http = httpx.Client(trust_env=False, verify=NO_TLS)

    @classmethod
    def start(cls) -> Psp:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.payments.psp"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        return cls(int(process.stdout.readline()), process)

    def stop(self) -> None:
        self.http.close()
        self.process.terminate()
        self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()


class Account:
    """One merchant account at the provider: the oracle counts here, never in our tables."""

    def __init__(self, psp: Psp) -> None:
        self.psp, self.key = psp, f"sk_test_{uuid.uuid4().hex}"

    def control(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self.psp.http.post(f"{self.psp.url}{path}", json=body, headers={"X-Account": self.key})
        return answer.json()  # type: ignore[no-any-return]

    def set(self, **body: Any) -> None:
        self.control("/_set", **body)

    def fault(self, match: str, when: str, what: object) -> None:
        self.set(faults=[{"match": match, "when": when, "what": what}])

    def objects(self, kind: str) -> list[dict[str, Any]]:
        return [item for item in self.control("/_look")["objects"] if item["object"] == kind]

    def events(self) -> list[dict[str, Any]]:
        return self.control("/_look")["events"]  # type: ignore[no-any-return]

    def charged(self) -> int:
        return sum(item["amount"] for item in self.objects("payment_intent") if item["status"] == "succeeded")

    def refunded(self) -> int:
        return sum(item["amount"] for item in self.objects("refund") if item["status"] != "failed")


class Charge:
    """A charge service over a database and an account; `restart` is what a new process would be."""

    def __init__(
        self, core: Core, account: Account, *, caps: tuple[Cap, ...] = (), honours: bool = True
    ) -> None:
        self.core, self.account = core, account
        self.config = ChargeConfig(
            rp_id=RP_ID, origins=(ORIGIN,), allowed_identities=("spiffe://redoubt/app",), caps=caps
        )
        self.http: httpx.AsyncClient | None = None
        self.honours = honours
        account.set(honours=honours)

    def open(self, core: Core | None = None) -> ChargeService:
        self.http = httpx.AsyncClient(timeout=0.4, trust_env=False, verify=NO_TLS)
        core = core or self.core
        provider = StripeProvider(
            self.account.key, self.http, base_url=self.account.psp.url, secrets=lambda: [SECRET], now=core.clock.now,
            honours_keys=self.honours,
        )  # fmt: skip
        return ChargeService(core, self.config, provider)

    async def __aenter__(self) -> ChargeService:
        return self.open()

    async def __aexit__(self, *_: object) -> None:
        assert self.http is not None
        await self.http.aclose()


async def settle_all(service: ChargeService, rounds: int = 8, step: timedelta = timedelta(minutes=5)) -> None:
    """Let time pass and the resolver run until nothing more is due."""
    for _ in range(rounds):
        service.core.clock.advance(step)  # type: ignore[attr-defined]
        await service.resolver.run_due()


def sign(event: Mapping[str, Any], at: float, secret: bytes = SECRET) -> tuple[bytes, dict[str, str]]:
    """Sign an event as Stripe does."""
    raw = json.dumps(event).encode()
    mac = hmac.new(secret, str(int(at)).encode() + b"." + raw, hashlib.sha256).hexdigest()
    return raw, {"Stripe-Signature": f"t={int(at)},v1={mac}"}


async def deliver_events(service: ChargeService, account: Account) -> list[str]:
    """Deliver every event that the provider has emitted so far, signed."""
    return [
        await service.event(*sign(event, service.core.clock.now().timestamp())) for event in account.events()
    ]


def pay(payment: str = "pay-1", amount: int = 5000, currency: str = "EUR", *, customer: str = "cust-1", method: str = "pm_card_visa",
        command: str | None = None, tenant: str = "main", mode: str = "intent") -> Command:  # fmt: skip
    body: dict[str, Any] = {
        "payment": payment, "order": f"order-{payment}", "customer": customer, "amount": amount, "currency": currency, "mode": mode,
    }  # fmt: skip
    if mode == "intent":
        body["payment_method"] = method
    else:
        body |= {"title": "Order", "success_url": f"{ORIGIN}/ok", "cancel_url": f"{ORIGIN}/no"}
    return Command(command or f"cmd-{payment}", tenant, "pay", body)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Person:
    """A person with a software passkey (ES256)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.credential = b64(hashlib.sha256(name.encode() + uuid.uuid4().bytes).digest())

    @property
    def public_key(self) -> str:
        numbers = self._key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        return b64(cbor2.dumps(cose))

    def enrolment(self, tenant: str = "main", command: str | None = None) -> Command:
        body = {"person": self.name, "credential": self.credential, "public_key": self.public_key}
        return Command(command or f"enrol-{self.credential[:12]}", tenant, "enrol_approver", body)

    def assertion(self, payload: bytes, *, origin: str = ORIGIN, rp_id: str = RP_ID, uv: bool = True,
                  extra: dict[str, Any] | None = None) -> dict[str, Any]:  # fmt: skip
        client = {
            "type": "webauthn.get",
            "challenge": b64(challenge(payload)),
            "origin": origin,
            "crossOrigin": False,
        }
        client_data = json.dumps({**client, **(extra or {})}).encode()
        data = (
            hashlib.sha256(rp_id.encode()).digest() + bytes([0x05 if uv else 0x01]) + (7).to_bytes(4, "big")
        )
        signature = self._key.sign(data + hashlib.sha256(client_data).digest(), ec.ECDSA(hashes.SHA256()))
        response = {
            "clientDataJSON": b64(client_data),
            "authenticatorData": b64(data),
            "signature": b64(signature),
        }
        return {"id": self.credential, "rawId": self.credential, "type": "public-key", "response": response}


def refund_payload(core: Core, provider_id: str, amount: int, *, payment: str = "pay-1", requester: str = "alice",
                   currency: str = "EUR", **changes: Any) -> bytes:  # fmt: skip
    data = {
        "tenant": "main", "payment": payment, "provider_id": provider_id, "amount": amount, "currency": currency,
        "order": f"order-{payment}", "reason": "wrong size", "requester": requester,
        "requested_at": core.clock.now().isoformat(), "nonce": uuid.uuid4().hex,
    }  # fmt: skip
    return canonical_json({**data, **changes})


def refund(payload: bytes, by: Person, /, refund_id: str = "ref-1", *, command: str | None = None, tenant: str = "main",
           **changes: Any) -> Command:  # fmt: skip
    body = {
        "refund": refund_id, "payload": b64(payload), "approver": by.name, "assertion": by.assertion(payload),
    }  # fmt: skip
    return Command(command or f"cmd-{refund_id}", tenant, "refund", {**body, **changes})
