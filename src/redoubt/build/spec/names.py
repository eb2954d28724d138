"""Names that are taken, and names that are made from others."""

from __future__ import annotations

import keyword
import re
from itertools import groupby

from redoubt.authz.rules import operator_actions

from .model import Entity, Spec

RESERVED_PLURALS = frozenset(
    [
        "account",
        "api",
        "approvals",
        "auth",
        "console",
        "docs",
        "enrol",
        "healthz",
        "jobs",
        "payments",
        "refunds",
        "static",
        "switches",
        "webhooks",
    ]
)
"""First parts of addresses that the runtime serves."""
RESERVED_FIELDS = frozenset(
    ["id", "tenant", "owner", "owner_id", "created_at", "updated_at", "version", "metadata", "type"]
)
"""Columns that every row has, and what collides with them."""
CRUD = ("list", "read", "create", "update", "delete")
"""What every entity can be asked for."""
RESERVED_ACTIONS = frozenset({*CRUD, "new", "edit", "pay", "prices", "refund", "options", "action"})
"""Action names that the runtime or the pages use."""
OPERATOR = "operator"
"""The role that the first two enrolment links give."""
LIBRARY_ACTIONS: dict[str, tuple[str, ...]] = {
    "Payment": ("list", "read", "refund"),
    **{
        group: tuple(action.name.split(".")[1] for action in actions)
        for group, actions in groupby(operator_actions(), key=lambda action: action.name.split(".")[0])
    },
}
"""What the runtime's own routes ask for; a spec grants it like anything else."""


def snake(name: str) -> str:
    """Turn `ReleaseNote` into `release_note`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def plural(name: str, entity: Entity) -> str:
    """Return the entity's name in addresses: declared, or made (`release_notes`, `companies`, `boxes`)."""
    if entity.plural is not None:
        return entity.plural
    word = snake(name)
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + ("es" if re.search(r"(s|x|z|ch|sh)$", word) else "s")


def human(word: str) -> str:
    """Turn `release_note` or `ReleaseNote` into `Release note`."""
    return snake(word).replace("_", " ").capitalize()


def actions_of(spec: Spec, entity: str) -> tuple[str, ...]:
    """Return every action of an entity: the five common ones, its own, and `pay` where it is paid for."""
    own = tuple(spec.entities[entity].actions)
    pay = ("pay",) if spec.payments is not None and spec.payments.charge.entity == entity else ()
    return (*CRUD, *own, *pay)


def is_reserved_word(name: str) -> bool:
    """Whether Python would not take the name."""
    return keyword.iskeyword(name) or keyword.issoftkeyword(name)
