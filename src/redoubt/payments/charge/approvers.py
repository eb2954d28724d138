"""Approvers' passkeys as the charge service knows them, and its own check of an approval.

The app cannot vouch for an approval: what counts is an assertion by a key that was enrolled here before the
refund was asked for, over the exact bytes of the request (Web Authentication Level 3, section 7.2).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from attrs import frozen
from webauthn import verify_authentication_response
from webauthn.helpers.exceptions import InvalidAuthenticationResponse, WebAuthnException

from redoubt.core.base import Core
from redoubt.core.canonical import sha256_hex
from redoubt.core.db import Tx

from . import store
from .errors import CommandInvalid, Refused
from .events import note
from .models import ChargeConfig

CHALLENGE_PREFIX = b"redoubt-approval-v1\0"


@frozen
class Approver:
    """One enrolled passkey of one person."""

    credential: str
    tenant: str
    person: str
    public_key: str
    enrolled_at: datetime
    revoked_at: datetime | None


def unbase64url(text: object, what: str, limit: int = 16_384) -> bytes:
    """Decode base64url text; raises CommandInvalid for anything else."""
    if not isinstance(text, str) or not 0 < len(text) <= limit:
        raise CommandInvalid(f"{what} is not base64url text within bounds.")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise CommandInvalid(f"{what} is not base64url.") from None


def challenge(payload: bytes) -> bytes:
    """Return the WebAuthn challenge that stands for exactly these bytes."""
    return hashlib.sha256(CHALLENGE_PREFIX + payload).digest()


def enrol(tx: Tx, core: Core, tenant: str, person: str, credential: str, public_key: str) -> None:
    """Register a passkey for a person; one that is known is never replaced, under no name and with no key."""
    if person.startswith(("service:", "spiffe:")):
        raise Refused("approver-is-service", "a service identity approves nothing.")
    unbase64url(credential, "the credential id", 1400)
    unbase64url(public_key, "the public key", 4096)
    values = {
        "credential": credential,
        "tenant": tenant,
        "person": person,
        "public_key": public_key,
        "enrolled_at": core.clock.now(),
        "revoked_at": None,
    }
    known = _find(tx, credential)
    if known is None:
        tx.execute(sa.insert(store.approvers), values)
        note(
            tx, core, "charge.approver.enrolled", "success", tenant=tenant, actor="charge",
            target=("Approver", person), data={"credential": sha256_hex(credential.encode())},
        )  # fmt: skip
    elif (known.tenant, known.person, known.public_key) != (tenant, person, public_key) or known.revoked_at:
        raise Refused("approver-exists", "this credential is enrolled already; it is never replaced.")


def revoke(tx: Tx, core: Core, tenant: str, credential: str) -> None:
    """Take a passkey's power to approve away, for good."""
    table = store.approvers
    tx.execute(
        sa.update(table)
        .where(table.c.tenant == tenant, table.c.credential == credential, table.c.revoked_at.is_(None))
        .values(revoked_at=core.clock.now())
    )


def check(
    tx: Tx,
    core: Core,
    config: ChargeConfig,
    *,
    tenant: str,
    person: str,
    payload: bytes,
    requested_at: datetime,
    assertion: Mapping[str, Any],
) -> Approver:
    """Return the approver whose enrolled passkey signed exactly `payload`; raises Refused otherwise."""
    credential = assertion.get("id")
    approver = _find(tx, credential, share=True) if isinstance(credential, str) else None
    if approver is None or approver.tenant != tenant or approver.person != person:
        raise Refused("approver-unknown", "the approver's passkey is not enrolled with the charge service.")
    if approver.revoked_at is not None:
        raise Refused("approver-revoked", "the approver's passkey is revoked.")
    if approver.enrolled_at > requested_at:
        raise Refused(
            "approver-too-new", "the approver's passkey was enrolled after the refund was asked for."
        )
    if approver.enrolled_at + config.approver_matures > core.clock.now():
        raise Refused("approver-too-new", "the approver's passkey is too new to approve anything yet.")
    _verify(config, approver, payload, assertion)
    return approver


def _verify(config: ChargeConfig, approver: Approver, payload: bytes, assertion: Mapping[str, Any]) -> None:
    try:
        client = json.loads(unbase64url(assertion["response"]["clientDataJSON"], "clientDataJSON"))
        # py_webauthn passes these over: an assertion made inside somebody else's frame is not ours.
        if client.get("crossOrigin") or "topOrigin" in client:
            raise Refused("assertion-invalid", "the assertion was made in a foreign frame.")
        verify_authentication_response(
            credential=dict(assertion),
            expected_challenge=challenge(payload),
            expected_rp_id=config.rp_id,
            expected_origin=list(config.origins),
            credential_public_key=unbase64url(approver.public_key, "the public key"),
            # Deliveries may overtake each other, so counts prove nothing here; an approval is consumed once.
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except (
        InvalidAuthenticationResponse,
        WebAuthnException,
        CommandInvalid,
        LookupError,
        ValueError,
        TypeError,
    ) as error:
        raise Refused("assertion-invalid", "the assertion is not over exactly this payload.") from error
    except AttributeError as error:  # clientDataJSON is no object
        raise Refused("assertion-invalid", "the assertion is malformed.") from error


def _find(tx: Tx, credential: str, *, share: bool = False) -> Approver | None:
    """Read an approver; with `share` no revocation can pass until this transaction ends, other approvals can."""
    query = sa.select(store.approvers).where(store.approvers.c.credential == credential)
    row = tx.execute(query.with_for_update(read=True) if share else query).mappings().one_or_none()
    return None if row is None else Approver(**row)
