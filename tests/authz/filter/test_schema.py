"""A list holds what is allowed row by row under a schema, too: groups of actions, the row's part of the context, and
questions that the schema does not let be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from redoubt.authz.decide import Decider
from redoubt.authz.filter import (
    EntityTable,
    Filters,
    Known,
    Mapping,
    Reference,
    Untranslatable,
    Value,
    reader,
)
from redoubt.authz.models import AuthzRequest, Entity, user_uid
from redoubt.authz.policyset import PolicySource, parse

SCHEMA = """
entity Role;
entity User in [Role] { tenant: String };
entity Anonymous { tenant: String };
entity Order { tenant: String, owner?: User };
action "look";
action "Order.read" in ["look"] appliesTo { principal: [User], resource: [Order], context: { risk: Long, amount?: Long } };
action "Order.weigh" appliesTo { principal: [User], resource: [Order], context: { risk: Long, amount: Long } };
"""
metadata = sa.MetaData()
orders = sa.Table(
    "s_orders",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("tenant", sa.String),
    sa.Column("owner", sa.String),
    sa.Column("amount", sa.BigInteger),
)
MAPPING = Mapping(
    EntityTable(
        "Order",
        orders.c.id,
        {"tenant": Value(orders.c.tenant, "String"), "owner": Reference(orders.c.owner, "User")},
        closed=True,
    )
)
AMOUNT = {"amount": Value(orders.c.amount, "Long")}
ROWS = [
    {"id": f"{tenant}-{owner}-{amount}", "tenant": tenant, "owner": owner, "amount": amount}
    for tenant in ("main", None)
    for owner in ("me", "you", None)
    for amount in (None, 1, 500)
]


@pytest.fixture
def connection(database_url: str) -> Iterator[sa.Connection]:
    """A connection to a database with the orders."""
    engine = sa.create_engine(sa.make_url(database_url))
    with engine.begin() as conn:
        metadata.create_all(conn)
        conn.execute(orders.insert(), ROWS)
    with engine.connect() as conn:
        yield conn
    engine.dispose()


def both(
    conn: sa.Connection,
    text: str,
    action: str = "Order.read",
    principal: Entity | None = None,
    schema: str = SCHEMA,
    **context: Any,
) -> tuple[set[str], set[str]]:
    """Return what the list holds and what is allowed row by row."""
    policies = parse(PolicySource(schema, {"p.cedar": text}))
    me = principal or Entity("User", "me", {"tenant": "main"})
    context = {"risk": 0, **context}
    found = Filters(policies, MAPPING).of("Order", Known.of(me, action, context), row_context=AMOUNT)
    listed = set(conn.execute(sa.select(orders.c.id).where(found.condition)).scalars())
    decider, allowed = Decider(policies), set()
    for row in ROWS:
        attrs = {"tenant": row["tenant"], "owner": user_uid(row["owner"]) if row["owner"] else None}
        resource = Entity("Order", row["id"], {key: item for key, item in attrs.items() if item is not None})
        extra = {} if row["amount"] is None else {"amount": row["amount"]}
        if decider.decide(AuthzRequest.of(me, action, resource, context | extra)).allowed:
            allowed.add(row["id"])
    return listed, allowed


ALL = '@id("all") permit (principal, action, resource);'
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "a forbid on a group of actions": (
        ALL + '@id("no") forbid (principal, action in Action::"look", resource) when { resource has owner };',
        {},
    ),
    "a permit on a group of actions": ('@id("p") permit (principal, action in Action::"look", resource);', {}),
    "the row's amount": (
        '@id("p") permit (principal, action, resource) when { context has amount && context.amount < 500 };',
        {},
    ),
    "no amount": ('@id("p") permit (principal, action, resource) unless { context has amount };', {}),
    "an amount that the schema requires": (ALL, {"action": "Order.weigh"}),
    "a principal that the action is not for": (
        ALL,
        {"principal": Entity("Anonymous", "anonymous", {"tenant": "main"})},
    ),
    "a principal that is not whole": (ALL, {"principal": Entity("User", "me")}),
    "a context that the schema does not have": (ALL, {"mood": 1}),
    "an action that is not there": (ALL, {"action": "Order.eat"}),
    "an amount beside extension values": (
        '@id("p") permit (principal, action, resource) '
        'when { ip("10.0.0.1").isLoopback() == (context has amount && context.amount > 1) };',
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_list_is_what_is_allowed_row_by_row(connection: sa.Connection, name: str) -> None:
    text, question = CASES[name]
    try:
        listed, allowed = both(connection, text, **question)
    except Untranslatable:
        assert name == "an amount beside extension values"
        return
    assert listed == allowed
    assert name != "the row's amount" or 0 < len(listed) < len(ROWS)
    assert name != "an amount that the schema requires" or 0 < len(listed) < len(ROWS)


def test_every_permit_is_a_part_of_its_own(connection: sa.Connection) -> None:
    text = (
        '@id("own") permit (principal, action, resource) when { resource has owner && resource.owner == principal };'
        '@id("low") permit (principal, action, resource) when { context has amount && context.amount == 1 };'
        '@id("no") forbid (principal, action, resource) when { context has amount && context.amount == 500 };'
    )
    listed, allowed = both(connection, text)
    assert listed == allowed
    policies = parse(PolicySource(SCHEMA, {"p.cedar": text}))
    known = Known.of(Entity("User", "me", {"tenant": "main"}), "Order.read", {"risk": 0})
    parts = Filters(policies, MAPPING).of("Order", known, row_context=AMOUNT).parts
    assert len(parts) == 2
    union = sa.union(*(sa.select(orders.c.id).where(part) for part in parts))
    assert set(connection.execute(union).scalars()) == allowed


FAULTS: dict[str, tuple[str, Callable[..., Any], str]] = {
    "whether it can be asked is not looked at": ("askable", lambda *_: True, "an amount that the schema requires"),
    "the schema's groups are not read": ("read_schema", lambda _: read_without_groups(), "a forbid on a group of actions"),
}  # fmt: skip


def read_without_groups() -> Any:
    """Return the schema with its actions in no group."""
    from redoubt.authz.schema import read_schema

    return read_schema(SCHEMA.replace(' in ["look"]', ""))


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_shows(connection: sa.Connection, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    attribute, fault, case = FAULTS[name]
    monkeypatch.setattr(reader, attribute, fault)
    text, question = CASES[case]
    listed, allowed = both(connection, text, **question)
    assert listed > allowed
