"""A guarded read beside the same FastAPI route bare, on the same server, in the same run.

The read shows one order to the person who owns it. The guarded route finds the session, counts limits, decides by
policy over the order and commits the decision's audit entry before it answers. It is measured twice: with the order in
a row of the database, as an app's own read has it, and with the order in memory, where nothing hides what the guard
costs. The limit is an ASGI app without any framework. Everybody's turn comes in short rounds, so that other load on the
machine meets all alike; the median round counts. Afterwards every answer must have its audit entry, all bodies must have
been the same, and without a session there must be no answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import sqlalchemy as sa
from _request_load import CONNECTIONS, Target, generate, load, running, serve
from _request_world import APPS, ORDERS, make_orders, prepare
from _support import postgres, result

DATABASES = ("sqlite", "postgresql")


def check_same(targets: Sequence[Target]) -> None:
    """Fail unless all give the same bodies, and the guarded ones nothing to nobody and to a stranger."""
    asked = {target.name: json.loads((target.home / "asked.json").read_text()) for target in targets}
    for number in range(0, ORDERS, ORDERS // 20):
        answers = {target.get(*asked[target.name][number]) for target in targets}
        if len(answers) != 1 or next(iter(answers))[0] != 200:
            raise SystemExit(f"the apps answer differently: {answers}")
        for target in targets:
            target.answered += 1
    for target in targets:
        if target.name.startswith("guarded"):
            order, stranger = asked[target.name][0][0], asked[target.name][1][1]
            statuses = target.get(order, None)[0], target.get(order, stranger)[0]
            if statuses != (401, 404):
                raise SystemExit(f"{target.name} answers nobody and a stranger with {statuses}")


def check_audited(database: str, targets: Sequence[Target], unfinished: int) -> None:
    """Fail unless each answer has its audit entry: as many as answered, plus at most what was cut off on its way."""
    from redoubt.audit.store import entries
    from redoubt.core.db import Database

    answered = sum(target.answered for target in targets)
    db = Database((targets[0].home / "url").read_text())
    count = sa.select(sa.func.count()).where(entries.c.action == "authz.decide")
    allowed, denied = db.read_sync(
        lambda tx: [
            tx.execute(count.where(entries.c.outcome == outcome)).scalar_one()
            for outcome in ("success", "denied")
        ]
    )
    db.close()
    if not answered <= allowed <= answered + unfinished * len(targets) or denied != 2 * len(targets):
        raise SystemExit(
            f"{database}: {answered} answers, but {allowed} audit entries (and {denied} denials)"
        )
    print(f"{database}: {answered:,} answers, {allowed:,} audit entries; nobody and a stranger were refused")


def measure(targets: list[Target], rounds: int, seconds: float) -> None:
    """Give every target its turn in every round."""
    for number in range(rounds + 1):  # the first warms up and does not count
        for target in targets:
            before = target.cpu_seconds()
            seen = load(target, seconds if number else 1.0)
            if seen.wrong:
                raise SystemExit(f"{target.name}: {seen.wrong} wrong answers")
            target.answered += seen.answered
            if number:
                target.rates.append(seen.answered / seen.seconds)
                target.cpu.append((target.cpu_seconds() - before) / max(1, seen.answered))


def report(targets: Mapping[str, Target]) -> None:
    """Print what a request costs on each side, then the result lines."""
    generator = "wrk" if shutil.which("wrk") else "the generator of ours"
    print(f"load by {generator}, {CONNECTIONS} connections; this machine's load was {os.getloadavg()[0]:.1f}")
    middle = {name: statistics.median(target.rates) for name, target in targets.items()}
    for name, target in targets.items():
        spread = f"{min(target.rates):,.0f} to {max(target.rates):,.0f}"
        cpu = statistics.median(target.cpu) * 1e6
        print(f"{name:24} {middle[name]:8,.0f}/s (rounds {spread}), {cpu:5.0f} us of processor a request")
    for database in DATABASES:
        result(
            f"request-row-{database}",
            middle[f"guarded-row-{database}"],
            middle[f"bare-row-{database}"],
            middle["plain"],
        )
    for database in DATABASES:
        result(f"request-{database}", middle[f"guarded-{database}"], middle["bare"], middle["plain"])


def bench(quick: bool) -> None:
    """Prepare both databases, start everything, measure, check, and print."""
    rounds, seconds = (2, 1.0) if quick else (7, 5.0)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="redoubt-bench-")))
        orders = make_orders()
        urls = {
            "sqlite": f"sqlite:///{folder / 'bench.db'}",
            "postgresql": stack.enter_context(postgres(folder)),
        }
        for database, url in urls.items():
            prepare(folder / database, url, orders)
        apps = [("plain", "plain", "sqlite"), ("bare", "bare", "sqlite")]
        apps += [
            (kind, f"{kind}-{database}", database)
            for database in DATABASES
            for kind in ("bare-row", "guarded-row", "guarded")
        ]
        targets = [stack.enter_context(running(kind, name, folder / home)) for kind, name, home in apps]
        check_same(targets)
        measure(targets, rounds, seconds)
        cut_off = (
            CONNECTIONS * (rounds + 1) * 2 if shutil.which("wrk") else 0
        )  # wrk waits for no answer at its end
        for database in DATABASES:
            guarded = [
                one for one in targets if one.name in (f"guarded-{database}", f"guarded-row-{database}")
            ]
            check_audited(database, guarded, cut_off)
        report({target.name: target for target in targets})


def main() -> None:
    """Run the benchmark, or the part of it that a process of its own plays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="stay under a minute")
    parser.add_argument("--serve", choices=sorted(APPS), help=argparse.SUPPRESS)
    parser.add_argument("--load", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        orders = json.loads((options.home / "orders.json").read_text())
        asyncio.run(serve(APPS[options.serve](options.home, orders), options.port))
    elif options.load:
        from attrs import asdict

        print(json.dumps(asdict(asyncio.run(generate(options.home, options.port, options.load)))))
    else:
        bench(options.quick)


if __name__ == "__main__":
    main()
