"""Pages with what every page needs: who is signed in, the CSRF token, and where this person may go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen
from starlette.responses import HTMLResponse

from redoubt.authz import collection_entity
from redoubt.core.problem import Problem

from .pages import environment
from .plan import AppPlan
from .request import GuardedRequest

if TYPE_CHECKING:
    from .app import Redoubt


@frozen
class NavItem:
    """One entry of the navigation, as the layout shows it."""

    href: str
    label: str
    current: bool = False


class Renderer:
    """Renders the app's templates and the library's."""

    def __init__(self, guard: Redoubt, plan: AppPlan) -> None:
        self._guard = guard
        self._plan = plan
        self._title = plan.title or guard.settings.app.name
        folders = [plan.templates] if plan.templates is not None else []
        self._environment = environment(folders, app_name=self._title)

    def render(
        self, request: GuardedRequest, template: str, status: int, context: Mapping[str, Any]
    ) -> HTMLResponse:
        """Render `template` with `context`; `g` is the guarded request."""
        values: dict[str, Any] = {
            "g": request,
            "subject": request.subject,
            "csrf_token": request.csrf_token,
            "nav": self.navigation(request),
            "title": self._title,
            **context,
        }
        return HTMLResponse(self._environment.get_template(template).render(values), status)

    def error(self, request: GuardedRequest, problem: Problem) -> HTMLResponse:
        """Render a refusal for a person: what happened and what they can do, nothing else."""
        context = {"problem": problem, "title": problem.title, "request_id": request.request_id}
        return self.render(request, "redoubt/problem.html", problem.status, context)

    def navigation(self, request: GuardedRequest) -> Sequence[NavItem]:
        """Return the entries that this person may follow."""
        items = []
        for link in self._plan.nav:
            resource = collection_entity(link.entity, request.tenant)
            if self._guard.allows(request, link.action, resource, {}):
                items.append(NavItem(link.href, link.title, request.path.startswith(link.href)))
        if "operator" in request.roles or "finance" in request.roles:
            items.append(NavItem("/console", "Console", request.path.startswith("/console")))
        return items
