"""A small world in tables, and the same rows as entities; random policies over it that cedarpy judges.

Cases come from a seeded generator, so that a difference can be found again by its number.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import cedarpy
import sqlalchemy as sa

from redoubt.authz.filter import (
    Child,
    EntityTable,
    Known,
    Link,
    Mapping,
    Nested,
    Parent,
    Reference,
    Tags,
    Value,
)
from redoubt.authz.models import Entity, EntityUid, action_uid
from redoubt.authz.policyset import PolicySet, unchecked

metadata = sa.MetaData()
folders = sa.Table(
    "f_folders",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("parent", sa.String),
    sa.Column("owner", sa.String),
    sa.Column("level", sa.BigInteger),
)
docs = sa.Table(
    "f_docs",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("title", sa.String),
    sa.Column("size", sa.BigInteger),
    sa.Column("score", sa.BigInteger, nullable=False),
    sa.Column("open", sa.Boolean),
    sa.Column("owner", sa.String),
    sa.Column("folder", sa.String),
    sa.Column("city", sa.String),
)
readers = sa.Table("f_readers", metadata, sa.Column("doc", sa.String), sa.Column("user", sa.String))
words = sa.Table("f_words", metadata, sa.Column("doc", sa.String), sa.Column("word", sa.String))
doc_tags = sa.Table(
    "f_tags",
    metadata,
    sa.Column("doc", sa.String),
    sa.Column("key", sa.String),
    sa.Column("value", sa.String),
)
doc_teams = sa.Table("f_teams", metadata, sa.Column("doc", sa.String), sa.Column("team", sa.String))

MAPPING = Mapping(
    EntityTable(
        "Doc",
        docs.c.id,
        {
            "title": Value(docs.c.title, "String"),
            "size": Value(docs.c.size, "Long"),
            "score": Value(docs.c.score, "Long"),
            "open": Value(docs.c.open, "Bool"),
            "owner": Reference(docs.c.owner, "User"),
            "folder": Reference(docs.c.folder, "Folder"),
            "readers": Child(readers.c.doc, readers.c.user, "Entity", "User"),
            "words": Child(words.c.doc, words.c.word, "String"),
            "place": Nested({"city": Value(docs.c.city, "String")}),
        },
        (Parent(docs.c.folder, "Folder"), Link(doc_teams.c.doc, doc_teams.c.team, "Team")),
        Tags(doc_tags.c.doc, doc_tags.c.key, doc_tags.c.value, "String"),
    ),
    EntityTable(
        "Folder",
        folders.c.id,
        {"owner": Reference(folders.c.owner, "User"), "level": Value(folders.c.level, "Long")},
        (Parent(folders.c.parent, "Folder"),),
    ),
)

TEXTS = ("", "a", "A", "ab", "a*b", "a%b", "a_b", "x?[", "\\", "ä", "100%", "a\nb")
LONGS = (-(2**63), -(2**63) + 1, -5, -1, 0, 1, 2, 7, 2**62, 2**63 - 1)
USERS, FOLDERS, TEAMS = ("u1", "u2", "u3"), ("f1", "f2", "f3", "f4", "gone"), ("t1", "t2")
ACTIONS = ("read", "share")
KINDS = ("is Doc", "is Folder", 'is Doc in Folder::"f1"')
PATTERNS = ('"*"', '"a*"', '"*b"', '"a\\**"', '"*%*"', '"a_b"', '"*[*"', '"A*"', '"x?*"', '"\\\\"', '"a*b*b"')
GROUPS = EntityUid("Action", "any")


def rows(rng: random.Random, count: int) -> dict[sa.Table, list[dict[str, Any]]]:
    """Return rows of every table: half of what may be NULL is."""

    def maybe(values: Any) -> Any:
        return rng.choice(values) if rng.random() < 0.65 else None

    made: dict[sa.Table, list[dict[str, Any]]] = {table: [] for table in metadata.sorted_tables}
    for place, name in enumerate(FOLDERS[:4]):
        parent = FOLDERS[rng.randrange(place)] if place and rng.random() < 0.8 else None
        made[folders].append({"id": name, "parent": parent, "owner": maybe(USERS), "level": maybe(LONGS)})
    for number in range(count):
        name = f"d{number}"
        made[docs].append(
            {
                "id": name, "title": maybe(TEXTS), "size": maybe(LONGS), "score": rng.choice(LONGS),
                "open": maybe((True, False)), "owner": maybe(USERS), "folder": maybe(FOLDERS), "city": maybe(TEXTS),
            }
        )  # fmt: skip
        made[readers] += [{"doc": name, "user": user} for user in USERS if rng.random() < 0.3]
        made[words] += [{"doc": name, "word": word} for word in TEXTS[1:5] if rng.random() < 0.3]
        made[doc_tags] += [
            {"doc": name, "key": key, "value": rng.choice(TEXTS)} for key in ("k", "l") if rng.random() < 0.5
        ]
        made[doc_teams] += [{"doc": name, "team": team} for team in TEAMS if rng.random() < 0.3]
    return made


def fill(conn: sa.Connection, made: dict[sa.Table, list[dict[str, Any]]]) -> None:
    """Put these rows into the tables, and no others."""
    for table in metadata.sorted_tables:
        conn.execute(table.delete())
        if made[table]:
            conn.execute(table.insert(), made[table])


def entities(made: dict[sa.Table, list[dict[str, Any]]]) -> list[Entity]:
    """Return the rows as entities: NULL is an absent attribute."""
    found = []
    for row in made[folders]:
        attrs = _present(owner=_uid("User", row["owner"]), level=row["level"])
        found.append(Entity("Folder", row["id"], attrs, _some(_uid("Folder", row["parent"]))))
    for row in made[docs]:
        name = row["id"]
        attrs = _present(
            title=row["title"], size=row["size"], score=row["score"], open=row["open"],
            owner=_uid("User", row["owner"]), folder=_uid("Folder", row["folder"]),
            readers=[EntityUid("User", item["user"]) for item in made[readers] if item["doc"] == name],
            words=[item["word"] for item in made[words] if item["doc"] == name],
            place=_present(city=row["city"]),
        )  # fmt: skip
        teams = [EntityUid("Team", item["team"]) for item in made[doc_teams] if item["doc"] == name]
        tags = {item["key"]: item["value"] for item in made[doc_tags] if item["doc"] == name}
        found.append(Entity("Doc", name, attrs, (*_some(_uid("Folder", row["folder"])), *teams), tags))
    return found


def known(rng: random.Random) -> Known:
    """Return a question about all documents."""
    attrs = {"level": rng.choice(LONGS), "name": rng.choice(TEXTS), "staff": rng.random() < 0.5}
    attrs["friends"] = [EntityUid("User", user) for user in USERS if rng.random() < 0.5]
    if rng.random() < 0.5:
        attrs["home"] = EntityUid("Folder", rng.choice(FOLDERS))
    for name in rng.sample(sorted(attrs), rng.choice((0, 0, 1, 2))):
        del attrs[name]
    parents = [EntityUid("Role", role) for role in ("r1", "r2") if rng.random() < 0.5]
    user = Entity("User", rng.choice(USERS), attrs, parents)
    actions = [Entity("Action", name, {}, (GROUPS,)) for name in ACTIONS] + [Entity("Action", "any")]
    context = {"risk": rng.choice(LONGS), "fresh": rng.random() < 0.5, "word": rng.choice(TEXTS)}
    for name in rng.sample(sorted(context), rng.choice((0, 0, 1))):
        del context[name]
    return Known(user.uid, action_uid(rng.choice(ACTIONS)), context, (user, *actions))


def handle(items: Sequence[Entity]) -> Any:
    """Return entities as cedarpy's handle, to which those of a question are added."""
    return cedarpy.Entities.from_json_str(_json(items))


def allowed(policies: PolicySet, question: Known, world: list[Entity], rows_: Any = None) -> set[str]:
    """Return the ids of the documents that cedarpy allows, decided one by one; `rows_` is the `handle` of `world`."""
    store = (rows_ or handle(world)).with_added_json_str(_json(question.entities))
    docs_ = [item.uid for item in world if item.type == "Doc"]
    asked = [
        {
            "principal": question.principal.to_json(),
            "action": question.action.to_json(),
            "resource": uid.to_json(),
            "context": dict(question.context),
            "correlation_id": uid.id,
        }
        for uid in docs_
    ]
    answers = cedarpy.is_authorized_batch(asked, policies.engine, store)
    return {
        uid.id
        for uid, answer in zip(docs_, answers, strict=True)
        if answer.decision is cedarpy.Decision.Allow
    }


def policy_set(texts: list[str]) -> PolicySet:
    """Return policies without a schema, so that ill-typed conditions are tried as well."""
    found = json.loads(cedarpy.policies_to_json_str("\n".join(texts)))["staticPolicies"]
    return unchecked({f"p{number}": found[f"policy{number}"] for number in range(len(texts))}, None)


def random_policies(rng: random.Random) -> list[str]:
    """Return one to four policies, forbids among them."""
    return [_policy(rng) for _ in range(rng.choice((1, 1, 2, 3, 4)))]


def _policy(rng: random.Random) -> str:
    effect = "permit" if rng.random() < 0.7 else "forbid"
    principal = rng.choice(
        ("principal", "principal", "principal is User", 'principal in Role::"r1"', 'principal == User::"u1"')
    )
    action = rng.choice(("action", 'action == Action::"read"', 'action in [Action::"any"]'))
    resource = rng.choice(
        ("resource", "resource", "resource is Doc", 'resource in Folder::"f1"', 'resource in Team::"t1"',
         'resource == Doc::"d1"', 'resource is Doc in Folder::"f2"', "resource is Folder")
    )  # fmt: skip
    clauses = "".join(
        f" {rng.choice(('when', 'when', 'unless'))} {{ {boolean(rng, 3)} }}"
        for _ in range(rng.choice((0, 1, 1, 2)))
    )
    return f"{effect} ({principal}, {action}, {resource}){clauses};"


def boolean(rng: random.Random, depth: int) -> str:
    """Return a boolean expression; one in forty is of another type, and so an error."""
    if rng.random() < 0.025:
        return f"({rng.choice((long, text, entity))(rng, 1)})"
    if depth > 0 and rng.random() < 0.55:
        a, b, c = (boolean(rng, depth - 1) for _ in range(3))
        return rng.choice(
            (f"({a} && {b})", f"({a} || {b})", f"!({a})", f"(if {a} then {b} else {c})", f"(({a}) == ({b}))")
        )
    order = rng.choice(("<", "<=", ">", ">=", "==", "!="))
    choices = (
        lambda: f"({long(rng, 2)} {order} {long(rng, 2)})",
        lambda: f"({long(rng, 2)} {order} {long(rng, 2)})",
        lambda: f"({text(rng, 1)} {rng.choice(('==', '!='))} {text(rng, 1)})",
        lambda: f"({entity(rng, 1)} {rng.choice(('==', '!=', 'in'))} {entity(rng, 1)})",
        lambda: f"({entity(rng, 1)} in [{entity(rng, 1)}, {entity(rng, 1)}])",
        lambda: f"(resource {rng.choice(KINDS)})",
        lambda: f"(resource has {rng.choice(('title', 'size', 'owner', 'open', 'readers', 'place.city', 'folder.level'))})",
        lambda: f"(principal has {rng.choice(('level', 'home', 'staff', 'home.level'))})",
        lambda: f"({text(rng, 1)} like {rng.choice(PATTERNS)})",
        lambda: f"({users(rng)}.contains({entity(rng, 1)}))",
        lambda: f"({users(rng)}.{rng.choice(('containsAll', 'containsAny'))}({users(rng)}))",
        lambda: f"({users(rng)}.isEmpty())",
        lambda: f"(resource.words.contains({text(rng, 1)}))",
        lambda: f'(["a", "ab", resource.title].contains({text(rng, 1)}))',
        lambda: f"([1, {long(rng, 1)}].contains({long(rng, 1)}))",
        lambda: f"(resource.words.{rng.choice(('containsAll', 'containsAny'))}([{text(rng, 1)}, resource.title]))",
        lambda: f"(resource.words == [{text(rng, 1)}, resource.title])",
        lambda: f"({entity(rng, 0)} in {users(rng)})",
        lambda: rng.choice(('resource.hasTag("k")', 'resource.hasTag("l")')),
        lambda: rng.choice(("resource.open", "principal.staff", "context.fresh", "true", "false")),
        lambda: rng.choice(('ip("10.0.0.1").isInRange(ip("10.0.0.0/8"))', 'decimal("1.0") == decimal("1.00")', 'ip("x").isIpv4()')),
        lambda: f"({long(rng, 1)} == {text(rng, 1)})",
    )  # fmt: skip
    return rng.choice(choices)()


def long(rng: random.Random, depth: int) -> str:
    """Return a number: a column's, a known one, or a sum that may overflow."""
    if depth > 0 and rng.random() < 0.35:
        a, b = long(rng, depth - 1), long(rng, depth - 1)
        return rng.choice(
            (
                f"({a} + {b})",
                f"({a} - {b})",
                f"({a} * {b})",
                f"(-({a}))",
                f"(if {boolean(rng, 0)} then {a} else {b})",
            )
        )
    literal = str(rng.choice(LONGS))
    return rng.choice(("resource.size", "resource.size", "resource.score", "resource.folder.level", "principal.level", "context.risk", literal, "2"))  # fmt: skip


def text(rng: random.Random, depth: int) -> str:
    """Return a text."""
    literal = '"' + rng.choice(TEXTS).replace("\\", "\\\\").replace("\n", "\\n") + '"'
    return rng.choice(("resource.title", "resource.title", "resource.place.city", "principal.name", "context.word", 'resource.getTag("k")', literal))  # fmt: skip


def entity(rng: random.Random, depth: int) -> str:
    """Return an entity."""
    return rng.choice(
        ("principal", "resource.owner", "resource.owner", "resource.folder.owner", 'User::"u1"', "resource",
         'Folder::"f1"', 'Folder::"gone"', "principal.home", 'Role::"r1"', "principal.home.owner", 'Doc::"d2"')
        if depth else ("principal", "resource.owner", 'User::"u2"')
    )  # fmt: skip


def users(rng: random.Random) -> str:
    """Return a set of users."""
    return rng.choice(("resource.readers", "resource.readers", "principal.friends", '[User::"u1"]', "[principal, resource.owner]"))  # fmt: skip


def _json(items: Sequence[Entity]) -> str:
    return json.dumps([item.to_json() for item in items])


def _present(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _uid(kind: str, name: str | None) -> EntityUid | None:
    return None if name is None else EntityUid(kind, name)


def _some(uid: EntityUid | None) -> tuple[EntityUid, ...]:
    return () if uid is None else (uid,)
