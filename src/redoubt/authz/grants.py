"""Who does what with what decides: both read it; roles and clocks are written by triggers, as steps are appended.

The app appends a step of the policy head when a second person approves one, and the version that it names; triggers hold
what such a step rests on. Verdicts and proofs are written by `redoubt policy` and `redoubt init` alone, which the owner
runs.
"""

from __future__ import annotations

from redoubt.core.db import use

from .store import (
    authz_clock,
    policy_head,
    policy_proofs,
    policy_verdicts,
    policy_versions,
    role_members,
    role_steps,
)

GRANTS = {
    "app": (
        use(policy_versions, insert=True),
        use(policy_head, insert=True),
        use(policy_verdicts),
        use(policy_proofs),
        use(role_steps, insert=True),
        use(role_members),
        use(authz_clock),
    ),
    "worker": (
        use(policy_versions),
        use(policy_proofs),
        use(policy_head),
        use(role_steps, insert=True),  # it takes roles whose time is over
        use(role_members),
        use(authz_clock),
    ),
}
DEFINERS = {
    "policy_head_clock_insert": frozenset({"authz_clock"}),
    "role_members_clock_insert": frozenset({"authz_clock"}),
    "role_members_clock_delete": frozenset({"authz_clock"}),
    "role_steps_apply": frozenset({"role_members"}),
}
