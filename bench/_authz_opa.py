"""The same policies and entities for OPA: a translation into Rego, for exactly those of `_authz_world.py`.

OPA is not part of this project. `bench/peers/opa` holds a small Go program that asks it within its own process; where that is
not built, nothing is measured, and the benchmark says so.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _authz_world as world
from attrs import frozen

from redoubt.authz.compiled import Answer

HOW = (
    "OPA was not measured. With Go: cd bench/peers/opa && go build -o /tmp/opapeer . ;"
    " then: bench/authz.py --opa /tmp/opapeer (or REDOUBT_OPA_PEER=/tmp/opapeer)"
)


@frozen
class Rates:
    """What OPA answers a second of processor time: inputs that are its own values already, and plain JSON values."""

    version: str
    built: float
    values: float


def measure(
    program: Path, documents: Sequence[dict[str, Any]], expected: Sequence[Answer], passes: int
) -> Rates:
    """Ask OPA all of `documents` and return its rates; stops the benchmark unless it decides as `expected`, by as many."""
    task = {
        "module": rego(),
        "query": "data.bench.answer",
        "data": data(),
        "inputs": [asked(document) for document in documents],
        "passes": passes,
    }
    done = subprocess.run([program], input=json.dumps(task), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{program} failed: {done.stderr.strip()[-500:]}")
    found = json.loads(done.stdout)
    answers = [(one["allow"], tuple(sorted(one["reasons"]))) for one in found["answers"]]
    for ours, theirs in zip(expected, answers, strict=True):
        if (ours.allowed, ours.reasons) != theirs:
            raise SystemExit(f"OPA says {theirs} instead of {ours}")
    return Rates(found["version"], found["built"], found["values"])


def rego(actions: int = world.ACTIONS) -> str:
    """Return the policies in Rego: a rule for each, found by OPA's index of rules over the action."""
    return _HEAD + "".join(_five(number) for number in range(actions))


_HEAD = """package bench

person := data.users[input.principal.id]
paper := data.docs[input.resource.id]
asked := input.context

answer := {"allow": false, "reasons": forbids} if count(forbids) > 0
answer := {"allow": count(permits) > 0, "reasons": permits} if count(forbids) == 0
"""


def _five(number: int) -> str:
    first = number * 5  # Cedar's engine names policies by their place
    scope = f'input.action.id == "a{number}"; input.resource.type == "Doc"'
    return f"""
permits contains "policy{first}" if {{
  {scope}; person.roles.r{number % world.ROLES}; asked.risk < 20; paper.size < 500 }}
permits contains "policy{first + 1}" if {{
  {scope}; input.principal.type == "User"; input.principal.id == paper.owner; asked.risk <= 50 }}
forbids contains "policy{first + 2}" if {{ {scope}; person.suspended }}
forbids contains "policy{first + 2}" if {{ {scope}; asked.risk > 90 }}
permits contains "policy{first + 3}" if {{ {scope}; startswith(paper.name, "public"); asked.mfa }}
permits contains "policy{first + 4}" if {{
  {scope}; person.team in paper.labels; net.cidr_contains("10.0.0.0/8", asked.ip) }}
"""


def data() -> dict[str, Any]:
    """Return users and documents by their ids."""
    roles = {f"r{number}": True for number in range(world.ROLES)}
    users = {row["id"]: {**row, "roles": roles} for row in map(world.user, range(world.USERS))}
    return {"users": users, "docs": {row["id"]: row for row in map(world.doc, range(world.DOCS))}}


def asked(document: dict[str, Any]) -> dict[str, Any]:
    """Return a request as OPA's input: an address is text there."""
    context = document["context"]
    return {**document, "context": {**context, "ip": context["ip"]["__extn"]["arg"]}}
