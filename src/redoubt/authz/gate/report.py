"""A judged change as text, JSON and SARIF 2.1.0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import unified_diff
from typing import Any

from attrs import frozen

from redoubt import __version__

from ..models import AuthzRequest
from ..policyset import PolicySet
from ..prove import Comparison, Verdict
from .newcomers import table_lines
from .refusals import Refusal, request_lines

_SAID: dict[Verdict, str] = {
    "equal": "allows exactly what it allowed",
    "narrower": "allows less, and nothing more",
    "new": "is an access that existed in no version",
    "unknown": "could not be proven to allow nothing more",
    "wider": "allows a request that was denied",
}
_RULES = {
    "self-elevation": "Whoever is permitted an action gives themselves by its write what they lacked.",
    "invariant": "The policies allow what a standing invariant excludes.",
}
_SARIF = "https://json.schemastore.org/sarif-2.1.0.json"


@frozen
class Finding:
    """One environment (or, without one, the whole change) whose verdict asks for a second person."""

    verdict: Verdict
    where: str
    message: str
    witness: AuthzRequest | None = None


def findings(comparison: Comparison) -> list[Finding]:
    """Return what of a comparison asks for a second person; empty for an equal or narrower change."""
    found = []
    if comparison.reason:
        found.append(Finding("unknown", "the whole change", f"{_SAID['unknown']}: {comparison.reason}"))
    for item in comparison.environments:
        if item.verdict in ("wider", "new", "unknown"):
            place = item.environment
            reason = f": {item.reason}" if item.reason else ""
            found.append(
                Finding(
                    item.verdict,
                    f"{place.principal} · {place.action.id} · {place.resource}",
                    f"{_SAID[item.verdict]}{reason}",
                    item.witness,
                )
            )
    return found


def as_text(
    old: PolicySet,
    new: PolicySet,
    comparison: Comparison,
    refused: Sequence[Refusal] = (),
    shown: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return the verdict, what is refused, what asks for a second person with its witnesses, tables of what is new, the diff."""
    lines = [f"{comparison.verdict}: the change {_SAID[comparison.verdict]}"]
    if refused:
        lines.insert(0, "refused: no approval lifts this")
        lines[1:1] = [line for item in refused for line in item.text()]
    for item in findings(comparison):
        lines.append(f"  {item.verdict:<8} {item.where}: {item.message}")
        if item.witness is not None:
            lines += [f"           {line}" for line in request_lines(item.witness)]
    for table in shown:
        lines += [f"  {line}" for line in table_lines(table)]
    return "\n".join([*lines, *_diff(old, new)])


def as_json(
    old: PolicySet,
    new: PolicySet,
    comparison: Comparison,
    refused: Sequence[Refusal] = (),
    shown: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the same as plain data; `findings` is empty where no second person is needed."""
    return {
        "base": old.version,
        "head": new.version,
        "verdict": comparison.verdict,
        "review": comparison.widens,
        "refused": [item.plain() for item in refused],
        "findings": [
            {
                "verdict": item.verdict,
                "where": item.where,
                "message": item.message,
                "witness": None if item.witness is None else item.witness.values(),
            }
            for item in findings(comparison)
        ],
        "tables": [dict(table) for table in shown],
        "diff": list(_diff(old, new)),
    }


def as_sarif(
    comparison: Comparison,
    files: Sequence[str],
    refused: Sequence[Refusal] = (),
    shown: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return a SARIF 2.1.0 log; each result names the changed `files`, as the reader's paths.

    A result about what is new holds its table of roles in `properties`.
    """
    by_place = {table["where"]: dict(table) for table in shown}
    verdicts: tuple[Verdict, ...] = ("wider", "new", "unknown")
    results = [(item.rule, item.where, item.message) for item in refused]
    results += [(item.verdict, item.where, item.message) for item in findings(comparison)]
    return {
        "$schema": _SARIF,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "redoubt policy check",
                        "version": __version__,
                        "rules": [
                            {
                                "id": f"policy-{name}",
                                "shortDescription": {"text": f"The change {_SAID[name]}."},
                            }
                            for name in verdicts
                        ]
                        + [
                            {"id": f"policy-{name}", "shortDescription": {"text": text}}
                            for name, text in _RULES.items()
                        ],
                    }
                },
                "results": [
                    {
                        "ruleId": f"policy-{rule}",
                        "level": "error",
                        "message": {"text": f"{where}: {message}"},
                        "properties": {
                            "table": by_place.get(where.partition(" · ")[2]) if rule == "new" else None
                        },
                        "locations": [
                            {"physicalLocation": {"artifactLocation": {"uri": name}}} for name in files
                        ],
                    }
                    for rule, where, message in results
                ],
            }
        ],
    }


def _table(rule: str, where: str, tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table of the action and resource type of a new environment, as a property bag."""
    found = tables.get(where.partition(" · ")[2]) if rule == "new" else None
    return {} if found is None else {"table": found}


def _diff(old: PolicySet, new: PolicySet) -> Iterator[str]:
    """Yield a unified diff of the canonical texts, a policy at a time, the schema last."""
    before, after = _texts(old), _texts(new)
    for name in sorted(before.keys() | after.keys(), key=lambda key: (key == "schema", key)):
        yield from unified_diff(
            before.get(name, "").splitlines(), after.get(name, "").splitlines(), name, name, lineterm=""
        )


def _texts(policies: PolicySet) -> dict[str, str]:
    own = {f"@id({key!r})": text for key, text in policies.texts.items()}
    templates = {f"template @id({key!r})": text for key, text in policies.templates.items()}
    return {**own, **templates, "schema": policies.schema_text}
