"""The indexes that an app's lists want, from its own policies: emitted with its tables."""

from __future__ import annotations

import sqlalchemy as sa

from redoubt.authz.access import USER_TYPE
from redoubt.authz.filter import EntityTable, Filters, Mapping, Reference, Value, proposed, served, ways
from redoubt.authz.policyset import PolicySource, parse
from redoubt.authz.rules import AccessModel, compile_policies, compile_schema

from .spec.fields import MoneyField, StateField
from .spec.model import Entity, Spec

_OWNERS = ("tenant", "owner_id", "id")


def list_indexes(spec: Spec, model: AccessModel) -> dict[str, list[tuple[str, ...]]]:
    """Return the columns of each index, by entity, beside the primary key and the index of owners."""
    policies = parse(PolicySource(compile_schema(model), compile_policies(model)))
    filters = Filters(policies, Mapping(*(_table(name, entity) for name, entity in spec.entities.items())))
    found: dict[str, list[tuple[str, ...]]] = {}
    for name, entity in spec.entities.items():
        have = [_OWNERS] if entity.owned else []
        amount = _amount(name, entity, filters)
        wanted = proposed(ways(filters, name, f"{name}.read", amount)).get(name, [])
        found[name] = [columns for columns in wanted if not served(columns, have)]
    return found


def _table(name: str, entity: Entity) -> EntityTable:
    """Return the columns that policies read of an entity: those of `EntityType.mapped` in the runtime."""
    table = sa.Table(
        name, sa.MetaData(), sa.Column("id", sa.Text), sa.Column("tenant", sa.Text, nullable=False)
    )
    attributes: dict[str, Value | Reference] = {"tenant": Value(table.c.tenant, "String")}
    if entity.owned:
        table.append_column(sa.Column("owner_id", sa.Text, nullable=False))
        attributes["owner"] = Reference(table.c.owner_id, USER_TYPE)
    for key, declared in entity.fields.items():
        if isinstance(declared, StateField):
            table.append_column(sa.Column(key, sa.Text, nullable=False))
            attributes["state"] = Value(table.c[key], "String")
        elif isinstance(declared, MoneyField):
            table.append_column(sa.Column(key, sa.BigInteger, nullable=not declared.required))
    return EntityTable(name, table.c.id, attributes, closed=True)


def _amount(name: str, entity: Entity, filters: Filters) -> dict[str, Value]:
    money = [key for key, declared in entity.fields.items() if isinstance(declared, MoneyField)]
    table = filters.mapping.table(name).id.table
    return {"amount": Value(table.c[money[0]], "Long")} if len(money) == 1 else {}
