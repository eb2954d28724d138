"""Decisions a second by the compiled policies, beside the reference engine on cached handles.

All rates are of processor time, on one core. Limit: a Python function that looks one thing up and returns it. Every answer is compared with the reference's first.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import _authz_opa
import _authz_world as world
import cedarpy
from _support import result

from redoubt.authz.compiled import CompiledPolicies, Node, Question, Ref, question_of, reference, store_of
from redoubt.authz.compiled.check import RequestChecker
from redoubt.authz.compiled.extensions import ip
from redoubt.authz.models import AuthzRequest, Entity
from redoubt.authz.policyset import tree_of
from redoubt.authz.schema import read_schema

REQUESTS = 2000
ROLES = frozenset(Ref("Role", f"r{number}") for number in range(world.ROLES))
Ask = Callable[[Any], Any]


def measure(*, quick: bool, opa: Path | None = None) -> None:
    """Measure the three ways to a question, then ten thousand policies and ten thousand links."""
    passes = 8 if quick else 30
    engine = cedarpy.PolicySet.from_str(world.policies())
    policies, documents = CompiledPolicies(tree_of(engine)), world.requests(REQUESTS)
    store = store_of(Entity.from_json(item) for item in world.entities())
    questions = [_question(document, store) for document in documents]
    handle = cedarpy.Entities.from_json_str(json.dumps(world.entities()))
    _compare(policies, questions, engine, documents, handle)
    answers = [policies.decide(item) for item in questions]
    checker = RequestChecker(read_schema(world.SCHEMA))
    users = {row["id"]: row for row in map(world.user, range(world.USERS))}
    docs = {row["id"]: row for row in map(world.doc, range(world.DOCS))}

    def from_strings(document: dict[str, Any]) -> Any:
        question = _fast_question(document, store)
        checker.check(question)
        return policies.decide(question)

    def from_rows(document: dict[str, Any]) -> Any:
        person, paper = users[document["principal"]["id"]], docs[document["resource"]["id"]]
        slice_ = {
            reference("User", person["id"]): Node(
                {"team": person["team"], "suspended": person["suspended"]}, {}, ROLES
            ),
            reference("Doc", paper["id"]): Node(
                {
                    "owner": reference("User", paper["owner"]),
                    "name": paper["name"],
                    "labels": frozenset(paper["labels"]),
                    "size": paper["size"],
                },
                {},
                frozenset(),
            ),
        }
        return policies.decide(_fast_question(document, slice_))

    _same([from_strings(document) for document in documents], answers)
    _same([from_rows(document) for document in documents], answers)
    many, linked = _many_policies(), _many_links()
    found = rates(
        {
            "limit": (lambda question: store.get(question.principal), questions),
            "peer": (lambda document: cedarpy.is_authorized(document, engine, handle), documents),
            "built": (policies.decide, questions),
            "strings": (from_strings, documents),
            "rows": (from_rows, documents),
            "10000-policies": (many.decide, questions),
            "10000-links": (linked.decide, questions),
        },
        passes,
    )
    for way in ("built", "strings", "rows"):
        result(f"decide-{way}", found[way], found["peer"], found["limit"])
    print(f"decide-strings p99={percentile(from_strings, documents, passes):.1f} us")
    for name in ("10000-policies", "10000-links"):  # beside the 50
        result(f"decide-{name}", found[name], found["built"], found["limit"])
    if opa is None:
        print(_authz_opa.HOW)
        return
    others = _authz_opa.measure(opa, documents, answers, passes)
    print(f"OPA {others.version} decides these {len(documents):,} questions alike, by the same policies")
    result("decide-built-opa", found["built"], others.built, found["limit"])
    result("decide-strings-opa", found["strings"], others.values, found["limit"])


def rates(ways: Mapping[str, tuple[Ask, Sequence[Any]]], passes: int) -> dict[str, float]:
    """Return for each way its calls a second of processor time: the best of `passes` passes over all its questions.

    The ways take turns, so that other work on the machine meets all of them, and each has as many passes.
    """
    best = dict.fromkeys(ways, 0.0)
    for _ in range(passes):
        for name, (ask, questions) in ways.items():
            start = time.process_time()
            for question in questions:
                ask(question)
            best[name] = max(best[name], len(questions) / (time.process_time() - start))
    return best


def percentile(ask: Ask, questions: Sequence[Any], passes: int) -> float:
    """Return the 99th percentile of single calls in microseconds of processor time, of the best pass."""
    found = []
    for _ in range(passes):
        times = []
        for question in questions:
            start = time.process_time_ns()
            ask(question)
            times.append(time.process_time_ns() - start)
        found.append(sorted(times)[len(times) * 99 // 100] / 1000)
    return min(found)


def _question(document: dict[str, Any], store: Any) -> Question:
    return question_of(AuthzRequest.from_values({**document, "entities": []}), store)


def _fast_question(document: dict[str, Any], store: Any) -> Question:
    principal, action, resource = document["principal"], document["action"], document["resource"]
    context = document["context"]
    return Question(
        reference(principal["type"], principal["id"]),
        reference(action["type"], action["id"]),
        reference(resource["type"], resource["id"]),
        {"risk": context["risk"], "mfa": context["mfa"], "ip": ip(context["ip"]["__extn"]["arg"])},
        store,
    )


def _compare(policies: Any, questions: Any, engine: Any, documents: Any, handle: Any) -> None:
    for question, document in zip(questions, documents, strict=True):
        ours, theirs = policies.decide(question), cedarpy.is_authorized(document, engine, handle)
        expected = (theirs.decision is cedarpy.Decision.Allow, sorted(theirs.diagnostics.reasons))
        if (ours.allowed, list(ours.reasons)) != expected or ours.errors:
            raise SystemExit(f"{ours} instead of {expected}")


def _same(ours: Sequence[Any], expected: Sequence[Any]) -> None:
    if list(ours) != list(expected):
        raise SystemExit("the same requests are answered differently")


def _many_policies() -> CompiledPolicies:
    return CompiledPolicies(tree_of(cedarpy.PolicySet.from_str(world.policies(2000))))


def _many_links() -> CompiledPolicies:
    engine = cedarpy.PolicySet.from_str(world.policies() + world.TEMPLATE)
    (template,) = engine.to_pst().templates
    links = [
        {
            "template_id": template,
            "new_id": f"link{number}",
            "values": {
                "?principal": f'User::"u{number % world.USERS}"',
                "?resource": f'Doc::"d{number // world.USERS + 470}"',
            },
        }
        for number in range(10_000)
    ]
    return CompiledPolicies(tree_of(engine.with_linked_batch(links)))
