"""Policies compiled from Cedar's typed tree to Python functions: the reader that decides.

    policies = compile_policies(policy_set.tree())
    answer = policies.decide(question_of(request))

Its judge is the reference engine: the published corpus and a generator of policies hold both to the same decision,
determining policies and erroring policies.
"""

from __future__ import annotations

from cedarpy import pst

from ..models import AuthzRequest
from .entities import Node, Store, store_of
from .policies import Answer, CompiledPolicies
from .question import Question
from .values import CedarError, Ext, Ref, ref_of, reference, value_of

__all__ = [
    "Answer",
    "CedarError",
    "CompiledPolicies",
    "Ext",
    "Node",
    "Question",
    "Ref",
    "Store",
    "compile_policies",
    "question_of",
    "reference",
    "store_of",
]


def compile_policies(tree: pst.PolicySet) -> CompiledPolicies:
    """Compile static policies, templates and their links; raises UnreadablePolicy for anything unknown."""
    return CompiledPolicies(tree)


def question_of(request: AuthzRequest, store: Store | None = None) -> Question:
    """Return the question that `request` asks, over its own entities or over a `store` that was built before.

    Raises TypeError or CedarError for a value that Cedar does not have.
    """
    return Question(
        ref_of(request.principal),
        ref_of(request.action),
        ref_of(request.resource),
        value_of(dict(request.context)),
        store_of(request.entities) if store is None else store,
    )
