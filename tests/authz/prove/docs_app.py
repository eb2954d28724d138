"""A small app's schema, as text for the engine and as values for the prover."""

from __future__ import annotations

import json

import cedarpy

from redoubt.authz.models import EntityUid
from redoubt.authz.policyset import PolicySet, PolicySource, parse, unchecked
from redoubt.authz.prove import Comparison, compare_under
from redoubt.authz.schema.types import (
    ActionType,
    Attribute,
    BoolType,
    EntityRef,
    EntityType,
    ExtensionType,
    LongType,
    RecordType,
    Schema,
    SetType,
    StringType,
)

TEXT = """
entity Role in [Role];
entity Group;
entity User in [Role, Group] { org: String, level: Long, mfa?: Bool, manager?: User } tags String;
entity Doc { owner: User, readers: Set<User>, groups: Set<Group>, labels: Set<String>, org: String };
action read, write appliesTo {
    principal: User, resource: Doc,
    context: { risk: Long, ip: ipaddr, at: datetime, amount: decimal }
};
"""
_user, _text = EntityRef("User"), StringType()
_context = RecordType(
    {
        "risk": Attribute(LongType()),
        "ip": Attribute(ExtensionType("ipaddr")),
        "at": Attribute(ExtensionType("datetime")),
        "amount": Attribute(ExtensionType("decimal")),
    }
)
SCHEMA = Schema(
    {
        "Role": EntityType("Role", frozenset({"Role"})),
        "Group": EntityType("Group"),
        "User": EntityType(
            "User",
            frozenset({"Role", "Group"}),
            RecordType(
                {
                    "org": Attribute(_text),
                    "level": Attribute(LongType()),
                    "mfa": Attribute(BoolType(), required=False),
                    "manager": Attribute(_user, required=False),
                }
            ),
            _text,
        ),
        "Doc": EntityType(
            "Doc",
            shape=RecordType(
                {
                    "owner": Attribute(_user),
                    "readers": Attribute(SetType(_user)),
                    "groups": Attribute(SetType(EntityRef("Group"))),
                    "labels": Attribute(SetType(_text)),
                    "org": Attribute(_text),
                }
            ),
        ),
    },
    {
        EntityUid("Action", name): ActionType(
            EntityUid("Action", name),
            principals=frozenset({"User"}),
            resources=frozenset({"Doc"}),
            context=_context,
        )
        for name in ("read", "write")
    },
)


def policies(*texts: str) -> PolicySet:
    """Return a checked set; each text is a policy without its @id."""
    lines = "\n".join(f'@id("p{number}") {text}' for number, text in enumerate(texts))
    return parse(PolicySource(TEXT, {"p.cedar": lines}))


def loose(*texts: str) -> PolicySet:
    """Return a set as `policies` does, unchecked: with forbids that may err."""
    parsed = [json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"]["policy0"] for text in texts]
    return unchecked({f"p{number}": policy for number, policy in enumerate(parsed)}, TEXT)


def change(old: list[str], new: list[str], seconds: float = 30) -> Comparison:
    """Compare two lists of policies."""
    return compare_under(policies(*old), SCHEMA, policies(*new), SCHEMA, budget_seconds=seconds)


def when(condition: str) -> str:
    """Return a permit under a condition."""
    return f"permit (principal, action, resource) when {{ {condition} }};"
