"""The JSON API of one entity: list, create, read, update, delete and its moves.

Permissions are decided before a handler runs; here every write is one transaction with its audit event, bound to
the version of the row that was judged, and a list asks the database for no row that the policies do not show.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import define, field, frozen
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from redoubt.audit import record
from redoubt.authz import Entity as Resource
from redoubt.authz import collection_entity
from redoubt.core.base import Core
from redoubt.core.db import Tx
from redoubt.core.problem import Problem
from redoubt.payments.prices import PriceProposal, PriceVersion
from redoubt.webhooks.outbox import emit

from . import entity_store as store
from . import lists
from .entities import Entities, EntityType, Row
from .fields import FieldError, parse_id
from .lists import MOST
from .pricing import part_reasons, take_prices
from .request import GuardedRequest

PAGE = 50


@frozen
class Changed:
    """What became of a change: the row as it is now, and the prices of it that wait for a second person."""

    row: Row
    waiting: tuple[PriceProposal, ...] = ()


@define(eq=False)
class Crud:
    """What an app's module of one entity calls; holds no request's state."""

    entities: Entities
    name: str
    hold: Callable[[Tx, Row], None] | None = None
    """Raises where a row must stay as it is for now; asked in the transaction of each change."""
    kind: EntityType = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.kind = self.entities[self.name]

    # What permissions are decided about.

    async def load(self, request: Request) -> Resource | None:
        """Return the row of the path as a resource; None when there is none."""
        row = await self._find(request, request.path_params.get("id"))
        if row is None:
            return None
        request.scope["redoubt.row"] = row
        return self.kind.resource(row)

    async def amount(self, request: Request) -> Mapping[str, Any]:
        """Return the judged row's amount as context, for rules with a bound."""
        amount = self.kind.amount(self.row(request))
        return {} if amount is None else {"amount": amount}

    async def collection(self, request: Request) -> Resource:
        """Return the list of all rows as a resource."""
        return collection_entity(self.name, GuardedRequest.of(request).tenant)

    async def to_be(self, request: Request) -> Resource:
        """Return the row that a create would make as a resource: it belongs to the caller."""
        g = GuardedRequest.of(request)
        return self.kind.to_be(g.tenant, g.user_id)

    # The API.

    async def index(self, request: Request) -> Response:
        """Answer a page of the rows that the caller may read, newest first."""
        rows, after = await self.rows(request)
        return JSONResponse({"items": [self.kind.to_json(row) for row in rows], "next": after})

    async def create(self, request: Request) -> Response:
        """Answer 201 with the new row."""
        row = await self.make(request, json_body(request))
        location = f"/api/{self.kind.plural}/{row['id']}"
        return JSONResponse(self.kind.to_json(row), 201, headers={"Location": location})

    async def read(self, request: Request) -> Response:
        """Answer the row."""
        return JSONResponse(self.kind.to_json(self.row(request)))

    async def update(self, request: Request) -> Response:
        """Answer the row with what was sent changed in it; 202 where a price of it waits for a second person."""
        changed = await self.change(request, json_body(request))
        row = self.kind.to_json(changed.row)
        if not changed.waiting:
            return JSONResponse(row)
        body = {"row": row, "waiting": [one.public() for one in changed.waiting]}
        location = f"/api/{self.kind.plural}/{row['id']}/prices"
        return JSONResponse(body, 202, headers={"Location": location})

    async def prices(self, request: Request) -> Response:
        """Answer the versions of the row's prices, newest first, and the changes that wait."""
        versions, waiting = await self.priced(request)
        body = {"items": [one.public() for one in versions], "waiting": [one.public() for one in waiting]}
        return JSONResponse(body)

    async def delete(self, request: Request) -> Response:
        """Remove the row; answer 204."""
        await self.remove(request)
        return Response(status_code=204)

    async def move(self, request: Request, action: str) -> Response:
        """Answer the row in the state that `action` moves it to."""
        return JSONResponse(self.kind.to_json(await self.moved(request, action)))

    # What API and pages share.

    def row(self, request: Request) -> Row:
        """Return the row that the permission was decided about."""
        row: Row = request.scope["redoubt.row"]
        return row

    async def rows(self, request: Request) -> tuple[list[Row], str | None]:
        """Return a page of readable rows and the id to continue after; raises Problem 422 for a bad query."""
        g = GuardedRequest.of(request)
        limit, after = _paging(request, self.name)
        return await self._page(g, limit, after)

    async def readable(self, request: Request, most: int) -> list[Row]:
        """Return up to `most` of the newest rows that the caller may read, to choose from."""
        rows, _ = await self._page(GuardedRequest.of(request), most, None)
        return rows

    async def one(self, request: Request, row_id: str) -> Row | None:
        """Return a row where the caller may read it."""
        row = await self._find(request, row_id)
        return row if row is not None and self._may(GuardedRequest.of(request), "read", row) else None

    async def make(self, request: Request, sent: Any) -> Row:
        """Store a new row from what a client sent, with its audit event."""
        g = GuardedRequest.of(request)
        values = self.kind.parse(sent)
        if self.kind.state_field is not None:
            values[self.kind.state_field] = self.kind.states[0]

        def write(tx: Tx) -> Row:
            whole = store.complete(tx, g.core, self.entities, self.name, values, g.tenant, self._may_refer(g))
            row = store.insert(
                tx, g.core, self.entities, self.name, whole, g.tenant, g.user_id, by=g.actor, request_id=g.request_id
            )  # fmt: skip
            record(
                tx,
                g.core,
                g.event(f"{self.kind.word}.create", (self.name, row["id"]), {"fields": sorted(values)}),
            )
            self.announce(tx, g.core, row, "created")
            return row

        return await g.write(write)

    async def change(self, request: Request, sent: Any) -> Changed:
        """Change the judged row by what a client sent, with its audit event.

        A new price does not count: it is replayed over recorded orders, and what that shows waits for a second person.
        All else that was sent is changed at once, in the transaction that asks for the price; or nothing is.
        """
        g, row = GuardedRequest.of(request), self.row(request)
        sent, reasons = part_reasons(self.kind, sent)
        values = self.kind.parse(sent, row)
        wanted = take_prices(self.kind, row, values, reasons)
        if not values and not wanted:
            return Changed(row)
        pricing = g.guard.services.priced() if wanted else None
        evidence = await pricing.rehearse(wanted) if pricing is not None else {}
        table = self.entities.table(self.name)

        def write(tx: Tx) -> Changed:
            self._held(tx, row)
            new = store.find(tx, table, row["id"], g.tenant) if not values else row
            if new is None or new["version"] != row["version"]:
                raise store.moved()
            if values:
                whole = store.complete(
                    tx, g.core, self.entities, self.name, values, g.tenant, self._may_refer(g)
                )
                new = store.update(tx, g.core, table, row, whole)
                record(
                    tx,
                    g.core,
                    g.event(f"{self.kind.word}.update", (self.name, row["id"]), {"fields": sorted(values)}),
                )
                self.announce(tx, g.core, new, "updated")
            if pricing is None:
                return Changed(new)
            waiting = pricing.propose(
                tx, g.guard.services.approvals, evidence, reasons, author=g.user_id or "", request_id=g.request_id
            )  # fmt: skip
            return Changed(new, tuple(waiting))

        return await g.write(write)

    async def priced(self, request: Request) -> tuple[list[PriceVersion], list[PriceProposal]]:
        """Return the newest versions of the judged row's prices, and the changes that wait."""
        g, row = GuardedRequest.of(request), self.row(request)
        pricing = g.guard.services.priced()
        return await g.read(lambda tx: pricing.told(tx, g.tenant, self.name, row["id"]))

    async def remove(self, request: Request) -> None:
        """Remove the judged row, with its audit event."""
        g, row = GuardedRequest.of(request), self.row(request)
        table = self.entities.table(self.name)

        def write(tx: Tx) -> None:
            self._held(tx, row)
            store.delete(tx, table, row)
            record(tx, g.core, g.event(f"{self.kind.word}.delete", (self.name, row["id"])))
            self.announce(tx, g.core, row, "deleted")

        await g.write(write)

    async def moved(self, request: Request, action: str) -> Row:
        """Move the judged row by `action`; raises Problem 409 when its state does not allow that."""
        g, row = GuardedRequest.of(request), self.row(request)
        move = self.kind.moves[action]
        key = self.kind.state_field or ""
        if row[key] not in move.from_:
            raise Problem(409, "state", "Its state does not allow this.", extra={"state": row[key]})
        event = g.event(f"{self.kind.word}.{action}", (self.name, row["id"]))

        def write(tx: Tx) -> Row:
            self._held(tx, row)
            return self.set_state(tx, g.core, row, move.to, event)

        return await g.write(write)

    def set_state(self, tx: Tx, core: Core, row: Row, to: str, event: Any) -> Row:
        """Put a row into a state inside `tx`, with `event` in the audit log and word to the partners."""
        key = self.kind.state_field or ""
        new = store.update(tx, core, self.entities.table(self.name), row, {key: to})
        record(tx, core, event)
        self.announce(tx, core, new, to)
        return new

    def announce(self, tx: Tx, core: Core, row: Row, what: str) -> None:
        """Hand the event to the outgoing webhooks, in the effect's transaction, where one wants it."""
        event = f"{self.kind.word}.{what}"
        if event in self.kind.events:
            emit(tx, core, event, self.kind.to_event(row), tenant=row["tenant"])

    def permitted(self, request: Request, verbs: Iterable[str], row: Row | None = None) -> frozenset[str]:
        """Return those of `verbs` that the caller may do on a row, or on the list and on a row to be: for buttons.

        One look at the running policies answers for all of them, unaudited; what is pressed is decided about then.
        """
        g = GuardedRequest.of(request)
        if row is not None:
            return self._permitted(g, verbs, self.kind.resource(row), row)
        found = {"create"} & set(verbs)
        to_be = self._permitted(g, found, self.kind.to_be(g.tenant, g.user_id))
        rest = [verb for verb in verbs if verb not in found]
        return to_be | self._permitted(g, rest, collection_entity(self.name, g.tenant))

    def _permitted(
        self, g: GuardedRequest, verbs: Iterable[str], resource: Resource, row: Row | None = None
    ) -> frozenset[str]:
        amount = self.kind.amount(row) if row is not None else None
        context = {} if amount is None else {"amount": amount}
        actions = {f"{self.name}.{verb}": verb for verb in verbs}
        return frozenset(actions[action] for action in g.permitted(list(actions), resource, context))

    def _held(self, tx: Tx, row: Row) -> None:
        if self.hold is not None:
            self.hold(tx, row)

    async def _page(self, g: GuardedRequest, limit: int, after: str | None) -> tuple[list[Row], str | None]:
        """Return up to `limit` readable rows older than `after`, and where to continue."""
        table, shown = self.entities.table(self.name), await lists.readable(g, self.entities, self.name)

        async def fetch(after: str | None, limit: int) -> list[Row]:
            return await g.read(lambda tx: store.page(tx, table, g.tenant, after, limit, shown))

        pages = lists.Pages(g, self.name, shown, fetch, lambda row: self._may(g, "read", row))
        return await pages.page(limit, after)

    async def _find(self, request: Request, row_id: Any) -> Row | None:
        g = GuardedRequest.of(request)
        table = self.entities.table(self.name)
        try:
            wanted = parse_id(row_id)
        except FieldError:
            return None
        return await g.read(lambda tx: store.find(tx, table, wanted, g.tenant))

    def _may(self, g: GuardedRequest, verb: str, row: Row) -> bool:
        amount = self.kind.amount(row)
        context = {} if amount is None else {"amount": amount}
        return allows(g, f"{self.name}.{verb}", self.kind.resource(row), context)

    def _may_refer(self, g: GuardedRequest) -> Callable[[str, Row], bool]:
        return lambda name, row: allows(g, f"{name}.read", self.entities[name].resource(row))


def allows(
    g: GuardedRequest, action: str, resource: Resource, context: Mapping[str, Any] | None = None
) -> bool:
    """Decide about one row of many, or about a button: by the running policies, not audited row by row."""
    return g.guard.allows(g, action, resource, context or {})


def json_body(request: Request) -> Any:
    """Return the request's JSON; raises Problem 415 or 400."""
    g = GuardedRequest.of(request)
    if g.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise Problem(415, "media-type", "Send application/json.")
    try:
        return json.loads(g.body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Problem(400, "json", "The body is not JSON that can be read.") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key twice")
    return result


def _no_constant(_name: str) -> Any:
    raise ValueError("not JSON")


def _paging(request: Request, name: str) -> tuple[int, str | None]:
    limit = request.query_params.get("limit", str(PAGE))
    after = request.query_params.get("after")
    try:
        if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:4]) <= MOST or len(limit) > 3:
            raise FieldError(f"limit is a whole number from 1 to {MOST}")
        return int(limit), lists.place(GuardedRequest.of(request), name, after)
    except FieldError as error:
        raise Problem(422, "invalid", "The page cannot be found.", detail=str(error)) from None
