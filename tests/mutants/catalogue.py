"""All mutants, and the controls that each need one."""

from __future__ import annotations

from . import authorization, identity, operations, payments, supply, validation, webhooks
from .model import Mutant

PROVEN = (
    "IDN-1", "IDN-9", "IDN-11",
    "AUZ-1", "AUZ-3", "AUZ-6", "AUZ-7",
    "WHK-1", "WHK-2", "WHK-3", "WHK-4", "WHK-5", "WHK-8", "WHK-9",
    "PAY-1", "PAY-4", "PAY-5", "PAY-7", "PAY-9",
    "SUP-1", "SUP-7",
    "OPS-1", "OPS-7",
    "VAL-3", "VAL-8", "VAL-10",
)  # fmt: skip
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
