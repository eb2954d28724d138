"""Genesis and upgrades of one app: tables, policy version 0, two one-time operator links. Safe to run again.

Nothing else exists by default: no account, no key, no password. The links are shown as long as they are unused.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from attrs import frozen

from redoubt.authz import store as policy_store
from redoubt.authz.policyset import parse_folder
from redoubt.authz.proofs import demand_no_elevation
from redoubt.authz.versions import genesis, prove_running
from redoubt.core.db import Tx, migrate
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

    What the running policies must be proven to keep is proven here where it is not, so that processes only look it up.
    Raises MigrationError, PolicyRejected when the folder's policies do not hold, or PoliciesRefused when they, or those
    that run, let somebody elevate themselves; nothing is then recorded.
    """
    core = guard.core
    migrate(core.db, guard.domains)
    policies = parse_folder(directory / "policies")
    if core.db.read_sync(lambda tx: policy_store.head(tx, "main")) is None:
        demand_no_elevation(policies)  # not within the transaction that records them
    prove_running(core)

    def begin(tx: Tx) -> Initialised:
        head = policy_store.head(tx, "main")
        version = head.version if head is not None else genesis(tx, core, policies)
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
