"""Decisions a second by the compiled policies, beside the reference engine on cached handles.

All rates are of processor time, on one core. Limit: a Python function that looks one thing up and returns it. Every answer is compared with the reference's first.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import _authz_opa
import _authz_world as world
import cedarpy
from _support import result

from redoubt.authz.compiled import Answer, CompiledPolicies, Node, Question, Ref, question_of, store_of
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
    seconds = 1.5 if quick else 6.0
    engine = cedarpy.PolicySet.from_str(world.policies())
    policies, documents = CompiledPolicies(tree_of(engine)), world.requests(REQUESTS)
    store = store_of(Entity.from_json(item) for item in world.entities())
    questions = [_question(document, store) for document in documents]
    handle = cedarpy.Entities.from_json_str(json.dumps(world.entities()))
    _compare(policies, questions, engine, documents, handle)
    limit = rate(lambda question: store.get(question.principal), questions, seconds)
    peer = rate(lambda document: cedarpy.is_authorized(document, engine, handle), documents, seconds)

    built = rate(policies.decide, questions, seconds)
    result("decide-built", built, peer, limit)
    others = _asked_of_opa(opa, documents, [policies.decide(item) for item in questions], seconds)
    if others is not None:
        result("decide-built-opa", built, others.built, limit)
    checker = RequestChecker(read_schema(world.SCHEMA))

    def from_strings(document: dict[str, Any]) -> Any:
        question = _fast_question(document, store)
        checker.check(question)
        return policies.decide(question)

    _same([from_strings(document) for document in documents], [policies.decide(item) for item in questions])
    strings = rate(from_strings, documents, seconds)
    result("decide-strings", strings, peer, limit)
    if others is not None:
        result("decide-strings-opa", strings, others.values, limit)
    print(f"decide-strings p99={percentile(from_strings, documents):.1f} us")
    users = {row["id"]: row for row in map(world.user, range(world.USERS))}
    docs = {row["id"]: row for row in map(world.doc, range(world.DOCS))}

    def from_rows(document: dict[str, Any]) -> Any:
        person, paper = users[document["principal"]["id"]], docs[document["resource"]["id"]]
        slice_ = {
            Ref("User", person["id"]): Node(
                {"team": person["team"], "suspended": person["suspended"]}, {}, ROLES
            ),
            Ref("Doc", paper["id"]): Node(
                {
                    "owner": Ref("User", paper["owner"]),
                    "name": paper["name"],
                    "labels": frozenset(paper["labels"]),
                    "size": paper["size"],
                },
                {},
                frozenset(),
            ),
        }
        return policies.decide(_fast_question(document, slice_))

    _same([from_rows(document) for document in documents], [policies.decide(item) for item in questions])
    result("decide-rows", rate(from_rows, documents, seconds), peer, limit)
    for name, larger in (("policies", _many_policies()), ("links", _many_links())):
        fast = rate(larger.decide, questions, seconds)
        again = rate(policies.decide, questions, seconds)
        print(f"RESULT decide-10000-{name} ours={fast:,.0f}/s of_50={again / fast:.2f} times the time of 50")


def _asked_of_opa(
    program: Path | None, documents: Sequence[dict[str, Any]], answers: Sequence[Answer], seconds: float
) -> _authz_opa.Rates | None:
    if program is None:
        print(_authz_opa.HOW)
        return None
    expected = [(answer.allowed, tuple(answer.reasons)) for answer in answers]
    found = _authz_opa.measure(program, documents, expected, seconds)
    print(f"OPA {found.version} decides these {len(documents):,} questions alike, by the same policies")
    return found


def rate(ask: Ask, questions: Sequence[Any], seconds: float) -> float:
    """Return calls a second of processor time, the best of three rounds: other work on the machine counts little."""
    best = 0.0
    for _ in range(3):
        done, start = 0, time.process_time()
        while time.process_time() - start < seconds / 3:
            for question in questions:
                ask(question)
            done += len(questions)
        best = max(best, done / (time.process_time() - start))
    return best


def percentile(ask: Ask, questions: Sequence[Any]) -> float:
    """Return the 99th percentile of single calls in microseconds of processor time."""
    times = []
    for question in [*questions, *questions, *questions]:
        start = time.process_time_ns()
        ask(question)
        times.append(time.process_time_ns() - start)
    return sorted(times)[len(times) * 99 // 100] / 1000


def _question(document: dict[str, Any], store: Any) -> Question:
    return question_of(AuthzRequest.from_values({**document, "entities": []}), store)


def _fast_question(document: dict[str, Any], store: Any) -> Question:
    principal, action, resource = document["principal"], document["action"], document["resource"]
    context = document["context"]
    return Question(
        Ref(principal["type"], principal["id"]),
        Ref(action["type"], action["id"]),
        Ref(resource["type"], resource["id"]),
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
