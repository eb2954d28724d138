"""What the templates are filled with: the spec, said the way the emitted code says it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from redoubt.authz.filter import index_name
from redoubt.authz.rules import AccessModel

from .grants import entity_writes
from .spec.check_around import events_of
from .spec.fields import AnyField, EnumField, LinesField, MoneyField, RefField, StateField, TextField
from .spec.model import Entity, Spec
from .spec.names import OPERATOR, human, plural, snake
from .spec.parts import Custom, Forward, PaymentEvents, Record
from .spec.prices import prices_of

_CLASSES = {
    "text": "Text", "email": "Email", "url": "Url", "integer": "Integer", "boolean": "Boolean", "enum": "Enum",
    "date": "Date", "money": "Money", "ref": "Ref", "lines": "Lines", "state": "State",
}  # fmt: skip


def py(value: Any) -> str:
    """Write a value as Python source, text in double quotes, as formatters do."""
    if isinstance(value, str):
        quote = "'" if value.count('"') > value.count("'") else '"'
        return quote + "".join(_escaped(char, quote) for char in value) + quote
    if isinstance(value, tuple | list):
        inner = ", ".join(py(item) for item in value)
        if isinstance(value, list):
            return f"[{inner}]"
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value)


def _escaped(char: str, quote: str) -> str:
    if char in (quote, "\\"):
        return "\\" + char
    return char if char in "'\"" else repr(char)[1:-1]


def py_set(values: Any) -> str:
    """Write values as a set in a fixed order."""
    return "{" + ", ".join(py(value) for value in sorted(values)) + "}" if values else "()"


def ordered(spec: Spec) -> list[str]:
    """Return the entities in the order in which their tables can be made: what is referred to first."""
    done: list[str] = []
    left = list(spec.entities)
    while left:
        for name in left:
            needs = {field.to for field in spec.entities[name].fields.values() if isinstance(field, RefField)}
            if needs <= {*done, name}:
                done.append(name)
                left.remove(name)
                break
    return done


def field_view(name: str, field: AnyField, *, price: bool = False) -> dict[str, Any]:
    """Return what templates say of one field; `price` says that changes of it wait for a second person."""
    title = field.title or human(name)
    arguments: list[str] = []
    defaults = {key: info.default for key, info in type(field).model_fields.items()}
    for key, value in field:
        if key in ("type", "title") or value == defaults[key]:
            continue
        arguments.append(f"{key}={py(tuple(value) if isinstance(value, list) else value)}")
    if isinstance(field, LinesField):
        arguments.append(f"key={py(snake(field.of))}")
    if price:
        arguments.append("price=True")
    if field.title is not None:
        arguments.append(f"title={py(field.title)}")
    return {
        "name": name,
        "kind": field.type,
        "title": title,
        "call": f"{_CLASSES[field.type]}({', '.join(arguments)})",
        "class": _CLASSES[field.type],
        "immutable": field.immutable,
        "server_set": is_server_set(field),
        "price": price,
    }


def is_server_set(field: AnyField) -> bool:
    """Whether clients never set the field."""
    return isinstance(field, StateField) or (isinstance(field, MoneyField) and field.total_of is not None)


def entity_view(
    spec: Spec, model: AccessModel, name: str, indexes: Sequence[tuple[str, ...]] = ()
) -> dict[str, Any]:
    """Return what templates say of one entity; `indexes` are those that its lists want."""
    entity = spec.entities[name]
    prices = prices_of(spec).get(name, [])
    fields = [field_view(key, field, price=key in prices) for key, field in entity.fields.items()]
    state = next((key for key, field in entity.fields.items() if isinstance(field, StateField)), None)
    payments = spec.payments
    pay = payments.charge if payments is not None and payments.charge.entity == name else None
    wanted = {event for target in spec.webhooks.outgoing.values() for event in target.events}
    moves = [
        {"name": key, "from_": tuple(move.from_), "to": move.to, "title": move.title or human(key)}
        for key, move in entity.actions.items()
    ]
    verbs = ["read", "update", "delete", "pay", *entity.actions]
    bounded = {
        action.name for action in model.actions if any(allow.amount_max is not None for allow in action.allow)
    }
    return {
        "name": name,
        "const": snake(name).upper(),
        "plural": plural(name, entity),
        "word": snake(name),
        "title": entity.title or human(plural(name, entity)),
        "label": entity.label,
        "owned": entity.owned,
        "fields": fields,
        "inputs": [field for field in fields if not field["server_set"]],
        "columns": _columns(entity, fields),
        "state": state,
        "moves": moves,
        "pay": pay,
        "post_filter": entity.post_filter,
        "events": tuple(event for event in events_of(name, entity) if event in wanted),
        "pages": name in spec.pages.entities,
        "prices": prices,
        "choices": sorted({_target(field) for field in entity.fields.values() if _target(field)}),
        "indexes": indexes,
        "writes": entity_writes(spec, name),
        "context": {verb: ", context=rows.amount" if f"{name}.{verb}" in bounded else "" for verb in verbs},
    }


def _columns(entity: Entity, fields: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the fields of the list page: the label first, then short ones, five at most."""
    short = [
        view
        for view, field in zip(fields, entity.fields.values(), strict=True)
        if not (isinstance(field, TextField) and (field.multiline or field.max > 200))
        and not isinstance(field, RefField)
    ]
    short.sort(key=lambda view: view["name"] != entity.label)
    return (short or fields)[:5]


def _target(field: AnyField) -> str:
    if isinstance(field, RefField):
        return field.to
    return field.of if isinstance(field, LinesField) else ""


def migration_view(spec: Spec, wanted: Mapping[str, Sequence[tuple[str, ...]]]) -> dict[str, Any]:
    """Return the tables of the app as Alembic writes them, and a revision that changes with them.

    `wanted` are the indexes that lists want, by entity.
    """
    tables, prices = [], []
    priced = prices_of(spec)
    for name in ordered(spec):
        entity = spec.entities[name]
        table = f"app_{plural(name, entity)}"
        columns = [
            'sa.Column("id", sa.Text, primary_key=True)',
            'sa.Column("tenant", sa.Text, nullable=False, server_default="main")',
            'sa.Column("version", sa.BigInteger, nullable=False)',
            'sa.Column("created_at", sa.BigInteger, nullable=False)',
            'sa.Column("updated_at", sa.BigInteger, nullable=False)',
        ]
        if entity.owned:
            columns.append('sa.Column("owner_id", sa.Text, nullable=False)')
        columns += [_column(spec, key, field) for key, field in entity.fields.items()]
        columns += [
            f'sa.UniqueConstraint("tenant", {py(key)}, name={py(f"{table}_{key}_once")})'
            for key, field in entity.fields.items()
            if field.unique
        ]
        columns += _checks(table, entity)
        indexes = (
            [{"name": f"{table}_owner", "columns": ["tenant", "owner_id", "id"]}] if entity.owned else []
        ) + [
            {"name": index_name(table, columns), "columns": list(columns)} for columns in wanted.get(name, ())
        ]
        tables.append({"name": table, "columns": columns, "indexes": indexes})
        prices += [(table, name, key) for key in priced.get(name, [])]
    digest = hashlib.sha256(repr((tables, prices) if prices else tables).encode()).hexdigest()[:8]
    return {"tables": tables, "revision": f"app_0001_{digest}", "prices": prices}


def _column(spec: Spec, key: str, field: AnyField) -> str:
    kinds = {"integer": "sa.BigInteger", "money": "sa.BigInteger", "boolean": "sa.Boolean"}
    parts = [py(key), kinds.get(field.type, "sa.Text")]
    if isinstance(field, RefField):
        parts.append(
            f'sa.ForeignKey("app_{plural(field.to, spec.entities[field.to])}.id", name={py(f"{key}_exists")})'
        )
    parts.append(f"nullable={not (field.required or field.type in ('state', 'boolean'))}")
    return f"sa.Column({', '.join(parts)})"


def _checks(table: str, entity: Entity) -> list[str]:
    """Return the constraints that hold even when code does not: states and words that are declared, amounts in bounds."""
    found = []
    for key, field in entity.fields.items():
        if isinstance(field, StateField | EnumField):
            words = field.states if isinstance(field, StateField) else field.values
            listed = ", ".join(f"'{word}'" for word in words)
            rule = f'"{key}" IN ({listed})'
            found.append(f"sa.CheckConstraint({py(rule)}, name={py(f'{table}_{key}_known')})")
        elif isinstance(field, MoneyField):
            rule = f'"{key}" >= {field.min} AND "{key}" <= {field.max}'
            found.append(f"sa.CheckConstraint({py(rule)}, name={py(f'{table}_{key}_bounds')})")
    return found


def webhook_views(spec: Spec) -> Mapping[str, Any]:
    """Return what templates say of webhooks, in and out."""
    incoming, imports, custom = [], set(), []
    records = False
    for name, hook in spec.webhooks.incoming.items():
        handler = hook.handler
        if isinstance(handler, PaymentEvents):
            continue  # the runtime hands the provider's events to the charge service
        if isinstance(handler, Record):
            imports.add("record_row")
            records = True
            paths = "{" + ", ".join(f"{py(key)}: {py(path)}" for key, path in handler.fields.items()) + "}"
            call = f"record_row(core, ENTITIES, {py(handler.entity)}, {paths})"
        elif isinstance(handler, Forward):
            imports.add("forward")
            call = f"forward(core, {py(f'webhook.{name}')})"
        else:
            call = f"handlers.{handler.function}"
            custom.append(handler.function)
        incoming.append(
            {
                "name": name,
                "scheme": hook.scheme,
                "tolerance": hook.tolerance,
                "dedupe_days": hook.dedupe_days,
                "retention": spec.retention.webhook_payload_days,
                "handler": call,
            }
        )
    outgoing = [{"name": name, "events": tuple(out.events)} for name, out in spec.webhooks.outgoing.items()]
    return {
        "incoming": incoming,
        "outgoing": outgoing,
        "handler_imports": sorted(imports),
        "custom": sorted(set(custom)),
        "records": records,
    }


def payment_webhook(spec: Spec) -> str | None:
    """Return the name of the incoming webhook that takes the provider's events."""
    hooks = spec.webhooks.incoming.items()
    return next((name for name, hook in hooks if isinstance(hook.handler, PaymentEvents)), None)


def staff_roles(spec: Spec) -> list[str]:
    """Return the roles that sign in by passkey only: all that people are enrolled for rather than sign up to.

    Each of them came with a passkey, and sees or does what is not their own: a mailbox is not enough for that.
    """
    return sorted({OPERATOR} | {name for name, role in spec.roles.items() if not role.sign_up})


def magic_links(spec: Spec) -> bool:
    """Say whether anybody may sign in by a mailed link: the spec offers it, and somebody is no staff."""
    return "magic_link" in spec.login.methods and any(role.sign_up for role in spec.roles.values())


def roles_with(spec: Spec, action: str) -> list[str]:
    """Return the roles that the spec gives `action`, in order."""
    return sorted({role for rule in spec.permissions if action in rule.actions for role in rule.roles})


def custom_functions(spec: Spec) -> list[str]:
    """Return the functions of app/handlers.py that the spec names."""
    hooks = spec.webhooks.incoming.values()
    return sorted({hook.handler.function for hook in hooks if isinstance(hook.handler, Custom)})
