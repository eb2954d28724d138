"""What a spec means, checked: names that point nowhere, rules that cannot hold, states that nothing guards.

Works on what could be validated of a broken spec too: names are taken from the file itself, so that a role with
a mistake inside is not reported as unknown besides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from .check_around import around
from .fields import IntegerField, LinesField, MoneyField, RefField, StateField, TextField
from .model import Entity, Spec
from .names import (
    LIBRARY_ACTIONS,
    OPERATOR,
    RESERVED_ACTIONS,
    RESERVED_FIELDS,
    RESERVED_PLURALS,
    actions_of,
    is_reserved_word,
    plural,
)
from .parts import Permission
from .schema import nearest, one_of
from .unsupported import Finding, unsupported
from .yamlread import Path


def check(spec: Spec, raw: Mapping[str, Any]) -> list[Finding]:
    """Return each problem of meaning as (path, found, allowed)."""
    return [*_roles(spec), *_entities(spec), *_permissions(spec, raw), *around(spec, raw), *unsupported(spec)]


def _roles(spec: Spec) -> Iterator[Finding]:
    if OPERATOR not in spec.roles:
        yield ("roles",), f"no role {OPERATOR}", f"a role {OPERATOR}: the first two enrolment links give it"
    sign_up = [name for name, role in spec.roles.items() if role.sign_up]
    for name in sign_up[1:]:
        yield (
            ("roles", name, "sign_up"),
            f"a second role for people who register (first: {sign_up[0]})",
            "at most one",
        )
    if OPERATOR in sign_up:
        yield ("roles", OPERATOR, "sign_up"), "anyone could register as operator", "sign_up on another role"


def _entities(spec: Spec) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for name, entity in spec.entities.items():
        at: Path = ("entities", name)
        if name in LIBRARY_ACTIONS or name in ("Role", "User", "Page", "Webhook", "System"):
            yield at, f"the name {name}, which the runtime uses", "another name"
        word = plural(name, entity)
        if word in RESERVED_PLURALS or is_reserved_word(word):
            yield (
                (*at, "plural"),
                f"{word}, an address of the runtime",
                f"anything but {one_of(sorted(RESERVED_PLURALS))}",
            )
        if word in ("main", "entities", "handlers", "extra", "migrations", "templates", "pages"):
            yield (*at, "plural"), f"{word}, a module of the app itself", "another plural"
        if word in seen:
            yield (*at, "plural"), f"{word}, which {seen[word]} has too", "each plural once"
        seen[word] = name
        yield from _fields(spec, name, entity)
        yield from _actions(name, entity)
    yield from _cycles(spec)


def _fields(spec: Spec, name: str, entity: Entity) -> Iterator[Finding]:
    states = [key for key, field in entity.fields.items() if isinstance(field, StateField)]
    for key in states[1:]:
        yield ("entities", name, "fields", key), "a second state field", "at most one field of type state"
    if entity.label is not None and not isinstance(entity.fields.get(entity.label), TextField):
        texts = [key for key, field in entity.fields.items() if isinstance(field, TextField)]
        yield ("entities", name, "label"), f"{entity.label}, which is not a text field", one_of(texts)
    for key, field in entity.fields.items():
        at: Path = ("entities", name, "fields", key)
        if key in RESERVED_FIELDS or is_reserved_word(key):
            yield (
                at,
                f"the name {key}, which is taken",
                f"anything but {one_of(sorted(RESERVED_FIELDS))} and Python's keywords",
            )
        if isinstance(field, TextField | IntegerField | MoneyField) and field.min > field.max:
            yield (*at, "min"), f"{field.min}, above max {field.max}", f"at most {field.max}"
        if isinstance(field, TextField) and field.required and field.min == 0:
            pass  # required text is at least one character; the runtime sees to it
        computed = isinstance(field, StateField) or (
            isinstance(field, MoneyField) and field.total_of is not None
        )
        if computed and (field.required or field.immutable):
            which = "required" if field.required else "immutable"
            yield (*at, which), f"{which} on a field that only the server sets", "no such key here"
        if field.unique and field.type in ("lines", "boolean", "state"):
            yield (*at, "unique"), f"unique on a field of type {field.type}", "unique on other types"
        if isinstance(field, StateField):
            for word, count in Counter(field.states).items():
                if count > 1:
                    yield (*at, "states"), f"{word} {count} times", "each state once"
        if isinstance(field, MoneyField) and field.total_of is not None:
            yield from _total(spec, entity, field, at)
        if isinstance(field, RefField) and field.to not in spec.entities:
            yield (
                (*at, "to"),
                f"{field.to}, which is no entity{nearest(field.to, spec.entities)}",
                one_of(spec.entities),
            )
        if isinstance(field, LinesField):
            yield from _lines(spec, field, at)


def _total(spec: Spec, entity: Entity, field: MoneyField, at: Path) -> Iterator[Finding]:
    lines = entity.fields.get(field.total_of or "")
    if not isinstance(lines, LinesField):
        known = [key for key, other in entity.fields.items() if isinstance(other, LinesField)]
        yield (*at, "total_of"), f"{field.total_of}, which is no field of type lines", one_of(known)
        return
    source = spec.entities.get(lines.of)
    price = source.fields.get(lines.price) if source is not None else None
    if isinstance(price, MoneyField) and price.currency != field.currency:
        yield (
            (*at, "currency"),
            f"{field.currency}, while {lines.of}.{lines.price} is in {price.currency}",
            price.currency,
        )


def _lines(spec: Spec, field: LinesField, at: Path) -> Iterator[Finding]:
    source = spec.entities.get(field.of)
    if source is None:
        yield (
            (*at, "of"),
            f"{field.of}, which is no entity{nearest(field.of, spec.entities)}",
            one_of(spec.entities),
        )
        return
    amounts = {key: other for key, other in source.fields.items() if isinstance(other, MoneyField)}
    prices = [key for key, other in amounts.items() if other.total_of is None]
    if field.price not in prices:
        why = "is a computed field" if field.price in amounts else "is no money field"
        yield (*at, "price"), f"{field.price}, which {why} of {field.of}", one_of(prices)
    texts = [key for key, other in source.fields.items() if isinstance(other, TextField)]
    if field.label not in texts:
        yield (*at, "label"), f"{field.label}, which is no text field of {field.of}", one_of(texts)
    states = states_of(source)
    for index, word in enumerate(field.available_in):
        if word not in states:
            yield (*at, "available_in", index), f"{word}, which is no state of {field.of}", one_of(states)


def states_of(entity: Entity) -> list[str]:
    """Return the states of an entity; empty when it has no state field."""
    return next((list(field.states) for field in entity.fields.values() if isinstance(field, StateField)), [])


def _actions(name: str, entity: Entity) -> Iterator[Finding]:
    states = states_of(entity)
    for key, action in entity.actions.items():
        at: Path = ("entities", name, "actions", key)
        if key in RESERVED_ACTIONS or is_reserved_word(key):
            yield at, f"the name {key}, which is taken", f"anything but {one_of(sorted(RESERVED_ACTIONS))}"
        if not states:
            yield (
                at,
                f"an action of {name}, which has no state field",
                "actions on entities with a field of type state",
            )
            continue
        for index, word in enumerate(action.from_):
            if word not in states:
                yield (
                    (*at, "from", index),
                    f"{word}, which is no state of {name}{nearest(word, states)}",
                    one_of(states),
                )
        if action.to not in states:
            yield (
                (*at, "to"),
                f"{action.to}, which is no state of {name}{nearest(action.to, states)}",
                one_of(states),
            )


def _cycles(spec: Spec) -> Iterator[Finding]:
    """Tables are made in the order of their references, so those must not run in a circle."""
    edges = {
        name: {
            field.to for field in entity.fields.values() if isinstance(field, RefField) and field.to != name
        }
        for name, entity in spec.entities.items()
    }
    done: set[str] = set()
    while True:
        ready = {name for name in edges if name not in done and not (edges[name] & edges.keys()) - done}
        if not ready:
            break
        done |= ready
    for name in edges:
        if name not in done and edges[name]:
            yield (
                ("entities", name),
                f"references that run in a circle ({one_of(sorted(edges.keys() - done))})",
                "references without a circle",
            )


def _permissions(spec: Spec, raw: Mapping[str, Any]) -> Iterator[Finding]:
    roles = list(raw["roles"]) if isinstance(raw.get("roles"), dict) else list(spec.roles)
    entities = list(raw["entities"]) if isinstance(raw.get("entities"), dict) else []
    for index, rule in enumerate(_original(spec, raw)):
        if rule is None:
            continue
        at: Path = ("permissions", index)
        for place, role in enumerate(rule.roles):
            if role not in roles:
                yield (*at, "roles", place), f"{role}, which is no role{nearest(role, roles)}", one_of(roles)
        for place, action in enumerate(rule.actions):
            here: Path = (*at, "actions", place)
            owner, verb = action.split(".")
            if owner in spec.entities:
                known: tuple[str, ...] = actions_of(spec, owner)
            elif owner in LIBRARY_ACTIONS:
                known = LIBRARY_ACTIONS[owner]
            elif owner in entities:
                continue  # it is there, but broken; that is reported at its own place
            else:
                everything = [*spec.entities, *LIBRARY_ACTIONS]
                yield (
                    here,
                    f"{action}: {owner} is nothing that can be asked for{nearest(owner, everything)}",
                    one_of(everything),
                )
                continue
            if verb not in known:
                yield here, f"{action}{nearest(verb, known)}", one_of(f"{owner}.{word}" for word in known)
            else:
                yield from _conditions(spec, rule, at, owner, verb)


def _original(spec: Spec, raw: Mapping[str, Any]) -> Iterator[Permission | None]:
    """Yield the permissions at the places they have in the file; None where one could not be read."""
    written = raw.get("permissions")
    if not isinstance(written, list):
        return
    valid = iter(spec.permissions)
    if len(written) == len(spec.permissions):
        yield from valid
        return
    for item in written:
        try:
            yield Permission.model_validate(item)
        except ValueError:
            yield None


def _conditions(spec: Spec, rule: Permission, at: Path, owner: str, verb: str) -> Iterator[Finding]:
    entity = spec.entities.get(owner)
    if entity is None:
        if rule.states:
            yield (*at, "states"), f"states on {owner}.{verb}, which has none", "no such key here"
        if rule.amount_max is not None and owner != "Payment":
            yield (
                (*at, "amount_max"),
                f"amount_max on {owner}.{verb}, which has no amount",
                "no such key here",
            )
        if rule.owner and owner != "Payment":
            yield (*at, "owner"), f"owner on {owner}.{verb}, which nobody owns", "no such key here"
        return
    if rule.owner and not entity.owned:
        yield (
            (*at, "owner"),
            f"owner on {owner}, whose rows nobody owns",
            "owned: true on the entity, or no such key",
        )
    if rule.owner and verb == "create":
        yield (
            (*at, "owner"),
            f"owner on {owner}.create: a new row has no owner before it is there",
            "no such key for create",
        )
    if rule.states and verb in ("create", "list"):
        yield (
            (*at, "states"),
            f"states on {owner}.{verb}, which has no row to look at",
            "no such key for create and list",
        )
    states = states_of(entity)
    for index, word in enumerate(rule.states):
        if word not in states:
            yield (
                (*at, "states", index),
                f"{word}, which is no state of {owner}{nearest(word, states)}",
                one_of(states),
            )
    money = [key for key, field in entity.fields.items() if isinstance(field, MoneyField)]
    if rule.amount_max is not None and (len(money) != 1 or verb in ("create", "list")):
        why = f"{len(money)} money fields" if len(money) != 1 else f"no row yet at {verb}"
        yield (
            (*at, "amount_max"),
            f"amount_max on {owner}.{verb}, which has {why}",
            "entities with one money field, on a row",
        )
