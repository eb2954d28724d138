"""Access rules to Cedar: the schema and one policy a rule, as text that a person can review."""

from __future__ import annotations

from collections import defaultdict

from .access import (
    ANONYMOUS_TYPE,
    APP_TYPE,
    AUTHENTICATED,
    COLLECTION_TYPE,
    PUBLIC,
    ROLE_TYPE,
    USER_TYPE,
    AccessModel,
    Action,
    Allow,
    ResourceType,
    Scope,
)
from .errors import AccessModelError
from .text import laid_out, quote, uid

__all__ = [
    "AccessModel",
    "Action",
    "Allow",
    "ResourceType",
    "Scope",
    "compile_policies",
    "compile_schema",
    "operator_actions",
    "rule_id",
]

_CONTEXT = "{ risk: Long, step_up: Bool, amount?: Long }"
_BUILT_IN = f"""\
entity {ROLE_TYPE};
@grant("by Enrolment.create, sign-up")
entity {USER_TYPE} in [{ROLE_TYPE}] {{ tenant: String }};
@grant("by request")
entity {ANONYMOUS_TYPE} {{ tenant: String }};
entity {APP_TYPE} {{ tenant: String }};
entity {COLLECTION_TYPE} {{ tenant: String, owner?: {USER_TYPE} }};
"""


def operator_actions(role: str = "operator") -> tuple[Action, ...]:
    """Return the console's actions, allowed to `role` in its own tenant; what changes something is step-up."""
    read = (Allow(role=role),)
    write = (Allow(role=role, step_up=True),)
    return (
        Action(name="Console.view", scope="app", allow=read),
        Action(name="Audit.read", scope="app", allow=read),
        Action(name="Approval.read", scope="app", allow=read),
        Action(name="Approval.decide", scope="app", allow=read),  # the approval itself is a passkey assertion
        Action(name="Switch.read", scope="app", allow=read),
        Action(name="Switch.kill", scope="app", allow=read),  # one session must be enough to stop harm
        Action(name="Switch.enable", scope="app", allow=write),
        Action(name="Enrolment.create", scope="app", allow=write),
        Action(name="Policy.read", scope="app", allow=read),
        Action(name="Policy.propose", scope="app", allow=write),
    )


def compile_schema(model: AccessModel) -> str:
    """Return the Cedar schema of `model`: its entity types and actions with their contexts.

    Raises AccessModelError when the model contradicts itself.
    """
    model.check()
    parts = [_BUILT_IN]
    parts += [_entity(resource) for resource in model.resources]
    parts += [_action(action) for action in model.actions]
    return "\n".join(parts)


def compile_policies(model: AccessModel) -> dict[str, str]:
    """Return policy files by name: one file a resource type, one permit a rule, each with its `@id`, as `policy fmt` lays them out.

    Raises AccessModelError when the model contradicts itself.
    """
    model.check()
    files: dict[str, list[str]] = defaultdict(list)
    seen: set[str] = set()
    for action in model.actions:
        for allow in action.allow:
            identity = rule_id(action, allow)
            if identity in seen:
                raise AccessModelError(f"the rule {identity!r} stands twice.", hint="Remove one.")
            seen.add(identity)
            files[f"{action.resource.lower()}.cedar"].append(_policy(action, allow, identity))
    return {name: laid_out("\n".join(policies)) for name, policies in sorted(files.items())}


def rule_id(action: Action, allow: Allow) -> str:
    """Return the `@id` of a rule: its action, its role and its conditions, so that it is stable and says what it does."""
    parts = [f"{action.name}:{allow.role}"]
    if allow.owner:
        parts.append("own")
    if not allow.tenant:
        parts.append("any-tenant")
    if allow.risk_max is not None:
        parts.append(f"risk<={allow.risk_max}")
    if allow.step_up:
        parts.append("step-up")
    if allow.amount_max is not None:
        parts.append(f"amount<={allow.amount_max}")
    if allow.states:
        parts.append("state=" + "|".join(sorted(set(allow.states))))
    return "+".join(parts)


def resource_type(action: Action) -> str:
    """Return the Cedar type of the resource that `action` is asked about."""
    return COLLECTION_TYPE if action.scope == "collection" else action.resource


def _entity(resource: ResourceType) -> str:
    attributes = ["tenant: String"]
    if resource.owner:
        attributes.append(f"owner?: {USER_TYPE}")
    if resource.states:
        attributes.append("state: String")
    attributes += [f"{name}?: {kind}" for name, kind in sorted(resource.attributes.items())]
    return f"entity {resource.name} {{ {', '.join(attributes)} }};"


def _action(action: Action) -> str:
    beyond = [
        name
        for name, found in (
            ("nobody", any(allow.role == PUBLIC for allow in action.allow)),
            ("tenant", any(not allow.tenant for allow in action.allow)),
        )
        if found
    ]
    note = f'@outside("{", ".join(beyond)}")\n' if beyond else ""
    return (
        f"{note}action {quote(action.name)} appliesTo {{\n"
        f"  principal: [{USER_TYPE}, {ANONYMOUS_TYPE}],\n"
        f"  resource: [{resource_type(action)}],\n"
        f"  context: {_CONTEXT}\n}};"
    )


def _policy(action: Action, allow: Allow, identity: str) -> str:
    if allow.role == PUBLIC:
        principal = "principal"
    elif allow.role == AUTHENTICATED:
        principal = f"principal is {USER_TYPE}"
    else:
        principal = f"principal in {uid(ROLE_TYPE, allow.role)}"
    if action.scope == "collection":
        resource = f"resource == {uid(COLLECTION_TYPE, action.resource)}"
    else:
        resource = f"resource is {resource_type(action)}"
    scope = f"permit (\n  {principal},\n  action == {uid('Action', action.name)},\n  {resource}\n)"
    conditions = _conditions(allow)
    when = f"\nwhen {{\n  {(' &&' + chr(10) + '  ').join(conditions)}\n}}" if conditions else ""
    return f"@id({quote(identity)})\n{scope}{when};\n"


def _conditions(allow: Allow) -> list[str]:
    conditions = []
    if allow.tenant:
        conditions.append("principal.tenant == resource.tenant")
    if allow.owner:
        conditions += ["resource has owner", "resource.owner == principal"]
    if allow.risk_max is not None:
        conditions.append(f"context.risk <= {allow.risk_max}")
    if allow.step_up:
        conditions.append("context.step_up")
    if allow.amount_max is not None:
        conditions += ["context has amount", "context.amount >= 0", f"context.amount <= {allow.amount_max}"]
    if allow.states:
        conditions.append(f"[{', '.join(quote(state) for state in allow.states)}].contains(resource.state)")
    return conditions
