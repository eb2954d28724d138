"""Roles of a development run on PostgreSQL: each process gets one of its own, as production has to name them.

Their passwords are random and lie beside the other secrets of a development run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from sqlalchemy.engine import make_url

from redoubt.core.clock import SystemClock
from redoubt.core.files import write_private
from redoubt.core.ids import SystemIds
from redoubt.core.secrets import Secret, SecretRef
from redoubt.core.settings import Settings

FILE = "dev-database-roles.json"
_NAME = 63
"""The longest name that PostgreSQL keeps whole, in bytes."""


def development_roles(settings: Settings, *, charges: bool) -> dict[str, str]:
    """Return settings, and the addresses that they refer to, for processes that have no PostgreSQL role of their own yet.

    Nothing in production, where whoever runs the server makes the roles, nor on SQLite, which has none.
    """
    if not settings.development:
        return {}
    owner = settings.database_url()
    wanted = [("app", "DATABASE__APP", owner)] if settings.database.app is None else []
    wanted += [("worker", "DATABASE__WORKER", owner)] if settings.database.worker is None else []
    if charges and settings.charge.service is None:
        wanted.append(("charge", "CHARGE__SERVICE", settings.charge_database_url()))
    wanted = [one for one in wanted if _is_postgresql(one[2])]
    passwords = _passwords(settings.state_dir / FILE, [process for process, _, _ in wanted])
    found: dict[str, str] = {}
    for process, key, url in wanted:
        parsed = make_url(url.reveal())
        role = f"{parsed.database}_{process}".encode()[-_NAME:].decode(errors="ignore")
        own = parsed.set(username=role, password=passwords[process]).render_as_string(hide_password=False)
        found |= {f"REDOUBT_{key}": f"env:DEVELOPMENT_{key}", f"DEVELOPMENT_{key}": own}
    return found


def hidden_from(settings: Settings, process: str) -> set[str]:
    """Return the environment variables with addresses of databases that are not `process`'s own role's."""
    database, charge = settings.database, settings.charge
    own = {"app": database.app, "worker": database.worker, "charge": charge.service}
    others: list[str | SecretRef | None] = [ref for name, ref in own.items() if name != process]
    if own[process] is not None:
        others += [database.url, charge.database]
    return {ref.locator for ref in others if isinstance(ref, SecretRef) and ref.scheme == "env"}


def without(environment: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return `environment` without these variables."""
    gone = set(names)
    return {name: value for name, value in environment.items() if name not in gone}


def _is_postgresql(url: Secret) -> bool:
    return make_url(url.reveal()).get_backend_name() == "postgresql"


def _passwords(path: Path, processes: list[str]) -> dict[str, str]:
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    missing = [process for process in processes if process not in known]
    if missing:
        ids = SystemIds(SystemClock())
        known |= {process: ids.token(32) for process in missing}
        write_private(path, json.dumps(known, indent=1, sort_keys=True).encode())
    return known
