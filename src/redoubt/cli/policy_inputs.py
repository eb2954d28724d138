"""`redoubt policy inputs`: the data on the principal's side that policies read, and who may write it."""

from __future__ import annotations

import json

import typer
from attrs import asdict

from redoubt.authz.gate import declared_grants, problems
from redoubt.authz.policyset import PolicySet

GATED, WRONG = 3, 1
_SAYS = {
    "permits": "more of it allows more",
    "forbids": "less of it allows more",
    "mixed": "any change may allow more",
}


def say(policies: PolicySet, *, as_json: bool) -> int:
    """Print the grant inputs of a checked set; return the exit code."""
    found, wrong = declared_grants(policies), problems(policies)
    if as_json:
        plain = [{**asdict(item.input), "by": list(item.by), "gated": not item.by} for item in found]
        typer.echo(json.dumps({"inputs": plain, "problems": wrong}, indent=2))
    else:
        for item in found:
            name = {
                "edge": f"{item.input.of} in {item.input.name}",
                "tag": f"{item.input.of} tag {item.input.name}",
            }.get(item.input.kind, f"{item.input.of}.{item.input.name}")
            written = (
                f"written by {', '.join(item.by)}" if item.by else "GATED: the schema grants it to no action"
            )
            typer.echo(f"{name:<30} {_SAYS[item.input.polarity]:<26} {written}")
            typer.echo(
                f"{'':<30} read by {', '.join(item.input.policies[:3])}{_more(len(item.input.policies) - 3)}"
            )
        for line in wrong:
            typer.echo(f"wrong: {line}", err=True)
    if wrong:
        return WRONG
    return GATED if any(not item.by for item in found) else 0


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""
