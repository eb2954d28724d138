"""Cedar's published corpus through our Decider: the same decisions and the same determining policies."""

from __future__ import annotations

import pytest

from redoubt.authz.decide import Decider
from redoubt.authz.policyset import unchecked

from . import corpus

SAMPLE = 10


def run(every: int) -> tuple[int, list[str]]:
    asked, wrong = 0, []
    for case in corpus.cases(every):
        deciders = {
            check: Decider(unchecked(case.policies, case.schema if check else None), check_request=check)
            for check in {document.get("validateRequest", True) for document in case.requests}
        }
        for number, document in enumerate(case.requests):
            decider = deciders[document.get("validateRequest", True)]
            answer = decider.decide(corpus.request(document, case.entities))
            asked += 1
            expected = (document["decision"] == "allow", sorted(document["reason"]), bool(document["errors"]))
            got = (answer.allowed, list(answer.reasons), bool(answer.errors))
            if got != expected:
                wrong.append(f"{case.name} #{number}: {got} instead of {expected}")
    return asked, wrong


def test_the_sampled_corpus_is_decided_as_published() -> None:
    asked, wrong = run(SAMPLE)
    assert asked > 6_000
    assert wrong == []


@pytest.mark.soak
def test_the_whole_corpus_is_decided_as_published() -> None:
    asked, wrong = run(1)
    assert asked == 62_546
    assert wrong == []
