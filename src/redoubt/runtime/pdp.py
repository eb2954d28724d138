"""The app's own decision point: services with a credential ask its policies over AuthZEN, about its own rows and people.

Mounted only where `[pdp.callers]` names somebody. Who asks is known by a bearer token of which only the hash is kept; a
token that is missing or short stops the app at start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa
from attrs import frozen
from starlette.routing import Route

from redoubt.authz import Entity, collection_entity
from redoubt.authz.access import ANONYMOUS_TYPE, APP_TYPE, COLLECTION_TYPE, USER_TYPE
from redoubt.authz.models import Caller, app_entity
from redoubt.authz.pdp import BearerCallers, Pep, PolicyDecisionPoint, pdp_routes
from redoubt.authz.pdp.callers import token_hash
from redoubt.authz.pdp.paging import Cursor
from redoubt.authz.pdp.sources import Party
from redoubt.authz.permits import ATTRIBUTE, Permission
from redoubt.authz.schema import read_schema
from redoubt.core.db import Tx
from redoubt.identity.store import user_by_id, users

from . import entity_store
from .errors import BadCallers
from .fields import FieldError, parse_id

if TYPE_CHECKING:
    from .services import Services


def routes(services: Services) -> list[Route]:
    """Return the decision point's routes; none where nobody may ask. Raises BadCallers for a credential that is none."""
    settings = services.core.settings
    peps = []
    for name, reference in sorted(settings.pdp.callers.items()):
        pep = Pep(name, may_search=name in settings.pdp.search, explain=name in settings.pdp.explain)
        try:
            peps.append((pep, token_hash(settings.reveal(reference).reveal())))
        except ValueError as error:
            raise BadCallers(f"the token of the caller {name} cannot be used: {error}.", hint=_HINT) from None
    unknown = {*settings.pdp.search, *settings.pdp.explain} - settings.pdp.callers.keys()
    if unknown:
        raise BadCallers(f"[pdp] names {', '.join(sorted(unknown))}, which is no caller.", hint=_HINT)
    if not peps:
        return []
    try:
        callers = BearerCallers(peps)
        found = pdp_routes(decision_point(services), settings.app.base_url, callers, services.limiter)
    except ValueError as error:
        raise BadCallers(f"the decision point cannot be offered: {error}.", hint=_HINT) from None
    for route in found:
        setattr(
            route, ATTRIBUTE, Permission("public")
        )  # who asks is known by the endpoint itself, or refused
    return found


_HINT = (
    'Write under [pdp.callers]: NAME = "env:TOKEN", a reference to a random text of 32 characters or more.'
)


def decision_point(services: Services) -> PolicyDecisionPoint:
    """Return what answers: by the policies as they run now, each answer recorded before it is given."""
    source = AppSource(services)
    cursor = Cursor(services.core.keys.mac("authzen-page"))
    return PolicyDecisionPoint(services.head.current, source, services.noise.record, cursor)


@frozen(eq=False)
class AppSource:
    """What the app's own tables know: people with their roles, rows as policies see them. A caller's claims are none."""

    services: Services

    async def load(self, tenant: str, party: Party) -> Sequence[Entity]:
        """Return the entity that `party` names; nothing when there is none, or when a person is disabled."""
        if party.type == ANONYMOUS_TYPE:
            return (Caller(tenant=tenant).principal(),) if party.id == "anonymous" else ()
        if party.type == APP_TYPE:
            return (app_entity(tenant),) if party.id == "app" else ()
        if party.type == COLLECTION_TYPE:
            return (collection_entity(party.id, tenant),) if self._table(party.id) is not None else ()
        if party.type == USER_TYPE:
            return await self.services.core.db.read(lambda tx: self._person(tx, tenant, party.id))
        return await self.services.core.db.read(lambda tx: self._row(tx, tenant, party))

    async def page(self, tenant: str, kind: str, after: str, limit: int) -> Sequence[str]:
        """Return the next ids of people or of rows, by code point."""
        table = users if kind == USER_TYPE else self._table(kind)
        if table is None:
            return ()
        more = [users.c.disabled_at.is_(None)] if table is users else []
        dialect = self.services.core.db.dialect
        order = sa.collate(table.c.id, "C") if dialect == "postgresql" else table.c.id
        query = sa.select(table.c.id).where(table.c.tenant == tenant, *more)
        if after:
            query = query.where(order > after)
        return await self.services.core.db.read(
            lambda tx: list(tx.execute(query.order_by(order).limit(limit)).scalars())
        )

    async def actions(self, tenant: str, resource_type: str) -> Sequence[str]:
        """Return the actions that the running policies' schema has for a type."""
        policies = self.services.head.policies(tenant)
        if policies is None:
            return ()
        declared = read_schema(policies.schema_text).actions
        return sorted(uid.id for uid, action in declared.items() if resource_type in action.resources)

    def _table(self, name: str) -> sa.Table | None:
        entities = self.services.plan.entities
        if entities is None or all(kind.name != name for kind in entities.types):
            return None
        return entities.table(name)

    def _person(self, tx: Tx, tenant: str, user_id: str) -> Sequence[Entity]:
        row = user_by_id(tx, user_id)
        if row is None or row.tenant != tenant or row.disabled_at is not None:
            return ()
        roles = self.services.roles.roles(tx, tenant, user_id)
        return (Caller(user_id=user_id, tenant=tenant, roles=roles).principal(),)

    def _row(self, tx: Tx, tenant: str, party: Party) -> Sequence[Entity]:
        table, entities = self._table(party.type), self.services.plan.entities
        try:
            wanted = parse_id(party.id)
        except FieldError:
            return ()
        row = entity_store.find(tx, table, wanted, tenant) if table is not None else None
        return () if row is None or entities is None else (entities[party.type].resource(row),)
