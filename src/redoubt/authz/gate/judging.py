"""Judges a change of policies by proof: what is not proven to grant nothing more counts as granting more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ..policyset import PolicySet
from ..prove import Comparison, compare_under
from ..schema import SchemaError, read_schema
from ..schema.types import Environment
from .refusals import Refusal, request_lines


def judge(
    old: PolicySet,
    new: PolicySet,
    *,
    budget_seconds: float,
    earlier: Mapping[Environment, PolicySet] | None = None,
) -> Comparison:
    """Return how `new` compares with `old`, each under its own schema, in about `budget_seconds` of wall time.

    `earlier`: for environments that `old` lacks and that were there once, the last set that had them.
    The same version is equal. A schema that cannot be read, a prover that is missing or fails: `unknown`, which
    widens.
    """
    if old.version == new.version:
        return Comparison()
    try:
        schemas = read_schema(old.schema_text, "old schema"), read_schema(new.schema_text, "new schema")
        return compare_under(old, schemas[0], new, schemas[1], budget_seconds=budget_seconds, earlier=earlier)
    except SchemaError as error:
        return Comparison((), str(error))
    except Exception as error:  # whatever breaks in a prover, the change is not proven
        return Comparison((), f"the prover failed: {type(error).__name__}")


def breach_refusals(comparison: Comparison) -> list[Refusal]:
    """Return the invariants that a compared set was shown to break: no approval lifts them."""
    found = []
    for item in comparison.breaches:
        place = item.environment
        where = f"{place.principal} · {place.action.id} · {place.resource}"
        message = f"it goes beyond the invariant {item.rule}"
        lines = tuple(request_lines(item.witness))
        found.append(Refusal("invariant", where, message, lines, item.witness.values()))
    return found


def earlier_sets(
    old: PolicySet, new: PolicySet, past: Iterable[Callable[[], PolicySet | None]]
) -> dict[Environment, PolicySet]:
    """Return the last set that had each environment that `new` has and `old` lacks, out of `past`, newest first.

    Sets are read only while one is looked for, and what cannot be read (None, or another schema) is passed over.
    """
    try:
        wanted = set(read_schema(new.schema_text).environments()) - set(
            read_schema(old.schema_text).environments()
        )
    except SchemaError:
        return {}
    found: dict[Environment, PolicySet] = {}
    texts: set[str] = set()
    for load in past:
        if not wanted:
            break
        policies = load()
        if policies is None or policies.schema_text in texts:
            continue
        texts.add(policies.schema_text)
        try:
            here = wanted & set(read_schema(policies.schema_text).environments())
        except SchemaError:
            continue
        found.update(dict.fromkeys(here, policies))
        wanted -= here
    return found
