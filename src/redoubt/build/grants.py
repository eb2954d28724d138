"""What each process of an app may do in the database: from its spec for its own tables, from the domains for theirs.

`deploy/grants.sql` shows all of it to whoever runs the database; `redoubt run` and `redoubt init` grant the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from redoubt.audit import DOMAIN as AUDIT
from redoubt.authz import DOMAIN as AUTHZ
from redoubt.core.db import Access, Domain, Use, access_of
from redoubt.core.db.grants import merged, rows_of
from redoubt.core.db.roles import closing, statements
from redoubt.core.jobs import DOMAIN as CORE
from redoubt.guard import DOMAIN as GUARD
from redoubt.identity import DOMAIN as IDENTITY
from redoubt.payments import DOMAIN as PAYMENTS
from redoubt.payments.charge import DOMAIN as CHARGE
from redoubt.payments.grants import PAYMENTS as CHARGES
from redoubt.payments.grants import PRICED_BY_WORKER, PRICES
from redoubt.webhooks import DOMAIN as WEBHOOKS
from redoubt.webhooks.grants import INCOMING, OUTGOING

from .spec.fields import AnyField, MoneyField, StateField
from .spec.model import Entity, Spec
from .spec.names import plural
from .spec.parts import Record
from .spec.prices import prices_of

_APP: tuple[Domain, ...] = (CORE, AUDIT, GUARD, IDENTITY, AUTHZ, WEBHOOKS, PAYMENTS)
_CHARGE: tuple[Domain, ...] = (AUDIT, CHARGE)
_HEAD = """\
-- What each process of {name} may do in {which} database, and nothing else; `redoubt init` and `redoubt run` grant the same.
-- Made from the spec. Code of your own that needs more says so in app/extra.py: `redoubt db grants` shows all.
--
--     psql --set ON_ERROR_STOP=1 {variables} --file deploy/{file}
--
-- Run it as the owner of the tables, after they were made, as often as you like. Each process has a role of its own that
-- owns nothing and is a member of nothing: CREATE ROLE {first} LOGIN PASSWORD '…'
"""


def entity_writes(spec: Spec, name: str) -> dict[str, list[str]]:
    """Return what app and worker write of an entity, as the arguments of `Writes`; a process that writes nothing is left out."""
    found = {process: _arguments(*_writes(spec, name, process)) for process in ("app", "worker")}
    return {process: arguments for process, arguments in found.items() if arguments}


def grant_files(spec: Spec) -> dict[str, str]:
    """Return the SQL files that grant each process what the spec needs, by path."""
    processes = {process: _access(spec, process) for process in ("app", "worker")}
    found = {"deploy/grants.sql": _file(spec.app.name, "the app's", "grants.sql", processes)}
    if spec.payments is not None:
        charge = {"charge": access_of(_CHARGE, "charge", [CHARGES])}
        found["deploy/charge-grants.sql"] = _file(
            spec.app.name, "the charge service's", "charge-grants.sql", charge
        )
    return found


def _access(spec: Spec, process: str) -> Access:
    prices = prices_of(spec)
    asked = {
        INCOMING: bool(spec.webhooks.incoming) or spec.payments is not None,
        OUTGOING: bool(spec.webhooks.outgoing),
        CHARGES: spec.payments is not None,
        PRICES: bool(prices),
        PRICED_BY_WORKER: any(_writes(spec, name, "worker")[0] for name in prices),
    }
    given = access_of(_APP, process, [name for name, has in asked.items() if has])
    own: list[Use] = []
    for name, entity in spec.entities.items():
        create, change, delete = _writes(spec, name, process)
        one = rows_of(f"app_{plural(name, entity)}", process, create=create, change=change, delete=delete)
        own += [] if one is None else [one]
    return merged(process, [*given.uses.values(), *own], given.definers)


def _writes(spec: Spec, name: str, process: str) -> tuple[bool, tuple[str, ...], bool]:
    """Return whether a process makes rows, which fields it changes, and whether it removes rows.

    Routes of the app do what some permission lets somebody do; the worker does what webhooks record and what a settled
    payment moves, which the app may learn of first.
    """
    entity = spec.entities[name]
    state = next((key for key, field in entity.fields.items() if isinstance(field, StateField)), None)
    paid = spec.payments is not None and spec.payments.charge.entity == name
    if process == "worker":
        handlers = (hook.handler for hook in spec.webhooks.incoming.values())
        records = any(isinstance(one, Record) and one.entity == name for one in handlers)
        return records, (state,) if paid and state else (), False
    allowed = {action for rule in spec.permissions for action in rule.actions}
    change: set[str] = set(_updated(entity)) if f"{name}.update" in allowed else set()
    if state is not None and (paid or any(f"{name}.{move}" in allowed for move in entity.actions)):
        change.add(state)
    ordered = tuple(key for key in entity.fields if key in change)
    return f"{name}.create" in allowed, ordered, f"{name}.delete" in allowed


def _updated(entity: Entity) -> Iterable[str]:
    """What a client may change, and the totals that follow."""
    sent = {key for key, field in entity.fields.items() if not field.immutable and not _set_by_server(field)}
    yield from sent
    yield from (
        key
        for key, field in entity.fields.items()
        if isinstance(field, MoneyField) and field.total_of in sent
    )


def _set_by_server(field: AnyField) -> bool:
    return isinstance(field, StateField) or (isinstance(field, MoneyField) and field.total_of is not None)


def _arguments(create: bool, change: tuple[str, ...], delete: bool) -> list[str]:
    listed = ", ".join(f'"{key}"' for key in change)
    found = ["create=True"] if create else []
    found += [f"change=({listed},)" if len(change) == 1 else f"change=({listed})"] if change else []
    return found + (["delete=True"] if delete else [])


def _file(name: str, which: str, file: str, processes: dict[str, Access]) -> str:
    roles = {process: f"{name.replace('-', '_')}_{process}" for process in processes}
    variables = " ".join(f"--set {process}={role}" for process, role in roles.items())
    first = next(iter(roles.values()))
    lines = [_HEAD.format(name=name, which=which, variables=variables, file=file, first=first)]
    lines += [rf"\if :{{?{process}}} \else \set {process} {role} \endif" for process, role in roles.items()]
    lines = [*lines[:1], *(line.replace(" \\", "\n\\") for line in lines[1:]), "", "BEGIN;"]
    lines += [f"{statement};" for statement in closing(':"DBNAME"', "public")]
    for process, access in processes.items():
        lines += ["", f"-- {process}"]
        lines += [f"{statement};" for statement in statements(access, f':"{process}"', "public")]
    return "\n".join([*lines, "COMMIT;", ""])
