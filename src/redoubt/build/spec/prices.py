"""Which money fields are prices: those that lines charge by, and so whatever a payment comes to."""

from __future__ import annotations

from .fields import LinesField, MoneyField
from .model import Spec


def prices_of(spec: Spec) -> dict[str, list[str]]:
    """Return the prices of each entity that has any, in the order of the spec.

    What is charged is a total over lines, which the check sees to, so these are all that it comes from. A field that
    is named as one and is no money field, or is computed itself, is left out: the check refuses it.
    """
    named = {
        (field.of, field.price)
        for entity in spec.entities.values()
        for field in entity.fields.values()
        if isinstance(field, LinesField)
    }
    found: dict[str, list[str]] = {}
    for name, entity in spec.entities.items():
        for key, field in entity.fields.items():
            if (name, key) in named and isinstance(field, MoneyField) and field.total_of is None:
                found.setdefault(name, []).append(key)
    return found
