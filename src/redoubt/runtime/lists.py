"""What a list may show: the running policies as one condition over the rows, put into the query itself.

A list is enforced, not decoration: the condition is that of the policies as they run when it is asked for.
"""

from __future__ import annotations

import logging

import sqlalchemy as sa

from redoubt.authz.decide import Decider
from redoubt.authz.filter import Known, ListFilter, Untranslatable
from redoubt.core.problem import Problem

from .entities import Entities
from .request import GuardedRequest

log = logging.getLogger("redoubt.runtime")


async def readable(g: GuardedRequest, entities: Entities, name: str, verb: str = "read") -> ListFilter:
    """Return the condition on the rows of `name` on which the caller may do `verb`, by the running policies.

    Raises Problem 500 where a policy cannot be said in SQL and the entity does not ask for its rows to be decided
    about one by one (`post_filter`): the log names the policy.
    """
    caller, kind = g.authz, entities[name]
    decider = await g.guard.services.head.current(g.tenant)
    if not isinstance(decider, Decider):
        log.error("the list of %s shows nothing: %s", name, decider.why)
        return ListFilter(sa.false())
    known = Known.of(caller.principal(), f"{name}.{verb}", {"risk": caller.risk, "step_up": caller.step_up})
    try:
        filters = entities.filters(decider.policies)
        return filters.of(
            name, known, row_context=kind.row_context(entities.table(name)), post_filter=kind.post_filter
        )
    except Untranslatable as error:
        log.error("the list of %s cannot be asked for: %s", name, error)
        raise Problem(500, "list", "This list cannot be shown.") from error
