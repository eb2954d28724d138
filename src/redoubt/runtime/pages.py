"""Pages: one Jinja environment for the app's own templates and the library's, safe under the strict policy.

Everything is escaped, an undefined name is an error, and no template can put a script or a style inline: the policy
of `headers.py` would not run it. Who asks through htmx gets the fragment instead of the whole page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PrefixLoader,
    StrictUndefined,
    select_autoescape,
)
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from redoubt.authz.models import app_entity
from redoubt.core.problem import Problem

from .crud import Changed, Crud
from .entities import EntityType, Row
from .fields import Boolean, Lines, Ref
from .pricing import REASON
from .request import GuardedRequest

LIBRARY = Path(__file__).parent.parent
STATIC = Path(__file__).parent / "static"
_CHOICES = 200


@frozen
class Link:
    """One entry of the navigation; it is shown to those whom `action` is allowed."""

    title: str
    href: str
    action: str
    entity: str


def environment(folders: Iterable[Path] = (), **globals_: Any) -> Environment:
    """Return the environment over `folders` (the app's own first) and the library's templates."""
    own = [path for path in folders if path.is_dir()]
    library = [LIBRARY / name / "templates" for name in ("runtime", "identity", "console")]
    loaders: list[BaseLoader] = [FileSystemLoader(path) for path in (*own, *library) if path.is_dir()]
    # An app's own pages lie beside its templates, in app/pages.
    pages = [FileSystemLoader(path.parent / "pages") for path in own if (path.parent / "pages").is_dir()]
    loaders += [PrefixLoader({"pages": loader}) for loader in pages]
    env = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        enable_async=False,
    )
    env.globals.update(globals_)
    env.globals["pairs"] = lambda words: [(word, word.replace("_", " ")) for word in words]
    env.filters["moment"] = moment
    return env


def moment(value: datetime) -> str:
    """Return a moment as people read it, in UTC."""
    return value.strftime("%Y-%m-%d %H:%M UTC")


@define(eq=False)
class CrudPages:
    """The pages of one entity: list, form, detail; each form posts back here and works without scripts."""

    crud: Crud
    choices: Mapping[str, Crud] = field(factory=dict)
    """For each entity that is referred to: where its rows are listed from."""

    @property
    def kind(self) -> EntityType:
        """The entity's declaration."""
        return self.crud.kind

    async def index(self, request: Request) -> Response:
        """Answer the list; through htmx, the next rows only."""
        g = GuardedRequest.of(request)
        rows, after = await self.crud.rows(request)
        fragment = g.headers.get("hx-request") == "true"
        return self._page(request, "list", rows=rows, after=after, fragment=fragment, can=self._can(request))

    async def new(self, request: Request) -> Response:
        """Answer the empty form."""
        return await self._form(request, None, {}, {})

    async def edit(self, request: Request) -> Response:
        """Answer the form over the judged row."""
        row = self.crud.row(request)
        return await self._form(request, row, self._shown(row), {})

    async def detail(self, request: Request) -> Response:
        """Answer the judged row."""
        row = self.crud.row(request)
        return self._page(
            request, "detail", row=row, can=self._can(request, row), names=await self._names(request)
        )

    async def create(self, request: Request) -> Response:
        """Store what the form sent and go to the new row; a refused form comes back with the reasons."""

        async def make(sent: Any) -> Changed:
            return Changed(await self.crud.make(request, sent))

        return await self._save(request, None, make)

    async def update(self, request: Request) -> Response:
        """Change the judged row and go to it, or to its prices where one waits for a second person."""
        return await self._save(request, self.crud.row(request), lambda sent: self.crud.change(request, sent))

    async def delete(self, request: Request) -> Response:
        """Remove the judged row and go to the list."""
        await self.crud.remove(request)
        return see(f"/{self.kind.plural}")

    async def move(self, request: Request, action: str) -> Response:
        """Move the judged row and go back to it."""
        row = await self.crud.moved(request, action)
        return see(f"/{self.kind.plural}/{row['id']}")

    async def prices(self, request: Request) -> Response:
        """Answer the versions of the judged row's prices, and the changes that wait."""
        g, row = GuardedRequest.of(request), self.crud.row(request)
        versions, waiting = await self.crud.priced(request)
        ids = {one.author for one in versions} | {one.approver or "" for one in versions}
        ids |= {one.author for one in waiting}
        people = await g.read(lambda tx: g.guard.services.names(tx, sorted(ids - {""})))
        return g.render(
            "redoubt/prices.html",
            kind=self.kind,
            row=row,
            versions=versions,
            waiting=waiting,
            people=people,
            label=label(self.kind, row),
            sees_approvals=g.allows("Approval.read", app_entity(g.tenant)),
        )

    async def _save(
        self, request: Request, row: Row | None, write: Callable[[Any], Awaitable[Changed]]
    ) -> Response:
        form = await read_form(request)
        try:
            changed = await write(self._sent(form, row))
        except Problem as problem:
            if problem.status not in (409, 422):
                raise
            errors = dict(problem.extra.get("errors", {})) or {"": problem.detail or problem.title}
            return await self._form(request, row, form, errors, problem.status)
        where = f"/{self.kind.plural}/{changed.row['id']}"
        return see(f"{where}/prices" if changed.waiting else where)

    def _sent(self, form: Mapping[str, str], row: Row | None) -> dict[str, Any]:
        """Turn a form into what the JSON API would have been sent; unknown names go on and are refused there."""
        writable = self.kind.writable(row)
        sent: dict[str, Any] = {
            name: value
            for name, value in form.items()
            if name not in writable and "." not in name and name != "csrf_token"
        }
        for name, kind in writable.items():
            if isinstance(kind, Lines):
                lines = []
                for key, text in form.items():
                    prefix, _, row_id = key.partition(".")
                    if prefix == name and text.strip() not in ("", "0"):
                        quantity: Any = (
                            int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text
                        )
                        lines.append({kind.key: row_id, "quantity": quantity})
                sent[name] = lines
            elif name in form or isinstance(kind, Boolean):
                sent[name] = kind.from_form(form.get(name, ""))
        if row is not None:
            whys = {REASON.format(name) for name in self.kind.prices}
            sent |= {name: value for name, value in form.items() if name in whys}
        return sent

    def _shown(self, row: Row) -> dict[str, str]:
        """Return a row as its form shows it."""
        shown: dict[str, str] = {}
        for name, kind in self.kind.writable(row).items():
            if isinstance(kind, Lines):
                shown |= {f"{name}.{line[kind.key]}": str(line["quantity"]) for line in row[name] or ()}
            elif kind.kind == "money":
                shown[name] = kind.show(row[name]).split(" ")[0]
            elif isinstance(kind, Boolean):
                shown[name] = "on" if row[name] else ""
            else:
                shown[name] = "" if row[name] is None else str(row[name])
        return shown

    async def _form(
        self,
        request: Request,
        row: Row | None,
        values: Mapping[str, str],
        errors: Mapping[str, str],
        status: int = 200,
    ) -> Response:
        options = await self._options(request, row)
        return self._page(request, "form", status, row=row, values=values, errors=errors, options=options)

    async def _options(self, request: Request, row: Row | None) -> dict[str, list[tuple[str, str]]]:
        """Return what can be chosen for each reference: rows that the caller may read."""
        found: dict[str, list[tuple[str, str]]] = {}
        for name, kind in self.kind.writable(row).items():
            if isinstance(kind, Ref | Lines):
                target = self.choices[kind.to if isinstance(kind, Ref) else kind.of]
                rows = await target.readable(request, _CHOICES)
                if isinstance(kind, Lines) and kind.available_in:
                    rows = [item for item in rows if item[target.kind.state_field or ""] in kind.available_in]
                found[name] = [(item["id"], option_label(target.kind, item, kind)) for item in rows]
        return found

    async def _names(self, request: Request) -> dict[str, str]:
        """Return the label of each row that the judged one refers to, where the caller may read it."""
        row = self.crud.row(request)
        names: dict[str, str] = {}
        for name, kind in self.kind.fields.items():
            if isinstance(kind, Ref) and row[name] is not None:
                found = await self.choices[kind.to].one(request, row[name])
                names[name] = (
                    label(self.choices[kind.to].kind, found) if found is not None else "(not shown to you)"
                )
        return names

    def _can(self, request: Request, row: Row | None = None) -> dict[str, bool]:
        """Return which buttons a page shows: what the policies permit here, in the state that the row is in."""
        verbs = ("create",) if row is None else ("update", "delete", "pay", *self.kind.moves)
        permitted = self.crud.permitted(request, verbs, row)
        allowed = {verb: verb in permitted for verb in verbs}
        if row is not None and self.kind.state_field is not None:
            state = row[self.kind.state_field]
            allowed |= {verb: allowed[verb] and state in move.from_ for verb, move in self.kind.moves.items()}
        return allowed

    def _page(self, request: Request, name: str, status: int = 200, **context: Any) -> Response:
        g = GuardedRequest.of(request)
        return g.render(
            f"{self.kind.plural}/{name}.html", status=status, kind=self.kind, **{"fragment": False, **context}
        )


def label(kind: EntityType, row: Row) -> str:
    """Return what names a row on pages."""
    text = row.get(kind.label_field or "") if kind.label_field else None
    return str(text) if text else f"{kind.title or kind.name} {str(row['id'])[-6:]}"


def option_label(kind: EntityType, row: Row, chosen: Ref | Lines) -> str:
    """Return what names a row among choices: with its price where that is what is chosen by."""
    if isinstance(chosen, Lines):
        return f"{row[chosen.label]} ({kind.fields[chosen.price].show(row[chosen.price])})"
    return label(kind, row)


async def read_form(request: Request) -> dict[str, str]:
    """Return a form's fields; raises Problem 415, or 400 for a field that stands twice or is a file."""
    if (
        not GuardedRequest.of(request)
        .headers.get("content-type", "")
        .startswith("application/x-www-form-urlencoded")
    ):
        raise Problem(415, "media-type", "Send a form.")
    async with request.form(max_fields=300, max_files=0) as form:
        items = form.multi_items()
        fields = {key: value for key, value in items if isinstance(value, str)}
    if len(fields) != len(items):
        raise Problem(400, "form", "A field stands twice.")
    return fields


def show(request: Request, template: str) -> Response:
    """Return a page that needs nothing but its template."""
    return GuardedRequest.of(request).render(template)


def see(path: str) -> Response:
    """Return the answer to a form that was accepted: go and look."""
    return RedirectResponse(path, status_code=303)
