"""Attacks by whoever has the app's database role and none of its keys."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from redoubt.authz.roles import Roles

from .by_request import _mark
from .scene import BASE, NARROW, Scene

Act = Callable[[Scene], None]


# forged verdict


def _invented(scene: Scene) -> None:
    """Every constraint is met, by an invented proof: the step lacks the seal."""
    scene.forge_step(scene.edit.policies, verdict_id=scene.forge_verdict(scene.edit.policies))


def _invented_and_sealed_like(scene: Scene) -> None:
    """With the seal of the step before."""
    found = scene.forge_verdict(scene.edit.policies)
    scene.forge_step(scene.edit.policies, verdict_id=found, seal=scene.head().seal)


def _passing(verdict: str, scene: Scene) -> None:
    scene.refused(scene.forge_verdict, scene.edit.policies, verdict=verdict)


def _called_narrower(scene: Scene) -> None:
    request = scene.ask()
    scene.refused(scene.activate, request, {**request.payload, "verdict": "narrower"})


def _invented_approval(scene: Scene) -> None:
    """Every constraint is met, by an invented assertion."""
    request = scene.ask()
    _mark(scene, request, scene.approver)
    scene.sql_version(scene.edit.policies)
    scene.forge_step(
        scene.edit.policies,
        verdict_id=request.payload["verdict_id"],
        approval_id=request.id,
        reviewer=scene.approver,
    )


FORGED = {
    "an invented proof": _invented,
    "an invented proof, an old seal": _invented_and_sealed_like,
    "a wider one that passes": partial(_passing, "wider"),
    "an unknown one that passes": partial(_passing, "unknown"),
    "a new one that passes": partial(_passing, "new"),
    "a wider one called narrower": _called_narrower,
    "an invented assertion": _invented_approval,
}


# verdict of another base


def _other(changes: dict[str, Any], scene: Scene) -> None:
    found = scene.forge_verdict(scene.edit.policies, **changes)
    scene.refused(scene.forge_step, scene.edit.policies, verdict_id=found)


def _of_a_base_that_ran(scene: Scene) -> None:
    found = scene.forge_verdict(scene.edit.policies)
    scene.propose(NARROW)
    scene.refused(scene.forge_step, scene.edit.policies, verdict_id=found)


def _of_another_change(scene: Scene) -> None:
    """A true verdict about a narrowing, for the edit."""
    true = scene.propose(NARROW).verdict
    scene.refused(scene.forge_step, scene.edit.policies, verdict_id=true.id)


def _of_another_request(scene: Scene) -> None:
    first, second = scene.ask(), scene.ask()
    mixed = {**first.payload, "verdict_id": second.payload["verdict_id"]}
    scene.refused(scene.activate_marked, first, mixed)


def _of_another_tenant(scene: Scene) -> None:
    found = scene.forge_verdict(scene.edit.policies)
    scene.refused(scene.forge_step, scene.edit.policies, tenant="main", seq=1, verdict_id=found)


OTHER = {
    "of a step to come": partial(_other, {"base_seq": 7}),
    "of the step before": partial(_other, {"base_seq": -1}),
    "by another author": partial(_other, {"author": "eve"}),
    "of a roll-back": partial(_other, {"kind": "rollback"}),
    "of yesterday": partial(_other, {"judged_at": 1}),
    "of a base that ran": _of_a_base_that_ran,
    "of another change": _of_another_change,
    "of another request": _of_another_request,
    "of another tenant": _of_another_tenant,
}


# direct activation


def _step(changes: dict[str, Any], scene: Scene) -> None:
    scene.sql_version(scene.edit.policies)
    scene.refused(scene.forge_step, scene.edit.policies, **changes)


def _with_a_pending_request(scene: Scene) -> None:
    request = scene.ask()
    scene.sql_version(scene.edit.policies)
    scene.refused(
        scene.forge_step,
        scene.edit.policies,
        verdict_id=request.payload["verdict_id"],
        approval_id=request.id,
        reviewer=scene.approver,
    )


def _a_second_beginning(scene: Scene) -> None:
    scene.sql_version(scene.edit.policies, tenant=f"{scene.tenant}-new")
    scene.refused(scene.forge_step, scene.edit.policies, tenant=f"{scene.tenant}-new", seq=0, kind="genesis")


def _rewrite(text: str, scene: Scene) -> None:
    scene.sql_version(scene.edit.policies)
    scene.refused(scene.sql, text, tenant=scene.tenant, wanted=scene.edit.policies.version)


DIRECT = {
    "without anything": partial(_step, {}),
    "with a reviewer": partial(_step, {"reviewer": "bob", "approval_id": "x"}),
    "as a beginning": partial(_step, {"kind": "genesis"}),
    "two steps on": partial(_step, {"seq": 9}),
    "without a seal": partial(_step, {"seal": None}),
    "with a pending request": _with_a_pending_request,
    "as another tenant's beginning": _a_second_beginning,
    "by changing the step": partial(
        _rewrite, "UPDATE policy_head SET version = :wanted WHERE tenant = :tenant"
    ),
    "by deleting steps": partial(
        _rewrite, "DELETE FROM policy_head WHERE tenant = :tenant AND :wanted <> ''"
    ),
}


# edit of the stored text


def _stored(text: str, scene: Scene) -> None:
    scene.sql_version(scene.edit.policies)
    scene.refused(
        scene.sql, text, tenant=scene.tenant, running=BASE.version, wanted=scene.edit.policies.version
    )


_BODY = "(SELECT body FROM policy_versions WHERE tenant = :tenant AND id = :wanted)"
STORED = {
    "the text": partial(
        _stored, f"UPDATE policy_versions SET body = {_BODY} WHERE tenant = :tenant AND id = :running"
    ),
    "a word of the text": partial(
        _stored,
        "UPDATE policy_versions SET body = replace(body, 'forbid', 'permit')"
        " WHERE tenant = :tenant AND id = :running AND :wanted <> ''",
    ),
    "the id of the text": partial(
        _stored, "UPDATE policy_versions SET id = :running WHERE tenant = :tenant AND id = :wanted"
    ),
    "its place": partial(
        _stored,
        f"INSERT INTO policy_versions SELECT tenant, id, parent, {_BODY}, author, ticket, reviewers, note, created_at"
        " FROM policy_versions WHERE tenant = :tenant AND id = :running",
    ),
    "by deleting it": partial(
        _stored, "DELETE FROM policy_versions WHERE tenant = :tenant AND id = :running AND :wanted <> ''"
    ),
    "its author": partial(
        _stored, "UPDATE policy_versions SET author = :wanted WHERE tenant = :tenant AND id = :running"
    ),
}


# role change outside of the grant


def _give(scene: Scene, **changes: Any) -> None:
    row = {
        "tenant": scene.tenant, "user_id": "eve", "role": scene.role, "granted_by": scene.author, "at": 1,
        "seal": "00" * 32, **changes,
    }  # fmt: skip
    names = ", ".join(row)
    scene.sql(f"INSERT INTO role_members ({names}) VALUES ({', '.join(f':{name}' for name in row)})", **row)


def honest_role(scene: Scene) -> None:
    Roles(scene.core)
    scene.core.db.write_sync(
        lambda tx: Roles(scene.core).assign(tx, scene.tenant, "eve", scene.role, scene.approver)
    )


def _honest_other(scene: Scene) -> dict[str, Any]:
    """Give the role to somebody else, truly; return the row."""
    scene.core.db.write_sync(
        lambda tx: Roles(scene.core).assign(tx, scene.tenant, "cora", scene.role, scene.approver)
    )
    return scene.row("SELECT * FROM role_members WHERE tenant = :tenant AND user_id = 'cora'")


def _anothers_row(scene: Scene) -> None:
    row = _honest_other(scene)
    _give(scene, seal=row["seal"], granted_by=row["granted_by"], at=row["at"])


def _anothers_row_changed(scene: Scene) -> None:
    _honest_other(scene)
    scene.refused(
        scene.sql, "UPDATE role_members SET user_id = 'eve' WHERE tenant = :tenant", tenant=scene.tenant
    )


def _another_role_changed(scene: Scene) -> None:
    scene.core.db.write_sync(
        lambda tx: Roles(scene.core).assign(tx, scene.tenant, "eve", "lesser", scene.approver)
    )
    scene.refused(
        scene.sql,
        "UPDATE role_members SET role = :role WHERE tenant = :tenant",
        role=scene.role,
        tenant=scene.tenant,
    )


def _another_tenants_row(scene: Scene) -> None:
    scene.core.db.write_sync(
        lambda tx: Roles(scene.core).assign(tx, f"{scene.tenant}-x", "eve", scene.role, scene.approver)
    )
    row = scene.row("SELECT * FROM role_members WHERE tenant = :tenant", tenant=f"{scene.tenant}-x")
    _give(scene, seal=row["seal"], granted_by=row["granted_by"], at=row["at"])


def _unsealed(seal: str | None, scene: Scene) -> None:
    scene.refused(_give, scene, seal=seal)


def _step(scene: Scene, **changes: Any) -> None:
    """Append a step to eve's roles, past the app."""
    found = scene.row(
        "SELECT COALESCE(MAX(seq) + 1, 0) AS seq FROM role_steps WHERE tenant = :tenant AND user_id = 'eve'"
    )
    row = {
        "tenant": scene.tenant, "user_id": "eve", "seq": found["seq"], "kind": "give", "role": scene.role,
        "granted_by": scene.author, "at": 1, "member_seal": "00" * 32, "held": f'[["{scene.role}",null]]',
        "seal": "00" * 32, **changes,
    }  # fmt: skip
    names = ", ".join(row)
    scene.sql(f"INSERT INTO role_steps ({names}) VALUES ({', '.join(f':{name}' for name in row)})", **row)


def _anothers_step(scene: Scene) -> None:
    _honest_other(scene)
    row = scene.row("SELECT * FROM role_steps WHERE tenant = :tenant AND user_id = 'cora'")
    _step(scene, **{**row, "user_id": "eve"})


def _given_and_taken(scene: Scene) -> dict[str, Any]:
    """Give eve the role, truly, and take it again; return the step that gave it."""
    roles = Roles(scene.core)
    honest_role(scene)
    row = scene.row("SELECT * FROM role_steps WHERE tenant = :tenant AND user_id = 'eve' AND kind = 'give'")
    scene.core.db.write_sync(lambda tx: roles.revoke(tx, scene.tenant, "eve", scene.role, scene.approver))
    return row


def _put_back(scene: Scene) -> None:
    """The row of a role that was taken comes back as it was, with its seal."""
    taken = _given_and_taken(scene)
    _give(scene, seal=taken["member_seal"], granted_by=taken["granted_by"], at=taken["at"])


def _step_again(scene: Scene) -> None:
    step = _given_and_taken(scene)
    _step(scene, **{name: value for name, value in step.items() if name != "seq"})


def _instead_of_the_last(text: str, scene: Scene) -> None:
    _given_and_taken(scene)
    scene.refused(scene.sql, text, tenant=scene.tenant)


_LAST = "tenant = :tenant AND user_id = 'eve' AND kind = 'take'"

ROLE = {
    "a step with a false seal": lambda scene: _step(scene),
    "a step with no hexadecimal seal": lambda scene: _step(scene, seal="zz"),
    "a step without a seal": lambda scene: scene.refused(_step, scene, seal=""),
    "a step out of order": lambda scene: scene.refused(_step, scene, seq=7),
    "another's step": _anothers_step,
    "the row of a role that was taken": _put_back,
    "the step of a role that was taken": _step_again,
    "the last step deleted": partial(_instead_of_the_last, f"DELETE FROM role_steps WHERE {_LAST}"),
    "the last step changed": partial(
        _instead_of_the_last, f"UPDATE role_steps SET held = '[[\"operator\",null]]' WHERE {_LAST}"
    ),
    "without a seal": partial(_unsealed, None),
    "with an empty seal": partial(_unsealed, ""),
    "with a false seal": lambda scene: _give(scene),
    "with no hexadecimal seal": lambda scene: _give(scene, seal="zz"),
    "with another's seal": _anothers_row,
    "another's row changed": _anothers_row_changed,
    "another role changed": _another_role_changed,
    "with another tenant's seal": _another_tenants_row,
}
