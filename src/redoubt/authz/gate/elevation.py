"""Self-elevation is refused: whoever is permitted an action that the schema grants inputs to gains nothing by it.

Which writes are judged says `@grant`: for each action all inputs that it may write, together. What is not proven in time
counts as self-elevation. `redoubt.authz.prove.elevation` holds the proposition. A proof is kept by the content address of
the set that it is about: for the life of the process here, under a seal beside the stored version in `authz.proofs`.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterator

from ..models import AuthzRequest, EntityUid
from ..policyset import PolicySet
from ..prove.writes import Elevation, Inputs, Write
from ..schema import Schema, read_schema
from .grants import ANNOTATION, declared_grants, judged_names
from .refusals import Refusal, request_lines

BUDGET = 60.0
"""Seconds that the proof about one set may take."""
RULE = "self-elevation"
_KEPT = 64
_proven: OrderedDict[str, None] = OrderedDict()


def judged_writes(policies: PolicySet) -> list[Write]:
    """Return the actions whose writes a proof must judge, with all inputs that each may write; raises SchemaError.

    None are left where nothing is granted to an action, or only to such as are promised to give their doer nothing.
    """
    if f"@{ANNOTATION}" not in policies.schema_text:
        return []
    schema = read_schema(policies.schema_text)
    if not judged_names(schema):
        return []
    found: dict[EntityUid, dict[str, dict[str, set[str]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(set))
    )
    for item in declared_grants(policies):
        name = item.input.name.split(".")[0] if item.input.kind == "attribute" else item.input.name
        for action in {uid for by in item.by if by not in item.promised for uid in _named(schema, by)}:
            found[action][item.input.of][item.input.kind].add(name)
    return [
        Write(
            action,
            {
                of: Inputs(frozenset(kinds["attribute"]), frozenset(kinds["tag"]), frozenset(kinds["edge"]))
                for of, kinds in sorted(inputs.items())
            },
        )
        for action, inputs in sorted(found.items(), key=lambda pair: str(pair[0]))
    ]


def _named(schema: Schema, name: str) -> Iterator[EntityUid]:
    """Yield the actions of this name, and those in a group of this name."""
    for uid in schema.actions:
        if name == uid.id or any(group.id == name for group in schema.action_ancestors(uid)):
            yield uid


def elevation_refusals(policies: PolicySet, *, budget_seconds: float = BUDGET) -> list[Refusal]:
    """Return why a checked set is refused for self-elevation, an action and kind of principal at a time; empty: proven.

    Blocks for about `budget_seconds` at most. Raises SchemaError.
    """
    if policies.version in _proven:
        return []
    writes = judged_writes(policies)
    if not writes:
        return []
    try:
        from ..prove.elevation import elevations

        found = elevations(policies, read_schema(policies.schema_text), writes, budget_seconds)
    except ImportError as error:
        why = f"nothing can be proven without the extra 'prove': {error}"
        found = [Elevation(write, "any principal", why) for write in writes]
    except Exception as error:  # whatever breaks in a prover, nothing is proven
        found = [
            Elevation(write, "any principal", f"the prover failed: {type(error).__name__}")
            for write in writes
        ]
    if not found:
        _proven[policies.version] = None
        while len(_proven) > _KEPT:
            _proven.popitem(last=False)
    return [_refusal(item) for item in found]


def _refusal(found: Elevation) -> Refusal:
    where = f"{found.principal} · {found.write.action.id}"
    what = ", ".join(_inputs(found.write))
    witness = found.witness
    if witness is None:
        message = f"it is not proven that nobody elevates themselves by writing {what}: {found.reason}"
        return Refusal(RULE, where, message)
    message = f"whoever is permitted this may write {what}, and so give themselves what was denied to them"
    lines = [
        f"for example {witness.permitted.principal} may {witness.permitted.action}"
        f" on {witness.permitted.resource}, and writes it so:",
        *request_lines(_only(witness.after, {item.uid for item in witness.written}), first=False),
        "then this is allowed, which was denied:",
        *request_lines(witness.gained),
    ]
    values = {
        "permitted": witness.permitted.values(),
        "denied": witness.gained.values(),
        "allowed": witness.after.values(),
    }
    return Refusal(RULE, where, message, tuple(lines), values)


def _only(request: AuthzRequest, wanted: set[EntityUid]) -> AuthzRequest:
    entities = tuple(item for item in request.entities if item.uid in wanted)
    return AuthzRequest(request.principal, request.action, request.resource, request.context, entities)


def _inputs(write: Write) -> Iterator[str]:
    for of, inputs in write.inputs.items():
        yield from (f"{of}.{name}" for name in sorted(inputs.attributes))
        yield from (f"{of} tag {name}" for name in sorted(inputs.tags))
        yield from (f"{of} in {name}" for name in sorted(inputs.edges))
