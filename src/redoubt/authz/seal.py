"""Seals on steps of the head, on roles and on proofs: what was written past the code that checks passkeys and proofs is not decided by.

The database refuses a step without a verdict or an approval, but it cannot check a proof or a passkey: whoever may
write its tables could invent both, and give themselves a role. They have no key, so what they write has no seal.
"""

from __future__ import annotations

from attrs import asdict, evolve

from redoubt.core.canonical import canonical_json
from redoubt.core.keys import Keyring

from .errors import CorruptPolicies
from .steps import Step
from .store import Head, Member, Proof

_PURPOSE = "authz-head"
_ROLES = "authz-role"
_STEPS = "authz-role-step"
_PROOFS = "authz-proof"


def sealed(head: Head, keys: Keyring) -> Head:
    """Return the step with its seal: an HMAC over everything else in it."""
    return evolve(head, seal=keys.mac(_PURPOSE).hexdigest(_bytes(head)))


def demand_seal(head: Head, keys: Keyring) -> None:
    """Raise CorruptPolicies unless the step carries its seal.

    A step from before there were seals has none; the database refuses to add another such.
    """
    if head.seal is None:
        return
    if not keys.mac(_PURPOSE).seals(_bytes(head), head.seal):
        raise CorruptPolicies(
            "the policy head was written by somebody else than this app.",
            hint="Restore the table policy_head from a backup, and find out who wrote to it.",
        )


def sealed_member(member: Member, keys: Keyring) -> Member:
    """Return the role row with its seal."""
    return evolve(member, seal=keys.mac(_ROLES).hexdigest(_member_bytes(member)))


def holds(member: Member, keys: Keyring) -> bool:
    """Say whether the app gave this role; a row from before there were seals has none, and no new one such comes."""
    if member.seal is None:
        return True
    return keys.mac(_ROLES).seals(_member_bytes(member), member.seal)


def sealed_proof(proof: Proof, keys: Keyring) -> Proof:
    """Return the proof with its seal."""
    return evolve(proof, seal=keys.mac(_PROOFS).hexdigest(_proof_bytes(proof)))


def proves(proof: Proof, keys: Keyring) -> bool:
    """Say whether this app stored the proof."""
    return keys.mac(_PROOFS).seals(_proof_bytes(proof), proof.seal)


def _proof_bytes(proof: Proof) -> bytes:
    return canonical_json([proof.tenant, proof.version, proof.rule, proof.at.isoformat()])


def sealed_step(step: Step, keys: Keyring) -> Step:
    """Return the step of somebody's roles with its seal: an HMAC over everything else in it, its place in order included."""
    return evolve(step, seal=keys.mac(_STEPS).hexdigest(_step_bytes(step)))


def stands(step: Step, keys: Keyring) -> bool:
    """Say whether the app wrote this step, as it is and in this place."""
    return keys.mac(_STEPS).seals(_step_bytes(step), step.seal)


def _step_bytes(step: Step) -> bytes:
    values = step.plain()
    values.pop("seal")
    ends = values["expires_at"]
    times = {"at": values["at"].isoformat(), "expires_at": None if ends is None else ends.isoformat()}
    return canonical_json(values | times)


def _member_bytes(member: Member) -> bytes:
    ends = None if member.expires_at is None else member.expires_at.isoformat()
    given = [member.tenant, member.user_id, member.role, member.granted_by, member.at.isoformat()]
    return canonical_json([*given, ends, member.approval_id])


def _bytes(head: Head) -> bytes:
    values = asdict(head)
    values.pop("seal")
    return canonical_json({**values, "at": values["at"].isoformat()})
