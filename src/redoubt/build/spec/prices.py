"""Which money fields are prices: what lines charge by, and what a payment charges that no lines add up to."""

from __future__ import annotations

from .fields import LinesField, MoneyField
from .model import Spec


def prices_of(spec: Spec) -> dict[str, list[str]]:
    """Return the prices of each entity that has any, in the order of the spec.

    Where a field that is named as one is no money field, or is computed, it is left out: the check says so.
    """
    named = {
        (field.of, field.price)
        for entity in spec.entities.values()
        for field in entity.fields.values()
        if isinstance(field, LinesField)
    }
    if spec.payments is not None:
        named.add((spec.payments.charge.entity, spec.payments.charge.amount))
    found: dict[str, list[str]] = {}
    for name, entity in spec.entities.items():
        for key, field in entity.fields.items():
            if (name, key) in named and isinstance(field, MoneyField) and field.total_of is None:
                found.setdefault(name, []).append(key)
    return found
