"""Cedar's published corpus through the compiled policies: decisions, determining and erroring policies."""

from __future__ import annotations

import pytest
from attrs import field, frozen

from redoubt.authz.compiled import compile_policies, question_of, store_of
from redoubt.authz.errors import UnreadablePolicy
from redoubt.authz.policyset import engine_of, tree_of

from .. import corpus

SAMPLE = 12


@frozen
class Run:
    equal: int
    wrong: list[str]
    refused: dict[str, int] = field(factory=dict)


def run(every: int) -> Run:
    equal, wrong, refused = 0, [], {}
    for case in corpus.cases(every):
        try:
            policies = compile_policies(tree_of(engine_of(case.policies)))
        except UnreadablePolicy:
            assert all(document["decision"] == "deny" for document in case.requests)
            refused[case.name] = len(case.requests)
            continue
        store = store_of(corpus.with_references(case))
        for number, document in enumerate(case.requests):
            answer = policies.decide(question_of(corpus.request(document, ()), store))
            expected = (
                document["decision"] == "allow",
                tuple(sorted(document["reason"])),
                tuple(sorted(document["errors"])),
            )
            got = (answer.allowed, answer.reasons, answer.errors)
            if got == expected:
                equal += 1
            else:
                wrong.append(f"{case.name} #{number}: {got} instead of {expected}")
    return Run(equal, wrong, refused)


def test_the_sampled_corpus_is_decided_as_published() -> None:
    done = run(SAMPLE)
    assert done.wrong == []
    assert done.equal > 5_000
    assert done.refused


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_the_whole_corpus_is_decided_as_published_and_its_ill_formed_cases_are_refused() -> None:
    done = run(1)
    assert done.wrong == []
    assert done.equal == 62_002
    assert len(done.refused) == 68
    assert sum(done.refused.values()) == 544
