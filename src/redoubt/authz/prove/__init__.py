"""Proofs about policies: does a changed set allow more than the one before, over all stores there can be?

`compare` answers per environment. Each verdict assumes that the store conforms to the schema, and that the principal,
the resource and every entity whose attributes, tags or parents are read exist.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..policyset import PolicySet
from ..schema import Schema, SchemaError, read_schema
from ..schema.types import Environment
from .errors import Unsupported
from .verdicts import Breach, Comparison, EnvironmentVerdict, Verdict

__all__ = [
    "Breach",
    "Comparison",
    "EnvironmentVerdict",
    "Unsupported",
    "Verdict",
    "can_error",
    "compare",
    "compare_under",
]


def compare_under(
    old: PolicySet,
    old_schema: Schema,
    new: PolicySet,
    new_schema: Schema,
    *,
    budget_seconds: float,
    earlier: Mapping[Environment, PolicySet] | None = None,
) -> Comparison:
    """Compare two checked sets, each under its own schema, in `budget_seconds` of wall time at most.

    `earlier` holds, for environments that `old` lacks and an earlier set had, the last such set. The new set is held to
    its invariants as well (`redoubt.authz.prove.invariants`).
    Where no proof is had, solvers missing included, the verdict is `unknown`.
    """
    try:
        from .engine import compared_inside
    except ImportError as error:
        return Comparison((), f"nothing can be proven without the extra 'prove': {error}")
    return compared_inside(old, old_schema, new, new_schema, budget_seconds, earlier or {})


def compare(old: PolicySet, new: PolicySet, *, budget_seconds: float) -> Comparison:
    """Compare two checked sets by the schemas that they carry, in `budget_seconds` of wall time at most.

    A schema that cannot be read leaves the verdict `unknown`.
    """
    try:
        before, after = read_schema(old.schema_text), read_schema(new.schema_text)
    except SchemaError as error:
        return Comparison((), f"a schema cannot be read: {error}")
    return compare_under(old, before, new, after, budget_seconds=budget_seconds)


def can_error(policies: PolicySet, schema: Schema, identity: str, *, budget_seconds: float) -> bool:
    """Say whether the policy with this `@id` can come to an error on a conforming store; True unless proven not to."""
    try:
        from .engine import may_err
    except ImportError:
        return True
    return may_err(policies, schema, identity, budget_seconds)
