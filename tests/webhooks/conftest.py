"""Endpoints with real keys over a real store, and signers that are not ours."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import standardwebhooks
import stripe

from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.core.secrets import SecretRef
from redoubt.webhooks.models import Delivery, EndpointConfig
from redoubt.webhooks.service import Webhooks

WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + "b3RoZXIta2V5" * 3
STRIPE_SECRET = "whsec_0123456789abcdef0123456789abcdef"
GITHUB_SECRET = "It's a Secret to Everybody"

Headers = list[tuple[bytes, bytes]]


def file_ref(core: Core, name: str, secret: str) -> SecretRef:
    """Write a secret where the settings of `core` find it."""
    path = Path(core.settings.base) / name
    path.write_text(secret)
    path.chmod(0o600)
    return SecretRef.parse(f"file:{name}")


def standard(body: bytes, at: datetime, message_id: str = "msg_1", secret: str = WHSEC) -> Headers:
    signature = standardwebhooks.Webhook(secret).sign(message_id, at, body.decode())
    return [
        (b"webhook-id", message_id.encode()),
        (b"webhook-timestamp", str(int(at.timestamp())).encode()),
        (b"webhook-signature", signature.encode()),
        (b"content-type", b"application/json"),
        (b"cookie", b"never=kept"),
    ]


def by_stripe(body: bytes, at: datetime) -> Headers:
    value = stripe.WebhookSignature.generate_signature_header(
        body.decode(), STRIPE_SECRET, int(at.timestamp())
    )
    return [(b"stripe-signature", value.encode())]


def by_github(body: bytes, delivery: str = "d-1") -> Headers:
    mac = hmac.new(GITHUB_SECRET.encode(), body, hashlib.sha256).hexdigest()
    return [(b"x-hub-signature-256", f"sha256={mac}".encode()), (b"x-github-delivery", delivery.encode())]


def payload(n: int = 1) -> bytes:
    return json.dumps({"id": f"evt_{n}", "type": "thing.made", "n": n}).encode()


def write_effect(tx: Tx, delivery: Delivery) -> None:
    """The handler of these tests: one row for each time that it took effect."""
    tx.execute(
        sa.text("INSERT INTO effects (delivery, n) VALUES (:delivery, :n)"),
        {"delivery": delivery.id, "n": delivery.json()["n"]},
    )


@pytest.fixture
def effects(core: Core) -> Any:
    """A table that handlers write to, and the function that reads it."""
    core.db.write_sync(lambda tx: tx.execute(sa.text("CREATE TABLE effects (delivery TEXT, n INTEGER)")))

    def read() -> list[int]:
        return sorted(
            core.db.read_sync(lambda tx: tx.execute(sa.text("SELECT n FROM effects")).scalars().all())
        )

    return read


def endpoints(core: Core) -> list[EndpointConfig]:
    return [
        EndpointConfig("partner", "standard", [file_ref(core, "partner.key", WHSEC)], write_effect),
        EndpointConfig("stripe", "stripe", [file_ref(core, "stripe.key", STRIPE_SECRET)], write_effect),
        EndpointConfig(
            "github", "github", [file_ref(core, "github.key", GITHUB_SECRET)], write_effect, max_body=4096
        ),
    ]


@pytest.fixture
async def hooks(core: Core, effects: Any) -> Webhooks:
    """Three endpoints, started."""
    webhooks = Webhooks(core, endpoints(core))
    await webhooks.start()
    return webhooks


def count(core: Core, table: str) -> int:
    return int(
        core.db.read_sync(lambda tx: tx.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one())
    )


def actions(core: Core, prefix: str = "webhook.") -> list[str]:
    """The audited actions of this domain, in order."""
    rows = core.db.read_sync(
        lambda tx: tx.execute(sa.text("SELECT action FROM audit_entries")).scalars().all()
    )
    return [action for action in rows if action.startswith(prefix)]


MINUTE = timedelta(minutes=1)
