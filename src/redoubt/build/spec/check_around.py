"""Checks of the sections around the entities: pages, webhooks, payments, limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from redoubt.guard.limits import Rule
from redoubt.identity import throttle

from .fields import AnyField, LinesField, MoneyField, RefField, StateField
from .model import Entity, Spec
from .names import RESERVED_PLURALS, is_reserved_word, plural, snake
from .parts import Forward, PaymentEvents, Record
from .schema import nearest, one_of
from .unsupported import Finding
from .yamlread import Path

LIMITS = frozenset(rule.name for rule in vars(throttle).values() if isinstance(rule, Rule))
"""Rules of the runtime whose numbers a spec may set."""


def around(spec: Spec, raw: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield each problem of pages, webhooks, payments and limits."""
    yield from _pages(spec, raw)
    for name, hook in spec.webhooks.incoming.items():
        at: Path = ("webhooks", "incoming", name)
        if is_reserved_word(name):
            yield at, f"the name {name}, which is a word of Python", "another name"
        if name in spec.webhooks.outgoing:
            yield at, f"the name {name}, which an outgoing webhook has too", "another name"
        if hook.dedupe_days > spec.retention.webhook_payload_days:
            days = spec.retention.webhook_payload_days
            yield (
                (*at, "dedupe_days"),
                f"{hook.dedupe_days}, longer than payloads are kept",
                f"at most {days}",
            )
        if isinstance(hook.handler, Record):
            yield from _record(spec, hook.handler, (*at, "handler"))
        elif isinstance(hook.handler, Forward):
            yield from _forward(spec, name, hook.handler, (*at, "handler"))
        elif isinstance(hook.handler, PaymentEvents):
            if spec.payments is None:
                yield (
                    (*at, "handler"),
                    "payments, while the spec has no payments section",
                    "record, forward, custom",
                )
            elif hook.scheme != spec.payments.provider:
                yield (*at, "scheme"), f"{hook.scheme} for the provider's events", spec.payments.provider
    yield from _outgoing(spec)
    yield from _payments(spec)
    for rule in spec.limits:
        if rule not in LIMITS:
            yield ("limits", rule), f"no rule of that name{nearest(rule, LIMITS)}", one_of(sorted(LIMITS))


def _pages(spec: Spec, raw: Mapping[str, Any]) -> Iterator[Finding]:
    if spec.pages.home is not None and spec.pages.home not in spec.pages.entities:
        yield ("pages", "home"), f"{spec.pages.home}, which has no pages", one_of(spec.pages.entities)
    written = raw.get("entities")
    named = written if isinstance(written, dict) else {}
    for index, name in enumerate(spec.pages.entities):
        if name not in spec.entities and name not in named:
            at: Path = ("pages", "entities", index)
            yield at, f"{name}, which is no entity{nearest(name, spec.entities)}", one_of(spec.entities)
    plurals = {plural(name, entity) for name, entity in spec.entities.items()}
    roles = raw["roles"] if isinstance(raw.get("roles"), dict) else spec.roles
    for word, page in spec.pages.own.items():
        at = ("pages", "own", word)
        if word in plurals or word in RESERVED_PLURALS or is_reserved_word(word):
            yield at, f"the address /{word}, which is taken", "another name"
        if page.public == bool(page.roles):
            yield (
                at,
                "public and roles" if page.public else "neither public nor roles",
                "public: true, or a list of roles",
            )
        for index, role in enumerate(page.roles):
            if role not in roles:
                yield (*at, "roles", index), f"{role}, which is no role{nearest(role, roles)}", one_of(roles)


def _record(spec: Spec, handler: Record, at: Path) -> Iterator[Finding]:
    entity = spec.entities.get(handler.entity)
    if entity is None:
        found = f"{handler.entity}, which is no entity{nearest(handler.entity, spec.entities)}"
        yield (*at, "entity"), found, one_of(spec.entities)
        return
    if entity.owned:
        yield (*at, "entity"), f"{handler.entity}, whose rows a person owns", "an entity with owned: false"
    settable = [key for key, field in entity.fields.items() if not _server_set(field)]
    for key in handler.fields:
        if key not in settable:
            yield (
                (*at, "fields", key),
                f"{key}, which a payload cannot set{nearest(key, settable)}",
                one_of(settable),
            )
    for key, field in entity.fields.items():
        if field.required and key not in handler.fields:
            yield (*at, "fields"), f"no {key}, which {handler.entity} requires", f"a path for {key}"


def _server_set(field: AnyField) -> bool:
    """Whether neither a client nor a payload may set the field."""
    if isinstance(field, StateField | LinesField | RefField):
        return True
    return isinstance(field, MoneyField) and field.total_of is not None


def _forward(spec: Spec, name: str, handler: Forward, at: Path) -> Iterator[Finding]:
    target = spec.webhooks.outgoing.get(handler.to)
    if target is None:
        known = list(spec.webhooks.outgoing)
        yield (
            (*at, "to"),
            f"{handler.to}, which is no outgoing webhook{nearest(handler.to, known)}",
            one_of(known),
        )
    elif f"webhook.{name}" not in target.events:
        yield (
            (*at, "to"),
            f"{handler.to}, which does not send webhook.{name}",
            f"an outgoing webhook with the event webhook.{name}",
        )


def events_of(name: str, entity: Entity) -> list[str]:
    """Return the events of an entity: created, updated, deleted, and each state it can reach."""
    word = snake(name)
    states = next((field.states for field in entity.fields.values() if isinstance(field, StateField)), [])
    return [f"{word}.{event}" for event in ("created", "updated", "deleted", *states[1:])]


def _outgoing(spec: Spec) -> Iterator[Finding]:
    known = [event for name, entity in spec.entities.items() for event in events_of(name, entity)]
    known += [
        f"webhook.{name}"
        for name, hook in spec.webhooks.incoming.items()
        if isinstance(hook.handler, Forward)
    ]
    for name, out in spec.webhooks.outgoing.items():
        if is_reserved_word(name):
            yield (
                ("webhooks", "outgoing", name),
                f"the name {name}, which is a word of Python",
                "another name",
            )
        for index, event in enumerate(out.events):
            if event not in known:
                at: Path = ("webhooks", "outgoing", name, "events", index)
                yield at, f"{event}, which nothing emits{nearest(event, known)}", one_of(known)


def _payments(spec: Spec) -> Iterator[Finding]:
    payments = spec.payments
    if payments is None:
        return
    receivers = [
        name for name, hook in spec.webhooks.incoming.items() if isinstance(hook.handler, PaymentEvents)
    ]
    if len(receivers) != 1:
        found = f"{len(receivers)} incoming webhooks for the provider's events"
        yield ("payments",), found, "exactly one incoming webhook with the handler payments"
    if not any("Approval.decide" in rule.actions for rule in spec.permissions):
        yield ("payments", "refunds"), "nobody who may approve a refund", "a permission with Approval.decide"
    charge = payments.charge
    entity = spec.entities.get(charge.entity)
    if entity is None:
        found = f"{charge.entity}, which is no entity{nearest(charge.entity, spec.entities)}"
        yield ("payments", "charge", "entity"), found, one_of(spec.entities)
        return
    if not entity.owned:
        yield (
            ("payments", "charge", "entity"),
            f"{charge.entity}, whose rows nobody owns",
            "an entity with owned: true",
        )
    amounts = {key: field for key, field in entity.fields.items() if isinstance(field, MoneyField)}
    if charge.amount not in amounts:
        yield ("payments", "charge", "amount"), f"{charge.amount}, which is no money field", one_of(amounts)
    else:
        if amounts[charge.amount].currency not in payments.currencies:
            found = f"no {amounts[charge.amount].currency}, the currency of {charge.entity}.{charge.amount}"
            yield ("payments", "currencies"), found, f"{amounts[charge.amount].currency} among them"
        if amounts[charge.amount].total_of is None:
            found = f"{charge.amount}, which the paying client could set itself"
            yield (
                ("payments", "charge", "amount"),
                found,
                "a money field with total_of, which the server computes",
            )
    yield from _payment_states(charge.entity, entity, charge.payable_in, charge.paid)


def _payment_states(name: str, entity: Entity, payable: str, paid: str) -> Iterator[Finding]:
    states = next((field.states for field in entity.fields.values() if isinstance(field, StateField)), [])
    for key, word in (("payable_in", payable), ("paid", paid)):
        if word not in states:
            yield (
                ("payments", "charge", key),
                f"{word}, which is no state of {name}{nearest(word, states)}",
                one_of(states),
            )
    if payable == paid:
        yield ("payments", "charge", "paid"), "the same state as payable_in", "another state"
    if states and states[0] == paid:
        yield (
            ("payments", "charge", "paid"),
            f"{paid}, in which rows begin: unpaid rows would count as paid",
            "a later state",
        )
    for key, action in entity.actions.items():
        if action.to == paid:
            at: Path = ("entities", name, "actions", key, "to")
            yield at, f"{paid}, which only a settled payment may reach", "another state"
