"""Cedar's published corpus through our Decider: the same decisions and the same determining policies."""

from __future__ import annotations

import pytest

from redoubt.authz.decide import Decider
from redoubt.authz.errors import UnreadablePolicy
from redoubt.authz.policyset import unchecked

from . import corpus

SAMPLE = 10


def run(every: int) -> tuple[int, int, list[str]]:
    """Return how many requests were decided, how many belong to cases that are refused when loaded, and what is wrong."""
    asked, refused, wrong = 0, 0, []
    for case in corpus.cases(every):
        try:
            deciders = {
                check: Decider(unchecked(case.policies, case.schema if check else None), check_request=check)
                for check in {document.get("validateRequest", True) for document in case.requests}
            }
        except UnreadablePolicy:
            refused += len(case.requests)
            continue
        _, requests = corpus.typed(case)
        for number, (document, request) in enumerate(zip(case.requests, requests, strict=True)):
            decider = deciders[document.get("validateRequest", True)]
            answer = decider.decide(request)
            asked += 1
            expected = (document["decision"] == "allow", sorted(document["reason"]), bool(document["errors"]))
            got = (answer.allowed, list(answer.reasons), bool(answer.errors))
            if got != expected:
                wrong.append(f"{case.name} #{number}: {got} instead of {expected}")
        if any(decider.suspect for decider in deciders.values()):
            wrong.append(f"{case.name}: the readers differ")
    return asked, refused, wrong


def test_the_sampled_corpus_is_decided_as_published() -> None:
    asked, refused, wrong = run(SAMPLE)
    assert asked > 6_000
    assert refused < 80
    assert wrong == []


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_whole_corpus_is_decided_as_published() -> None:
    asked, refused, wrong = run(1)
    assert (asked, refused) == (62_002, 544)
    assert wrong == []
