"""What a route needs, declared beside it; and the walk that finds routes which declare nothing.

A route without a declaration stops the app at start: deny by default begins before the first request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar

from attrs import frozen

from .errors import UnguardedRoutes
from .models import Entity
from .policyset import PolicySet

Kind = Literal["action", "public", "authenticated", "self"]
Loader = Callable[[Any], Awaitable[Entity | None]]
ContextBuilder = Callable[[Any], Awaitable[Mapping[str, Any]]]
Endpoint = TypeVar("Endpoint")

ATTRIBUTE = "__redoubt_permission__"


@frozen
class Permission:
    """What a route declares.

    `kind`: `action` asks the policies, `public` is open to all, `authenticated` needs a session, `self` too and says
    that the route touches nothing but the caller's own account. `resource` loads what the action is about (None: it
    does not exist), `context` adds to the context, `creates` says that the resource is not there yet, `read` is the
    action that decides whether a caller may learn that the resource exists.
    """

    kind: Kind
    action: str | None = None
    resource: Loader | None = None
    context: ContextBuilder | None = None
    creates: bool = False
    read: str | None = None
    step_up: bool = False


@frozen
class RouteProblem:
    """One route that may not start, and why."""

    path: str
    why: str

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"


def permit(
    action: str,
    *,
    resource: Loader | None = None,
    context: ContextBuilder | None = None,
    creates: bool = False,
    read: str | None = None,
) -> Callable[[Endpoint], Endpoint]:
    """Declare that an endpoint does `action`: on what `resource` loads from the request, or on the app as a whole.

    `context` returns more of the context (`amount` in minor units). `creates` marks a resource that is only to be.
    `read` names the action that shows the resource (default `Type.read`): who may not even do that gets 404.
    """
    return _attach(Permission("action", action, resource, context, creates, read))


def public() -> Callable[[Endpoint], Endpoint]:
    """Declare that an endpoint is open to everybody, with or without a session."""
    return _attach(Permission("public"))


def authenticated(*, step_up: bool = False) -> Callable[[Endpoint], Endpoint]:
    """Declare that an endpoint needs a session (with `step_up`, a fresh passkey) and no policy."""
    return _attach(Permission("authenticated", step_up=step_up))


def own_account(*, step_up: bool = False) -> Callable[[Endpoint], Endpoint]:
    """Declare that an endpoint needs a session and touches the caller's own account only."""
    return _attach(Permission("self", step_up=step_up))


def permission_of(route: Any, dependant: Any = None) -> Permission | None:
    """Return what `route`, its endpoint, its mounted app or one of its FastAPI dependencies declares.

    `dependant` stands for the route's own where a router that holds it was included with more. Raises UnguardedRoutes
    where two of them declare something.
    """
    found = _declared(route)
    depended = list(_depended(dependant or getattr(route, "dependant", None)))
    if len({id(item) for item in (found, *depended) if item is not None}) > 1:
        raise UnguardedRoutes(
            f"{getattr(route, 'path', route)!r} declares two permissions.", hint="Keep one."
        )
    return found or next(iter(depended), None)


def _declared(route: Any) -> Permission | None:
    for holder in (route, getattr(route, "endpoint", None), getattr(route, "app", None)):
        while holder is not None:
            found = getattr(holder, ATTRIBUTE, None)
            if isinstance(found, Permission):
                return found
            holder = getattr(holder, "func", None)  # functools.partial
    return None


def _depended(dependant: Any) -> Iterator[Permission]:
    """Yield what the dependencies of a FastAPI route declare, and theirs."""
    for inner in getattr(dependant, "dependencies", ()):
        found = getattr(inner.call, ATTRIBUTE, None)
        if isinstance(found, Permission):
            yield found
        yield from _depended(inner)


@frozen
class Leaf:
    """A route that answers by itself: its full path, the object that handles it, and whether that can be guarded.

    FastAPI rebuilds what is no API route when a router is included, so a guard put on it would be lost. `dependant` holds
    all dependencies of a route of an included router: its own, the router's and those that it was included with.
    """

    path: str
    route: Any
    guardable: bool = True
    dependant: Any = None

    @property
    def permission(self) -> Permission | None:
        """What is declared for this route; raises UnguardedRoutes where that are two."""
        return permission_of(self.route, self.dependant)


def walk(routes: Any, prefix: str = "") -> Iterator[Leaf]:
    """Yield every leaf of an app or of its routes, through mounts, hosts and included routers.

    A mounted app without routes of its own (static files) is a leaf.
    """
    if hasattr(routes, "routes"):
        hidden = getattr(getattr(routes, "router", None), "_low_priority_routes", ())
        yield from walk([*routes.routes, *hidden], prefix)
        return
    for route in routes:
        if hasattr(route, "effective_route_contexts"):  # FastAPI's included router
            for context in (*route.effective_route_contexts(), *route.effective_low_priority_routes()):
                yield from _included(context, prefix)
        else:
            yield from _walk_one(route, prefix)


def routes_without_permission(routes: Any) -> list[str]:
    """Return the paths of all routes that declare no permission; takes `app` or `app.routes`."""
    return [leaf.path for leaf in walk(routes) if leaf.permission is None]


def route_problems(routes: Any, policies: PolicySet) -> list[RouteProblem]:
    """Return every route that declares nothing, an unknown action, or cannot be guarded."""
    problems: list[RouteProblem] = []
    declared: dict[int, tuple[Permission, str]] = {}
    for leaf in walk(routes):
        permission = leaf.permission
        if permission is None:
            problems.append(RouteProblem(leaf.path, "declares no permission"))
            continue
        first, path = declared.setdefault(id(leaf.route), (permission, leaf.path))
        if first is not permission:  # one object handles both, so one guard stands before both
            why = f"is the route of {path} included again, with another permission: make a router for each"
            problems.append(RouteProblem(leaf.path, why))
        if not leaf.guardable and permission.kind != "public":
            problems.append(
                RouteProblem(
                    leaf.path, "is no API route of its included router: add it to the app or mount it"
                )
            )
        problems += [
            RouteProblem(leaf.path, f"the policies' schema has no action {action!r}")
            for action in (permission.action, permission.read)
            if action is not None and not policies.knows_action(action)
        ]
    return problems


def check_routes(routes: Any, policies: PolicySet) -> None:
    """Raise UnguardedRoutes unless every route declares a permission whose actions the schema knows."""
    problems = route_problems(routes, policies)
    if problems:
        raise UnguardedRoutes(
            "; ".join(str(problem) for problem in problems) + ".",
            hint="Declare @permit(…), @public(), @authenticated() or @own_account() on each endpoint.",
        )


def _walk_one(route: Any, prefix: str, guardable: bool = True) -> Iterator[Leaf]:
    path = prefix + str(getattr(route, "path", "") or getattr(route, "host", "") or "")
    if hasattr(route, "endpoint"):
        yield Leaf(path, route, guardable)
        return
    app = getattr(route, "app", None)
    inner = getattr(app, "routes", None) or getattr(route, "routes", None)
    if inner:
        yield from walk(app if getattr(app, "routes", None) else inner, path)
    else:
        yield Leaf(path or type(route).__name__, route, guardable)


def _included(context: Any, prefix: str) -> Iterator[Leaf]:
    rebuilt = context.starlette_route
    if rebuilt is None:  # an API route: FastAPI calls the original's handle
        original = context.original_route
        path = getattr(context, "path", None) or getattr(original, "path", "")
        yield Leaf(prefix + str(path), original, dependant=context.dependant)
    else:
        yield from _walk_one(rebuilt, prefix, guardable=False)


def _attach(permission: Permission) -> Callable[[Endpoint], Endpoint]:
    def attach(endpoint: Endpoint) -> Endpoint:
        if getattr(endpoint, ATTRIBUTE, None) is not None:
            raise UnguardedRoutes(f"{endpoint!r} declares two permissions.", hint="Keep one.")
        setattr(endpoint, ATTRIBUTE, permission)
        return endpoint

    return attach
