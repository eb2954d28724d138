"""The list of payments: those that the running policies show the caller, by one query over the library's own table."""

from __future__ import annotations

from starlette.requests import Request

from redoubt.authz import Entity, user_uid
from redoubt.authz.access import USER_TYPE
from redoubt.authz.filter import EntityTable, KeptFilters, Mapping, Reference, Value
from redoubt.core.problem import Problem
from redoubt.payments import Payment
from redoubt.payments.store import payments

from . import entity_store, lists
from .entities import Row
from .fields import FieldError, parse_id
from .request import GuardedRequest

TYPE = "Payment"
PAGE = 50

MAPPED = EntityTable(
    TYPE,
    payments.c.id,
    {"tenant": Value(payments.c.tenant, "String"), "owner": Reference(payments.c.customer_id, USER_TYPE)},
    closed=True,
    alone=True,
)
"""In which columns a query finds what `entity` shows policies of a payment."""

FILTERS = KeptFilters(Mapping(MAPPED))


def entity(payment: Payment) -> Entity:
    """Return a payment as policies see it."""
    return Entity(TYPE, payment.id, {"tenant": payment.tenant, "owner": user_uid(payment.customer_id)})


async def page(request: Request, post_filter: bool) -> tuple[list[Payment], str | None]:
    """Return a page of the newest payments that the caller may read, of one order where one is named, and where to go on.

    `before` in the address is only a place in the order of ids: whichever it is, the query holds the policies and the
    tenant. Raises Problem 422 for an address that names no place, and 500 where a policy cannot be said in SQL and
    `post_filter` does not let payments be decided about one by one.
    """
    g = GuardedRequest.of(request)
    order, before = _asked(g, request)
    only = [] if order is None else [payments.c.order_id == order]
    shown = await lists.condition(g, TYPE, "read", FILTERS.of, post_filter=post_filter)

    async def fetch(after: str | None, limit: int) -> list[Row]:
        return await g.read(lambda tx: entity_store.page(tx, payments, g.tenant, after, limit, shown, *only))

    def may(row: Row) -> bool:
        return g.allows(f"{TYPE}.read", entity(Payment(**row)))

    found, after = await lists.Pages(g, TYPE, shown, fetch, may).page(PAGE, before)
    return [Payment(**row) for row in found], after


def _asked(g: GuardedRequest, request: Request) -> tuple[str | None, str | None]:
    """Return the order and the place that the address names; raises Problem 422 for what is neither."""
    order = request.query_params.get("order")
    try:
        before = lists.place(g, TYPE, request.query_params.get("before"))
        return parse_id(order) if order else None, before
    except FieldError:
        raise Problem(422, "invalid", "The page cannot be found.") from None
