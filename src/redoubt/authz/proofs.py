"""Proofs about a policy set by itself, kept by its content address: without them a set is neither made the head nor decided by.

Most sets need none: only where the schema grants an action the write of what policies read is there anything to prove. The
solvers are asked when a set comes in (genesis, proposal, roll-back, `redoubt init`), never when a process loads it: it looks
for the stored proof and its seal, and denies everything without.
"""

from __future__ import annotations

from redoubt.core.base import Core
from redoubt.core.db import Tx

from . import store
from .errors import ReviewRequired
from .gate.elevation import BUDGET, RULE, elevation_refusals, judged_writes
from .gate.refusals import PoliciesRefused
from .gate.standing import standing_refusals
from .policyset import PolicySet
from .seal import proves, sealed_proof


def demand_no_elevation(policies: PolicySet, *, budget_seconds: float = BUDGET) -> None:
    """Raise PoliciesRefused unless it is proven that nobody elevates themselves; blocks, hold no transaction meanwhile."""
    refused = elevation_refusals(policies, budget_seconds=budget_seconds)
    if refused:
        raise PoliciesRefused(refused)


def demand_standing(policies: PolicySet, *, budget_seconds: float = BUDGET) -> None:
    """Raise PoliciesRefused unless it is proven that a first set lies inside the standing invariants; blocks likewise.

    Later sets are held to them by their comparison with what runs.
    """
    refused = standing_refusals(policies, budget_seconds=budget_seconds)
    if refused:
        raise PoliciesRefused(refused)


def keep_proof(tx: Tx, core: Core, tenant: str, policies: PolicySet) -> None:
    """Store that these policies, of which `demand_no_elevation` returned, let nobody elevate themselves."""
    if judged_writes(policies) and not is_proven(tx, core, tenant, policies):
        proof = store.Proof(tenant, policies.version, RULE, core.clock.now())
        store.insert_proof(tx, sealed_proof(proof, core.keys))


def is_proven(tx: Tx, core: Core, tenant: str, policies: PolicySet) -> bool:
    """Say whether a set needs no proof, or this app stored one; asks no solver. Raises SchemaError."""
    if not judged_writes(policies):
        return True
    found = store.proof(tx, tenant, policies.version, RULE)
    return found is not None and proves(found, core.keys)


def demand_proof(tx: Tx, core: Core, tenant: str, policies: PolicySet) -> None:
    """Raise ReviewRequired unless `is_proven`."""
    if not is_proven(tx, core, tenant, policies):
        raise ReviewRequired(
            "nobody proved that these policies let nobody elevate themselves by a granted write.",
            hint="Install the extra 'prove' and run `redoubt init`, or propose the change again.",
        )
