"""The seal on a step of the head: what was written past the code that checks passkeys and proofs is not decided by.

The database refuses a step without a verdict or an approval, but it cannot check a proof or a passkey: whoever may
write its tables could invent both. They have no key, so their step has no seal.
"""

from __future__ import annotations

from attrs import asdict, evolve

from redoubt.core.canonical import canonical_json
from redoubt.core.keys import Keyring

from .errors import CorruptPolicies
from .store import Head

_PURPOSE = "authz-head"


def sealed(head: Head, keys: Keyring) -> Head:
    """Return the step with its seal: an HMAC over everything else in it."""
    return evolve(head, seal=keys.mac(_PURPOSE).hexdigest(_bytes(head)))


def demand_seal(head: Head, keys: Keyring) -> None:
    """Raise CorruptPolicies unless the step carries its seal.

    A step from before there were seals has none; the database refuses to add another such.
    """
    if head.seal is None:
        return
    try:
        tag = bytes.fromhex(head.seal)
    except ValueError:
        tag = b""
    if keys.mac(_PURPOSE).verify(_bytes(head), tag):
        return
    keys.refresh()
    if not keys.mac(_PURPOSE).verify(_bytes(head), tag):
        raise CorruptPolicies(
            "the policy head was written by somebody else than this app.",
            hint="Restore the table policy_head from a backup, and find out who wrote to it.",
        )


def _bytes(head: Head) -> bytes:
    values = asdict(head)
    values.pop("seal")
    return canonical_json({**values, "at": values["at"].isoformat()})
