"""Declared grants: which grant inputs the reviewed schema lets whom write, by `@grant("by ACTION, …")`.

An annotation on an entity type covers its edges, attributes and tags; one on an attribute covers that attribute. What is
declared nowhere is gated: no action of the app may write it. The review of the action's policy is then the review of the
write; `gate.elevation` proves that nobody elevates themselves by it. Two sources are no actions: `sign-up`, the role that
whoever registers gets, and `request`, what is computed for each request and stored nowhere.

What no proof can see stands behind the action as the app's promise, for the second person to judge: `ACTION (new)` writes
only of entities that did not exist before, `ACTION (approved)` lets each write wait for a second person who does not gain.
The library's own `Enrolment.create` on the app does no more than both.
"""

from __future__ import annotations

import re
from functools import lru_cache

from attrs import field, frozen

from ..access import APP_TYPE
from ..errors import AuthzError
from ..policyset import PolicySet
from ..prove.rules import invariant_ids, outside, outside_problems
from ..schema import Schema, SchemaError, read_schema
from .inputs import Input, grant_inputs

ANNOTATION = "grant"
SOURCES = frozenset({"sign-up", "request"})
PROMISES = ("new", "approved")
_PROMISE = re.compile(rf"(.+) \(({'|'.join(PROMISES)})\)")
_OWN = "Enrolment.create"
_FORM = re.compile(r"by ([^,]+(?:, ?[^,]+)*)")


class GatedWrite(AuthzError):
    """A write to a grant input that the reviewed schema grants to no such action."""

    code = "grant-gated"


@frozen
class Declared:
    """A grant input with the actions or sources that may write it; with none it is gated.

    `promised` are those of them of which the app, or the library, promises that they give their doer nothing.
    """

    input: Input
    by: tuple[str, ...]
    promised: frozenset[str] = frozenset()


@frozen
class _Addressed:
    """A set by its content's address: equal ones declare the same."""

    version: str
    policies: PolicySet = field(eq=False)


def declared_grants(policies: PolicySet) -> list[Declared]:
    """Return every grant input of a checked set with who may write it; raises SchemaError."""
    return [*_declared(_Addressed(policies.version, policies))]


# Each enrolment asks about the running set, and an answer takes a look into all environments of its schema.
@lru_cache(maxsize=4)
def _declared(addressed: _Addressed) -> tuple[Declared, ...]:
    policies = addressed.policies
    schema = read_schema(policies.schema_text)
    found = []
    for item in grant_inputs(policies):
        by = _by(schema, item)
        judged = _judged(schema, by)
        bare = dict.fromkeys(_bare(schema, name) for name in by)
        found.append(Declared(item, tuple(bare), frozenset(bare) - judged))
    return tuple(found)


def problems(policies: PolicySet) -> list[str]:
    """Return what is wrong with the schema's @grant and @outside: another form, or an action or rule that is not there."""
    schema = read_schema(policies.schema_text)
    actions = {uid.id for uid in schema.actions} | SOURCES
    found = []
    for where, text in sorted(grants_of(schema).items()):
        names = _names(text)
        if not names:
            found.append(f'{where}: @grant("{text}") is not of the form "by ACTION, ACTION"')
        found += [
            f"{where}: @grant names {name!r}, which is no action"
            for name in names
            if _bare(schema, name) not in actions
        ]
    return found + outside_problems(schema)


def grants_of(schema: Schema) -> dict[str, str]:
    """Return every @grant of a schema by the type or attribute that it stands on."""
    found: dict[str, str] = {}
    for name, entity in schema.entities.items():
        if ANNOTATION in entity.annotations:
            found[name] = entity.annotations[ANNOTATION]
        for attr, item in entity.shape.attributes.items():
            if ANNOTATION in item.annotations:
                found[f"{name}.{attr}"] = item.annotations[ANNOTATION]
    return found


def regranted(old: PolicySet, new: PolicySet) -> list[str]:
    """Return where a change of schema alters who may write grant inputs: no proof about policies covers that."""
    try:
        before, after = (grants_of(read_schema(item.schema_text)) for item in (old, new))
    except SchemaError as error:
        return [str(error)]
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def altered_invariants(old: PolicySet, new: PolicySet) -> list[str]:
    """Return which invariants a change takes away, rewrites or lets an action go beyond: no proof covers what should hold."""
    found = {name for name in invariant_ids(old) if old.texts.get(name) != new.texts.get(name)}
    try:
        before, after = (
            {uid.id: outside(action) for uid, action in read_schema(item.schema_text).actions.items()}
            for item in (old, new)
        )
    except SchemaError as error:
        return [str(error)]
    found |= {f"{name} (@outside)" for name in after if after[name] - before.get(name, frozenset())}
    return sorted(found)


def demand_grant(policies: PolicySet, kind: str, of: str, name: str, by: str) -> None:
    """Raise GatedWrite unless the schema grants writes of this input to the action or source `by`.

    What no policy reads is no grant input, and any write of it passes.
    """
    for item in declared_grants(policies):
        if (item.input.kind, item.input.of, item.input.name) == (kind, of, name) and by not in item.by:
            raise GatedWrite(
                f"{kind} {of} → {name} is read by policies, and the schema grants its change to no {by!r}.",
                hint=f'Propose a schema with @grant("by {by}") on {of}: a second person reviews it.',
            )


def _by(schema: Schema, item: Input) -> tuple[str, ...]:
    notes = grants_of(schema)
    on_type = _names(notes.get(item.of, ""))
    if item.kind != "attribute":
        return on_type
    return tuple(dict.fromkeys((*_names(notes.get(f"{item.of}.{item.name.split('.')[0]}", "")), *on_type)))


def judged_names(schema: Schema) -> set[str]:
    """Return the actions that some @grant names without a promise that a write of theirs gives its doer nothing."""
    return {name for text in grants_of(schema).values() for name in _judged(schema, _names(text))}


def _judged(schema: Schema, names: tuple[str, ...]) -> set[str]:
    return {name for name in names if _bare(schema, name) == name and not _own(schema, name)}


def _bare(schema: Schema, name: str) -> str:
    """Return the name without its promise; an action that is called so keeps it."""
    match = _PROMISE.fullmatch(name)
    return name if match is None or any(uid.id == name for uid in schema.actions) else match[1]


def _own(schema: Schema, name: str) -> bool:
    """Say whether this is a source, or the library's own action on the app: an action of one's own is judged."""
    named = [item for uid, item in schema.actions.items() if uid.id == name]
    return (
        not named if name in SOURCES else name == _OWN and all(item.resources <= {APP_TYPE} for item in named)
    )


def _names(text: str) -> tuple[str, ...]:
    match = _FORM.fullmatch(text)
    return () if match is None else tuple(name.strip() for name in match[1].split(","))
