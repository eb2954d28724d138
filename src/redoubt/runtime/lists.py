"""What a list may show: the running policies as one condition over the rows, put into the query itself.

A list is enforced, not decoration: the condition is that of the policies as they run when it is asked for.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Awaitable, Callable
from collections.abc import Mapping as Values

import sqlalchemy as sa
from attrs import frozen

from redoubt.authz.decide import Decider
from redoubt.authz.filter import Attribute, Filters, Known, ListFilter, Untranslatable
from redoubt.authz.policyset import PolicySet
from redoubt.core.keys import SealBroken
from redoubt.core.problem import Problem

from .entities import Entities, Row
from .fields import FieldError, parse_id
from .request import GuardedRequest

log = logging.getLogger("redoubt.runtime")

MOST = 100
"""The most rows of a page, and of a batch that is decided about one by one."""
_SCANNED = 1000  # rows decided about one by one for one page, where that is asked for by name
_SEALED, _PURPOSE, _LONGEST = "s.", "list-place", 300


async def readable(g: GuardedRequest, entities: Entities, name: str, verb: str = "read") -> ListFilter:
    """Return the condition on the rows of the entity `name` on which the caller may do `verb`, as `condition` does."""
    kind = entities[name]
    columns = kind.row_context(entities.table(name))
    return await condition(g, name, verb, entities.filters, row_context=columns, post_filter=kind.post_filter)


async def condition(
    g: GuardedRequest,
    name: str,
    verb: str,
    filters: Callable[[PolicySet], Filters],
    *,
    row_context: Values[str, Attribute] | None = None,
    post_filter: bool = False,
) -> ListFilter:
    """Return the condition on the rows of the type `name` on which the caller may do `verb`, by the running policies.

    `filters` reads a policy set over the tables of these rows. Raises Problem 500 where a policy cannot be said in SQL
    and it is not asked for by name (`post_filter`) that rows be decided about one by one: the log names the policy.
    """
    caller = g.authz
    decider = await g.guard.services.head.current(g.tenant)
    if not isinstance(decider, Decider):
        log.error("the list of %s shows nothing: %s", name, decider.why)
        return ListFilter(sa.false())
    known = Known.of(caller.principal(), f"{name}.{verb}", {"risk": caller.risk, "step_up": caller.step_up})
    try:
        return filters(decider.policies).of(name, known, row_context=row_context, post_filter=post_filter)
    except Untranslatable as error:
        log.error("the list of %s cannot be asked for: %s", name, error)
        raise Problem(500, "list", "This list cannot be shown.") from error


@frozen
class Pages:
    """The rows of one list of `name` that the caller asks for, newest first.

    `fetch(after, limit)` returns up to `limit` rows that `shown` holds on, older than the row `after`; `may` decides
    about one row, and is asked only where `shown` alone does not decide.
    """

    g: GuardedRequest
    name: str
    shown: ListFilter
    fetch: Callable[[str | None, int], Awaitable[list[Row]]]
    may: Callable[[Row], bool]

    async def page(self, limit: int, after: str | None) -> tuple[list[Row], str | None]:
        """Return up to `limit` rows older than `after`, and the place to go on from; None where there is no more.

        The query itself holds what the policies say. Only where it cannot hold all of it, and that is asked for by
        name, rows are decided about one by one; such a page may be short. Where it ends at a row that the caller may
        not read, the place is sealed: its id is nobody's to learn.
        """
        if self.shown.exact:
            rows = await self.fetch(after, limit + 1)
            return rows[:limit], str(rows[limit - 1]["id"]) if len(rows) > limit else None
        found: list[Row] = []
        for _ in range(_SCANNED // MOST):
            batch = await self.fetch(after, MOST)
            for row in batch:
                if self.may(row):
                    found.append(row)
                    if len(found) > limit:
                        return found[:limit], str(found[limit - 1]["id"])
            if len(batch) < MOST:
                return found, None
            after = str(batch[-1]["id"])
        return found, None if after is None else _sealed(self.g, self.name, after)


def place(g: GuardedRequest, name: str, text: str | None) -> str | None:
    """Return the id that a list of `name` goes on after; None where `text` is empty.

    `text` is an id, whosever it is: the query holds the policies all the same; or a place that was sealed for this
    caller and list. Raises FieldError for anything else.
    """
    if not text:
        return None
    if not text.startswith(_SEALED):
        return parse_id(text)
    try:
        blob = base64.b64decode(text[len(_SEALED) : _LONGEST].encode("ascii"), altchars=b"-_", validate=True)
        return parse_id(g.core.keys.open_sealed(_PURPOSE, blob, _bound(g, name)).decode())
    except (ValueError, SealBroken):
        raise FieldError("is no place of this list") from None


def _sealed(g: GuardedRequest, name: str, row_id: str) -> str:
    blob = g.core.keys.seal(_PURPOSE, row_id.encode(), _bound(g, name))
    return _SEALED + base64.urlsafe_b64encode(blob).decode()


def _bound(g: GuardedRequest, name: str) -> bytes:
    return json.dumps([g.tenant, g.user_id, name]).encode()
