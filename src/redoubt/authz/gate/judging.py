"""Judges a change of policies by proof: what is not proven to grant nothing more counts as granting more."""

from __future__ import annotations

from ..policyset import PolicySet
from ..prove import Comparison, compare_under
from ..schema import SchemaError, read_schema


def judge(old: PolicySet, new: PolicySet, *, budget_seconds: float) -> Comparison:
    """Return how `new` compares with `old`, each under its own schema, in about `budget_seconds` of wall time.

    The same version is equal. A schema that cannot be read, a prover that is missing or fails: `unknown`, which
    widens.
    """
    if old.version == new.version:
        return Comparison()
    try:
        schemas = read_schema(old.schema_text, "old schema"), read_schema(new.schema_text, "new schema")
        return compare_under(old, schemas[0], new, schemas[1], budget_seconds=budget_seconds)
    except SchemaError as error:
        return Comparison((), str(error))
    except Exception as error:  # whatever breaks in a prover, the change is not proven
        return Comparison((), f"the prover failed: {type(error).__name__}")
