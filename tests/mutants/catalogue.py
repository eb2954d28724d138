"""All mutants, and the controls that each need one."""

from __future__ import annotations

from pathlib import Path

from redoubt.controls import Verdict
from redoubt.controls.expected import load

from . import authorization, identity, operations, payments, supply, validation, webhooks
from .model import Mutant

_EXPECTED = Path(__file__).parents[2] / "examples" / "shop" / "expected.yaml"
PROVEN = tuple(control for control, verdict in load(_EXPECTED).items() if verdict is Verdict.PROVEN)
"""What verify must prove on the built shop, and so what must fall when its guard is gone."""

ALL: tuple[Mutant, ...] = (
    *identity.MUTANTS,
    *authorization.MUTANTS,
    *webhooks.MUTANTS,
    *payments.MUTANTS,
    *supply.MUTANTS,
    *operations.MUTANTS,
    *validation.MUTANTS,
)


def quick() -> list[Mutant]:
    """Return the few, spread over the areas, that the ordinary suite runs."""
    return [one for one in ALL if one.quick]
