"""Forbids that can come to an error: Cedar skips them, and what they should stop passes. They are refused.

After Cedar's validation the only operations left that can err are those whose result may not fit 64 bits (integer
arithmetic and times), as long as every entity that is read exists, which the loader of entities promises. A forbid without
such an operation is fine by looking at it. One with them is put to the solvers; what they cannot rule out within the
budget, or without the extra `prove`, counts as possible.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any

from cedarpy import pst

_UNARY = {"neg": "-", "to_date": ".toDate()"}
_BINARY = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "offset": ".offset()",
    "duration_since": ".durationSince()",
}
_CONSTRUCTORS = frozenset({"ip", "decimal", "datetime", "duration"})
BUDGET = 5.0
"""Seconds that the solvers have for one forbid."""


def risky(policy: pst.Template) -> list[str]:
    """Return the operators of a validated policy that can come to an error on a store in which every entity exists."""
    return sorted({name for clause in policy.clauses for name in _risky(clause.expr)})


def forbid_that_errs(
    identity: str, policy: Mapping[str, Any], tree: pst.Template, schema_text: str
) -> str | None:
    """Return why a validated policy (JSON form and tree) is refused, or None."""
    if tree.effect != "forbid":
        return None
    found = risky(tree)
    if not found or not _may(identity, json.dumps(policy, sort_keys=True), schema_text):
        return None
    return (
        f"this forbid may come to an error ({', '.join(found)}: a result beyond 64 bits), and Cedar skips a policy that"
        " errs: what it should stop would pass. Bound the values first, as in `context.amount < 1000000 && …`, or"
        " compare without computing. Where the extra `prove` is missing, nothing with these operators can be proven."
    )


@lru_cache(maxsize=256)
def _may(identity: str, policy: str, schema_text: str) -> bool:
    from .policyset import unchecked  # both import each other's results, so not at the top
    from .prove import can_error
    from .schema import SchemaError, read_schema

    try:
        schema = read_schema(schema_text)
    except SchemaError:
        return True
    alone = unchecked({identity: json.loads(policy)}, schema_text)
    return can_error(alone, schema, identity, budget_seconds=BUDGET)


def _risky(node: Any) -> Iterator[str]:
    match node:
        case pst.UnaryOp(op=op) if op in _UNARY:
            yield _UNARY[op]
        case pst.UnaryOp(op=op, arg=arg) if op in _CONSTRUCTORS and not isinstance(arg, pst.StringLit):
            yield f"{op}()"
        case pst.BinaryOp(op=op) if op in _BINARY:
            yield _BINARY[op]
    if is_dataclass(node):
        for item in fields(node):
            yield from _risky(getattr(node, item.name))
    elif isinstance(node, tuple | list):
        for one in node:
            yield from _risky(one)
    elif isinstance(node, Mapping):
        for one in node.values():
            yield from _risky(one)
