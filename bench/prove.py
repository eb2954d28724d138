"""How long a policy edit takes to judge: 40 environments, 12 kinds of edit, both solvers.

Run: python bench/prove.py [--quick]
"""

from __future__ import annotations

import time
from collections.abc import Callable

import _support
import cedarpy
from _support import result
from attrs import evolve, frozen

from redoubt.authz.policyset import PolicySet, PolicySource, parse
from redoubt.authz.prove import compare

ACTIONS = [f"act{number}" for number in range(20)]
TYPES = ("Doc", "Folder")

# What each edit must be judged: "wider" when anything is newly allowed, whatever else it takes away.
WANTED = {
    "looser bound": "wider",
    "tighter bound": "narrower",
    "other role": "wider",
    "condition dropped": "wider",
    "conditions turned round": "equal",
    "permit removed": "narrower",
    "forbid removed": "wider",
    "permit added": "wider",
    "forbid for all added": "narrower",
    "mfa for one permit of all": "narrower",
    "looser bound for all": "wider",
    "wildcard for all": "wider",
}
# The policies repeat every 900, so beyond that the first ones have a twin, and taking from one of them changes nothing.
UNSEEN_BESIDE_A_TWIN = {"tighter bound", "permit removed", "forbid removed", "mfa for one permit of all"}


@frozen
class Rule:
    """One policy of the benchmark."""

    effect: str
    role: int
    action: str
    kind: str
    conditions: tuple[str, ...]

    def text(self, name: str) -> str:
        """Return it in Cedar."""
        return (
            f'@id("{name}") {self.effect} (principal in Role::"r{self.role}", {self.action}, resource{self.kind})'
            f" when {{ {' && '.join(self.conditions) or 'true'} }};"
        )


SCHEMA = (
    "entity Role; entity User in [Role] { org: String, level: Long, mfa?: Bool };\n"
    + "".join(f"entity {kind} {{ org: String, owner: User, labels: Set<String> }};\n" for kind in TYPES)
    + f"action {', '.join(ACTIONS)} appliesTo {{ principal: User, resource: [{', '.join(TYPES)}],"
    " context: { risk: Long, ip: ipaddr } };"
)


def rules(count: int) -> list[Rule]:
    """Return `count` policies: nine of ten for one action, one for all; each twentieth forbids."""
    found = []
    for number in range(count):
        action = "action" if number % 10 == 0 else f'action == Action::"{ACTIONS[number % len(ACTIONS)]}"'
        conditions = (
            "principal.org == resource.org",
            f"context.risk < {number % 90 + 5}",
            (
                "principal == resource.owner",
                'resource.labels.contains("open")',
                'context.ip.isInRange(ip("10.0.0.0/8"))',
                'principal.org like "eng*"',
            )[number % 4],
        )
        kind = " is Doc" if number % 3 == 0 else ""
        found.append(Rule("forbid" if number % 20 == 19 else "permit", number % 50, action, kind, conditions))
    return found


def edits(base: list[Rule]) -> dict[str, Callable[[], list[Rule]]]:
    """Return the twelve kinds of edit; the last ones touch every action."""
    one, every = 1, 10

    def put(at: int, **changes: object) -> list[Rule]:
        return [evolve(rule, **changes) if number == at else rule for number, rule in enumerate(base)]

    def cond(at: int, conditions: tuple[str, ...]) -> list[Rule]:
        return put(at, conditions=conditions)

    return {
        "looser bound": lambda: cond(one, ("principal.org == resource.org", "context.risk <= 99")),
        "tighter bound": lambda: cond(one, (*base[one].conditions, "context.risk < 3")),
        "other role": lambda: put(one, role=49),
        "condition dropped": lambda: cond(one, base[one].conditions[1:]),
        "conditions turned round": lambda: cond(one, tuple(reversed(base[one].conditions))),
        "permit removed": lambda: [*base[:one], *base[one + 1 :]],
        "forbid removed": lambda: [*base[:19], *base[20:]],
        "permit added": lambda: [
            *base,
            Rule("permit", 3, 'action == Action::"act2"', "", ("principal has mfa",)),
        ],
        "forbid for all added": lambda: [*base, Rule("forbid", 3, "action", "", ("context.risk > 50",))],
        "mfa for one permit of all": lambda: cond(every, (*base[every].conditions, "principal has mfa")),
        "looser bound for all": lambda: cond(every, ("principal.org == resource.org", "context.risk <= 99")),
        "wildcard for all": lambda: cond(every, ('principal.org like "e*"',)),
    }


def built(items: list[Rule]) -> PolicySet:
    """Return the checked set."""
    return parse(PolicySource(SCHEMA, {"p.cedar": policy_text(items)}))


def policy_text(items: list[Rule]) -> str:
    """Return all of them in Cedar."""
    return "\n".join(rule.text(f"p{number}") for number, rule in enumerate(items))


def first_edit() -> float:
    """Return the seconds that the first comparison of this process takes, of a set of twenty."""
    base = rules(20)
    old, new = built(base), built(edits(base)["looser bound"]())
    started = time.perf_counter()
    compare(old, new, budget_seconds=120)
    return time.perf_counter() - started


def main() -> None:
    """Measure each size: all edits, and those of one action."""
    quick = _support.parse(__doc__ or "").quick
    print(f"the first edit of a process, which loads both solvers: {first_edit() * 1000:.0f} ms", flush=True)
    for count, limit in ((100, 1.0),) if quick else ((100, 1.0), (1000, 15.0)):
        base = rules(count)
        old = built(base)
        compare(old, built(base), budget_seconds=120)  # the set that runs was read when it began to run
        times, scoped = [], []
        for name, edit in edits(base).items():
            new = built(edit())
            started, busy = time.perf_counter(), time.process_time()
            found = compare(old, new, budget_seconds=120)
            took, worked = time.perf_counter() - started, time.process_time() - busy
            wanted = "equal" if count > 900 and name in UNSEEN_BESIDE_A_TWIN else WANTED[name]
            if found.verdict != wanted:
                raise SystemExit(f"{name} among {count} policies is {wanted}, and was judged {found.verdict}")
            touched = sum(item.verdict != "equal" for item in found.environments)
            print(
                f"{count:5} policies  {name:28} {found.verdict:9} {touched:2} differ  {took * 1000:8.0f} ms, of the processor {worked * 1000:.0f} ms",
                flush=True,
            )
            times.append(took)
            if "all" not in name and name != "forbid removed":
                scoped.append(took)
        worst, slowest = sorted(times)[round(0.95 * (len(times) - 1))], max(scoped)
        print(
            f"{count:5} policies, {len(found.environments)} environments: p95 {worst:.2f} s, wanted {limit:.0f} s;"
            f" worst edit of one action {slowest * 1000:.0f} ms, wanted 200 ms",
            flush=True,
        )
        checked, read = reference(base)
        result(f"prove-{count}-p95", worst * 1000, checked, read, " ms")
        result(f"prove-{count}-one-action", slowest * 1000, checked, read, " ms")


def reference(items: list[Rule]) -> tuple[float, float]:
    """Return the milliseconds in which the reference engine type-checks these policies, and in which it reads them.

    It does not compare sets. Type-checking is what it says of an edit, so it is the peer; nobody can judge what they
    have not read, so reading is the limit. Both are the best of five.
    """
    text, schema = policy_text(items), cedarpy.Schema.from_str(SCHEMA)
    checks, reads = [], []
    for _ in range(5):
        started = time.perf_counter()
        if not cedarpy.validate_policies(text, schema).validation_passed:
            raise SystemExit("the policies do not type-check")
        checks.append(time.perf_counter() - started)
        started = time.perf_counter()
        cedarpy.PolicySet.from_str(text)
        reads.append(time.perf_counter() - started)
    return min(checks) * 1000, min(reads) * 1000


if __name__ == "__main__":
    main()
