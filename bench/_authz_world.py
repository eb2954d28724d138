"""The policies, entities and requests of the authorization benchmarks: 50 policies, 1,000 entities, 5 candidates."""

from __future__ import annotations

from random import Random
from typing import Any

ACTIONS, USERS, DOCS, ROLES = 10, 500, 490, 10

SCHEMA = """
entity Role;
entity User in [Role] { team: String, suspended: Bool };
entity Doc { owner: User, name: String, labels: Set<String>, size: Long };
""" + "".join(
    f"""action "a{number}" appliesTo {{ principal: [User], resource: [Doc],
  context: {{ risk: Long, mfa: Bool, ip: ipaddr }} }};\n"""
    for number in range(2000)
)


def policies(actions: int = ACTIONS) -> str:
    """Return five policies an action: a role, an owner, a forbid, a pattern, a network."""
    return "\n".join(_five(number) for number in range(actions))


def _five(number: int) -> str:
    scope = f'principal, action == Action::"a{number}", resource is Doc'
    role = f'principal in Role::"r{number % ROLES}", action == Action::"a{number}", resource is Doc'
    return f"""
@id("{number}-role") permit ({role}) when {{ context.risk < 20 && resource.size < 500 }};
@id("{number}-owner") permit ({scope}) when {{ resource.owner == principal && context.risk <= 50 }};
@id("{number}-forbid") forbid ({scope}) when {{ principal.suspended || context.risk > 90 }};
@id("{number}-name") permit ({scope}) when {{ resource.name like "public*" && context.mfa }};
@id("{number}-label") permit ({scope}) when {{
  resource.labels.contains(principal.team) && context.ip.isInRange(ip("10.0.0.0/8")) }};"""


TEMPLATE = """
@id("share") permit (principal == ?principal, action == Action::"a0", resource == ?resource);"""


def user(number: int) -> dict[str, Any]:
    """Return a user's row: in all roles, so that a request meets all five policies of its action."""
    return {"id": f"u{number}", "team": f"t{number % 7}", "suspended": number % 10 == 0}


def doc(number: int) -> dict[str, Any]:
    """Return a document's row."""
    return {
        "id": f"d{number}",
        "owner": f"u{number % USERS}",
        "name": ("public" if number % 3 == 0 else "private") + str(number),
        "labels": [f"t{number % 7}", f"t{number % 5}"],
        "size": number * 2,
    }


def entities() -> list[dict[str, Any]]:
    """Return all entities in Cedar's JSON form."""
    roles = [{"type": "Role", "id": f"r{number}"} for number in range(ROLES)]
    result: list[dict[str, Any]] = [{"uid": role, "attrs": {}, "parents": []} for role in roles]
    for row in map(user, range(USERS)):
        attrs = {"team": row["team"], "suspended": row["suspended"]}
        result.append({"uid": {"type": "User", "id": row["id"]}, "attrs": attrs, "parents": roles})
    for row in map(doc, range(DOCS)):
        attrs = {key: row[key] for key in ("name", "labels", "size")}
        attrs["owner"] = {"__entity": {"type": "User", "id": row["owner"]}}
        result.append({"uid": {"type": "Doc", "id": row["id"]}, "attrs": attrs, "parents": []})
    return result


def requests(count: int) -> list[dict[str, Any]]:
    """Return that many requests, the same ones each time."""
    random = Random(4)
    return [
        {
            "principal": {"type": "User", "id": f"u{random.randrange(USERS)}"},
            "action": {"type": "Action", "id": f"a{random.randrange(ACTIONS)}"},
            "resource": {"type": "Doc", "id": f"d{random.randrange(DOCS)}"},
            "context": {
                "risk": random.randrange(100),
                "mfa": random.random() < 0.5,
                "ip": {
                    "__extn": {"fn": "ip", "arg": f"{random.choice([10, 192])}.1.2.{random.randrange(9)}"}
                },
            },
        }
        for _ in range(count)
    ]
