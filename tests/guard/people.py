"""People with signing keys: an assertion here is a real Ed25519 signature over the challenge."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.core.errors import RedoubtError
from redoubt.core.keys import verify_ed25519
from redoubt.guard import Approval, Approvals, Decision, Kind, Kinds, VerifiedAssertion
from redoubt.guard.switches import enable_kind


class Forged(RedoubtError):
    """The signature does not hold."""

    code = "test-forged"


class People:
    """Keys by person; verifies as identity would."""

    def __init__(self, *names: str) -> None:
        self.keys = {name: Ed25519PrivateKey.generate() for name in names}
        self.user_verified = True

    def sign(self, name: str, challenge: bytes) -> dict[str, Any]:
        signature = base64.b64encode(self.keys[name].sign(challenge)).decode()
        return {"id": f"key-of-{name}", "response": {"signature": signature}}

    def verify(
        self, tx: Tx, user_id: str, challenge: bytes, assertion: Mapping[str, Any]
    ) -> VerifiedAssertion:
        public: Ed25519PublicKey = self.keys[user_id].public_key()
        signature = base64.b64decode(assertion["response"]["signature"])
        if not verify_ed25519(public.public_bytes_raw(), signature, challenge):
            raise Forged("the signature does not hold.")
        return VerifiedAssertion(user_id, f"key-of-{user_id}", self.user_verified)


class Counter:
    """An effect that can be counted: how often was each payload carried out."""

    def __init__(self) -> None:
        self.fail = False
        self.seen: list[tuple[Approval, Decision]] = []

    def execute(self, tx: Tx, approval: Approval, decision: Decision) -> Mapping[str, Any]:
        if self.fail:
            raise Forged("the effect failed.")
        tx.after_commit(lambda: self.seen.append((approval, decision)))
        return {"amount": approval.payload.get("amount", 0)}


def desk(
    core: Core, people: People, counter: Counter, *extra: Kind, entitled: frozenset[str] | None = None
) -> Approvals:
    """Approvals with a refund kind, the switch kind and `extra`."""

    def may(tx: Tx, approval: Approval, person: str) -> bool:
        return entitled is None or person in entitled

    return Approvals(
        core, Kinds(Kind("payments.refund", counter, may), enable_kind(core, may), *extra), people
    )
