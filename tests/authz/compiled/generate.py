"""Random policy sets, stores and requests, as Cedar text, from a seed: what the compiler and its judge are both asked.

Expressions are mostly well typed, so that most have a value; now and then an operand is of any type.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

from attrs import frozen

USERS = [f'User::"u{n}"' for n in range(4)]
GROUPS = [f'Group::"g{n}"' for n in range(3)]
DOCS = [f'Doc::"d{n}"' for n in range(4)]
ACTIONS = ['Action::"read"', 'Action::"write"', 'Action::"all"']
LONGS = ["0", "1", "2", "-1", "7", "9223372036854775807", "-9223372036854775808", "3037000500"]
STRINGS = ['""', '"a"', '"abc"', '"a*c"', '"1.5"', '"10.0.0.1"']
DECIMALS = ["0.0", "1.5", "-1.5", "922337203685477.5807", "1.23456", "x"]
IPS = ["10.0.0.1", "10.0.0.0/8", "127.0.0.1", "224.0.0.1", "::1", "ff00::/8", "::/0", "10.0.0.1/33", "1.2.3"]
DATETIMES = [
    "1970-01-01",
    "1969-12-31T23:59:59.999Z",
    "2024-02-29T12:30:00Z",
    "2024-02-30",
    "0000-01-01",
    "2024-01-01T00:00:00+0130",
]
DURATIONS = ["0ms", "1d", "-1d2h", "9223372036854775807ms", "-9223372036854775808ms", "1h1d", "90s", ""]
PATTERNS = ['"*"', '"a*"', '"*c"', '"a*b*c"', '"a\\*c"', '""', '"abc"', '"*b*"']
ATTRS = {
    "Long": ["n", "m"],
    "String": ["s", "t"],
    "Bool": ["b"],
    "Set": ["list"],
    "Entity": ["owner"],
    "Record": ["rec"],
    "decimal": ["dec"],
    "ipaddr": ["addr"],
    "datetime": ["when_"],
    "duration": ["span"],
}
TYPES = list(ATTRS)


@frozen
class Made:
    """One random world: text, links `(template, id, values)`, entities and requests in JSON form."""

    text: str
    links: list[dict[str, Any]]
    entities: list[dict[str, Any]]
    requests: list[dict[str, Any]]


class Generator:
    """Writes one world from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311

    def world(self) -> Made:
        """Return two to five policies, one template with links, a store with gaps, and requests over it."""
        pick = self.random
        policies = [self._policy(f"p{number}") for number in range(pick.randint(2, 5))]
        template = (
            f'@id("t0") {pick.choice(["permit", "permit", "forbid"])} ('
            f"principal {pick.choice(['==', 'in'])} ?principal, action, "
            f"resource {pick.choice(['==', 'in', 'is Doc in'])} ?resource){self._clauses()};"
        )
        links = [
            {
                "template_id": "t0",
                "new_id": f"l{number}",
                "values": {
                    "?principal": pick.choice(USERS + GROUPS),
                    "?resource": pick.choice(DOCS + GROUPS),
                },
            }
            for number in range(pick.randint(0, 3))
        ]
        entities = [self._entity(uid) for uid in USERS + GROUPS + DOCS if pick.random() < 0.85]
        entities += [
            {"uid": _uid(uid), "attrs": {}, "parents": [_uid(ACTIONS[2])] if uid != ACTIONS[2] else []}
            for uid in ACTIONS
        ]
        requests = [
            {
                "principal": _uid(pick.choice(USERS)),
                "action": _uid(pick.choice(ACTIONS[:2])),
                "resource": _uid(pick.choice(DOCS)),
                "context": self._attrs(),
            }
            for _ in range(6)
        ]
        return Made("\n".join([*policies, template]), links, entities, requests)

    def _entity(self, uid: str) -> dict[str, Any]:
        pick = self.random
        # Parents go to groups of a higher number only, so there is no cycle.
        above = GROUPS[int(uid[-2]) + 1 :] if uid in GROUPS else GROUPS
        parents = [_uid(group) for group in above if pick.random() < 0.35]
        tags = {name: self._data("Long") for name in ("a", "abc") if pick.random() < 0.6}
        return {"uid": _uid(uid), "attrs": self._attrs(), "parents": parents, "tags": tags}

    def _attrs(self) -> dict[str, Any]:
        return {
            name: self._data(kind)
            for kind, names in ATTRS.items()
            for name in names
            if self.random.random() < 0.85
        }

    def _data(self, kind: str, depth: int = 0) -> Any:
        pick = self.random
        match kind:
            case "Long":
                return int(pick.choice(LONGS))
            case "String":
                return json.loads(pick.choice(STRINGS))
            case "Bool":
                return pick.random() < 0.5
            case "Entity":
                return {"__entity": _uid(pick.choice(USERS + GROUPS + DOCS))}
            case "Record":
                return {"n": self._data("Long"), "b": self._data("Bool")} if pick.random() < 0.8 else {}
            case "Set":
                kinds = ["Long", "String", "Bool", "Entity", "Record"]
                return [self._data(pick.choice(kinds), depth + 1) for _ in range(pick.randint(0, 3))]
            case _:
                good = {"decimal": DECIMALS[:4], "ipaddr": IPS[:7], "datetime": DATETIMES[:3]}
                text = pick.choice(good.get(kind, DURATIONS[:5]))
                return {"__extn": {"fn": "ip" if kind == "ipaddr" else kind, "arg": text}}

    def _policy(self, name: str) -> str:
        pick = self.random
        effect = pick.choice(["permit", "permit", "permit", "forbid", "forbid"])
        scope = f"{self._scope('principal', USERS, 'User')}, {self._action()}, {self._scope('resource', DOCS, 'Doc')}"
        return f'@id("{name}") {effect} ({scope}){self._clauses()};'

    def _clauses(self) -> str:
        words = [self._word("when", "unless") for _ in range(self.random.choice([0, 1, 1, 2]))]
        return "".join(f" {word} {{ {self.bool(3)} }}" for word in words)

    def _scope(self, variable: str, uids: list[str], kind: str) -> str:
        pick = self.random
        return pick.choice(
            [
                variable,
                variable,
                variable,
                variable,
                f"{variable} == {pick.choice(uids)}",
                f"{variable} in {pick.choice(GROUPS)}",
                f"{variable} is {pick.choice([kind, kind, 'Group'])}",
                f"{variable} is {pick.choice([kind, kind, 'Group'])} in {pick.choice(GROUPS)}",
            ]
        )

    def _action(self) -> str:
        pick = self.random
        some = pick.sample(ACTIONS, 2)
        return pick.choice(
            [
                "action",
                "action",
                f"action == {some[0]}",
                f"action in {some[0]}",
                f"action in [{', '.join(some)}]",
            ]
        )

    def _word(self, *words: str) -> str:
        return self.random.choice(words)

    def expression(self, kind: str, depth: int) -> str:
        """Return an expression that is mostly of the type `kind`."""
        if self.random.random() < 0.03:
            kind = self.random.choice(TYPES)
        if kind == "Bool":
            return self.bool(depth)
        if depth <= 0 or self.random.random() < 0.3:
            return self._leaf(kind)
        return self._made(kind, depth - 1)

    def _leaf(self, kind: str) -> str:
        pick = self.random
        if pick.random() < 0.5:
            base = pick.choice(["principal", "resource", "context", "context"])
            return f"{base}.{pick.choice(ATTRS[kind])}"
        match kind:
            case "Long":
                return f"({pick.choice(LONGS)})"
            case "String":
                return pick.choice(STRINGS)
            case "Entity":
                return pick.choice(["principal", "resource", "action", pick.choice(USERS + GROUPS)])
            case "Set":
                return self._set(0)
            case "Record":
                return self._record(0)
            case _:
                texts = {"decimal": DECIMALS, "ipaddr": IPS, "datetime": DATETIMES, "duration": DURATIONS}
                return f'{self._word("ip" if kind == "ipaddr" else kind)}("{self._mostly(texts[kind])}")'

    def _mostly(self, texts: list[str]) -> str:
        return self.random.choice(texts if self.random.random() < 0.2 else texts[:3])

    def _set(self, depth: int) -> str:
        pick = self.random
        kind = pick.choice(["Long", "String", "Entity", "Record"])
        return f"[{', '.join(self.expression(kind, depth) for _ in range(pick.randint(1, 3)))}]"

    def _record(self, depth: int) -> str:
        return f'{{n: {self.expression("Long", depth)}, "b": {self.expression("Bool", depth)}}}'

    def _made(self, kind: str, depth: int) -> str:
        of, pick = self.expression, self.random
        if pick.random() < 0.15:
            return f"(if {of('Bool', depth)} then {of(kind, depth)} else {of(kind, depth)})"
        match kind:
            case "Long":
                if pick.random() < 0.35:
                    method = self._word("toMilliseconds", "toSeconds", "toMinutes", "toHours", "toDays")
                    return f"{of('duration', depth)}.{method}()"
                if pick.random() < 0.25:
                    return f"(-{of('Long', depth)})"
                if pick.random() < 0.2:
                    return f"{of('Entity', depth)}.getTag({of('String', depth)})"
                return f"({of('Long', depth)} {self._word('+', '-', '*')} {of('Long', depth)})"
            case "Set":
                return self._set(depth)
            case "Record":
                return self._record(depth)
            case "datetime":
                if pick.random() < 0.5:
                    return f"{of('datetime', depth)}.{self._word('toDate')}()"
                return f"{of('datetime', depth)}.{self._word('offset')}({of('duration', depth)})"
            case "duration":
                if pick.random() < 0.5:
                    return f"{of('datetime', depth)}.{self._word('toTime')}()"
                return f"{of('datetime', depth)}.{self._word('durationSince')}({of('datetime', depth)})"
            case _:
                return self._leaf(kind)

    def bool(self, depth: int) -> str:
        """Return an expression that is mostly a Bool."""
        of, pick = self.expression, self.random
        if depth <= 0:
            return pick.choice(["true", "false", "context.b", "principal.b"])
        depth -= 1
        match self._word(
            "&&",
            "||",
            "!",
            "==",
            "!=",
            "<",
            "<",
            "in",
            "has",
            "like",
            "is",
            "contains",
            "ip",
            "decimal",
            "tag",
        ):
            case "&&" | "||" as word:
                return f"({self.bool(depth)} {word} {self.bool(depth)})"
            case "!":
                return f"(!{self.bool(depth)})"
            case "==" | "!=" as word:
                kind = pick.choice(TYPES)
                return f"({of(kind, depth)} {word} {of(kind, depth)})"
            case "<":
                kind = pick.choice(["Long", "Long", "Long", "datetime", "duration"])
                return f"({of(kind, depth)} {self._word('<', '<=', '>', '>=')} {of(kind, depth)})"
            case "in":
                many = f"[{of('Entity', depth)}, {pick.choice(GROUPS)}]"
                return f"({of('Entity', depth)} in {pick.choice([of('Entity', depth), many])})"
            case "has":
                base = pick.choice(["principal", "resource", "context", "principal.owner"])
                return f"({base} has {pick.choice(['n', 's', 'zz', 'rec.n', 'rec.zz', 'owner.n', 'n.n'])})"
            case "like":
                return f"({of('String', depth)} like {pick.choice(PATTERNS)})"
            case "is":
                tail = pick.choice(["", f" in {pick.choice(GROUPS)}"])
                return f"({of('Entity', depth)} is {pick.choice(['User', 'Group', 'Doc'])}{tail})"
            case "contains":
                if pick.random() < 0.3:
                    return f"{of('Set', depth)}.{self._word('isEmpty')}()"
                method = self._word("contains", "containsAll", "containsAny")
                kind = pick.choice(TYPES) if method == "contains" else "Set"
                return f"{of('Set', depth)}.{method}({of(kind, depth)})"
            case "ip":
                if pick.random() < 0.3:
                    return f"{of('ipaddr', depth)}.{self._word('isInRange')}({of('ipaddr', depth)})"
                method = self._word("isIpv4", "isIpv6", "isLoopback", "isMulticast")
                return f"{of('ipaddr', depth)}.{method}()"
            case "decimal":
                method = self._word("lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual")
                return f"{of('decimal', depth)}.{method}({of('decimal', depth)})"
            case _:
                return f"({of('Entity', depth)}.{self._word('hasTag')}({of('String', depth)}))"


def _uid(text: str) -> dict[str, str]:
    kind, _, name = text.partition("::")
    return {"type": kind, "id": name.strip('"')}
