"""Genesis and upgrades of one app: tables, policy version 0, two one-time operator links. Safe to run again.

Nothing else exists by default: no account, no key, no password. The links are shown as long as they are unused.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import evolve, frozen
from sqlalchemy.engine import make_url

from redoubt.authz import Roles
from redoubt.authz import store as policy_store
from redoubt.authz.policyset import parse_folder
from redoubt.authz.proofs import demand_no_elevation, demand_standing
from redoubt.authz.versions import genesis, prove_running
from redoubt.core.base import Core
from redoubt.core.db import Database, Tx, migrate, roles
from redoubt.core.errors import RedoubtError
from redoubt.identity import init_operators

from .app import Redoubt
from .loading import load_app


@frozen
class Initialised:
    """What initialising left: the running policy version and the operator links that are still unused."""

    policy_version: str
    operator_links: tuple[str, ...]


def initialise(guard: Redoubt, directory: Path) -> Initialised:
    """Bring the app's database to this version and, the first time, record its policies and mint its links.

    It is done as the owner of the schema, whatever `guard` is restricted to; on PostgreSQL the roles of the processes are
    then granted what these use. What the running policies must be proven to keep is proven here where it is not, so that
    processes only look it up. Raises MigrationError, PolicyRejected when the folder's policies do not hold, or
    PoliciesRefused when they, or those that run, let somebody elevate themselves, or when they begin outside the standing
    invariants; nothing is then recorded.
    """
    with _owner(guard) as core:
        migrate(core.db, guard.domains)
        _grant(guard, core)
        return _begin(core, directory)


@contextmanager
def _owner(guard: Redoubt) -> Iterator[Core]:
    db = Database(guard.settings.database_url().reveal())
    try:
        yield evolve(guard.core, db=db)
    finally:
        db.close()


def _grant(guard: Redoubt, core: Core) -> None:
    """Give each process's own role what that process uses; in development the roles are made, too."""
    named = {"app": core.settings.database.app, "worker": core.settings.database.worker}
    for process in (name for name, address in named.items() if address is not None):
        url = make_url(core.settings.database_url(process).reveal())
        role = url.username or ""
        if core.settings.development and url.password:
            roles.ensure_role(core.db, role, str(url.password))
        roles.grant(core.db, guard.access(process), role)


def _begin(core: Core, directory: Path) -> Initialised:
    policies = parse_folder(directory / "policies")
    if core.db.read_sync(lambda tx: policy_store.head(tx, "main")) is None:
        demand_no_elevation(policies)  # not within the transaction that records them
        demand_standing(policies)
    prove_running(core)

    def begin(tx: Tx) -> Initialised:
        head = policy_store.head(tx, "main")
        version = head.version if head is not None else genesis(tx, core, policies)
        Roles(core).adopt(tx)
        return Initialised(version, tuple(init_operators(tx, core)))

    return core.db.write_sync(begin)


def main() -> None:
    """Initialise the app in `--dir` and print what is left to do as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, required=True)
    options = parser.parse_args()
    try:
        _, guard = load_app(options.dir)
        done = initialise(guard, options.dir)
        guard.core.db.close()
    except RedoubtError as error:
        print(f"redoubt: {error}", file=sys.stderr)
        sys.exit(1)
    print(json.dumps({"policy_version": done.policy_version, "operator_links": list(done.operator_links)}))


if __name__ == "__main__":
    main()
