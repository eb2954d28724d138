"""Decide: one question against one policy set, by compiled policies over entities that the schema allows.

Whatever goes wrong denies, and says what. One question in some hundreds is put to the reference engine as well, at
once and before it is answered: where the two differ nothing is allowed, and from then on every question of this
policy set is put to both, until the set is loaded anew.
"""

from __future__ import annotations

import logging

from redoubt.core.canonical import sha256_hex

from .compiled import Answer, Question, compile_policies, question_of
from .compiled.check import RequestChecker
from .compiled.conform import Conformer
from .compiled.onepass import NotPlain, OnePass
from .compiled.values import ref_of, value_of
from .models import AuthzRequest, Decision
from .policyset import PolicySet
from .reference import Reference
from .schema import read_schema
from .written import Written

_log = logging.getLogger("redoubt.authz")

SHADOW_EVERY = 512
"""Of so many questions one is put to the reference engine too; the first of each policy set always is."""
_MAX_WRITTEN = 1024 * 1024


class Decider:
    """Decides by one immutable policy set; safe to share between threads."""

    def __init__(
        self, policies: PolicySet, *, check_request: bool = True, shadow_every: int = SHADOW_EVERY
    ) -> None:
        """Decide by `policies`; `check_request` holds requests and entities to the schema as well.

        Raises UnreadablePolicy or SchemaError for what cannot be compiled: nothing is decided by half a set.
        """
        self.policies = policies
        self._compiled = compile_policies(policies.tree())
        self._reference = Reference(policies, check_request=check_request)
        self._checker: RequestChecker | None = None
        self._one_pass: OnePass | None = None
        if check_request and policies.schema is not None:
            schema = read_schema(policies.schema_text)
            self._checker, self._conformer = RequestChecker(schema), Conformer(schema)
            self._one_pass = OnePass(schema, self._conformer)
        self._shadow_every = shadow_every
        self._asked = 0
        self.suspect = False
        """Whether the two readers differed once: every question is put to both then."""

    @property
    def version(self) -> str:
        """Return the version that decisions are made under."""
        return self.policies.version

    def decide(self, request: AuthzRequest) -> Decision:
        """Return the decision; allowed only when a permit says so, no forbid does, and nothing went wrong."""
        try:
            question, text = self._at_once(request)
            digest = sha256_hex(text.encode())
        except Exception:  # not plain, or wrong: step by step it becomes known what
            return self._decide_by_steps(request)
        if len(text) > _MAX_WRITTEN:
            return self._decide_by_steps(request)
        return self._answered(request, question, text, digest)

    def _decide_by_steps(self, request: AuthzRequest) -> Decision:
        version = self.policies.version
        try:
            written = Written.of(request)
        except Exception as error:
            return Decision(False, (), (f"the request has no Cedar form: {_describe(error)}",), version)
        if len(written.text) > _MAX_WRITTEN:
            return Decision(False, (), ("the entities of the request are too large",), version)
        try:
            question = self._question(request)
        except Exception as error:
            return Decision(False, (), (_describe(error),), version, written.text, written.digest)
        return self._answered(request, question, written.text, written.digest)

    def _answered(self, request: AuthzRequest, question: Question, text: str, digest: str) -> Decision:
        version = self.policies.version
        try:
            answer = self._compiled.decide(question)
        except Exception as error:
            return Decision(False, (), (_describe(error),), version, text, digest)
        errors = answer.errors and tuple([f"policy {name} has no value here" for name in answer.errors])
        self._asked = asked = self._asked + 1
        if self.suspect or (asked - 1) % self._shadow_every == 0:
            differs = self._differs(request, answer)
            if differs is not None:
                return Decision(False, (), (*errors, differs), version, text, digest)
        return Decision(answer.allowed, answer.reasons, errors, version, text, digest)

    def _at_once(self, request: AuthzRequest) -> tuple[Question, str]:
        if self._one_pass is None:
            raise NotPlain
        return self._one_pass.read(request)

    def _question(self, request: AuthzRequest) -> Question:
        checker = self._checker
        if checker is None:
            return question_of(request)
        question = Question(
            ref_of(request.principal),
            ref_of(request.action),
            ref_of(request.resource),
            value_of(request.context),
            self._conformer.store(request.entities, request.action),
        )
        checker.check(question)
        return question

    def _differs(self, request: AuthzRequest, answer: Answer) -> str | None:
        """Return how the reference engine answers otherwise, or None where both say the same."""
        try:
            allowed, reasons, erred = self._reference.ask(request)
        except Exception as error:
            theirs = f"cannot decide it: {_describe(error)}"
        else:
            if (allowed, reasons, erred) == (answer.allowed, answer.reasons, bool(answer.errors)):
                return None
            theirs = f"says {'allow' if allowed else 'deny'} by {', '.join(reasons) or 'nothing'}"
        self.suspect = True
        _log.critical(
            "two readers of policy version %s differ about %s: what they differ about is denied",
            self.version[:12],
            request.action.id,
        )
        return f"the reference engine {theirs}"


class DenyAll:
    """Decides no, always, and says why: what runs where no policy set can be trusted."""

    def __init__(self, why: str, version: str = "") -> None:
        self.why = why
        self.version = version

    def decide(self, request: AuthzRequest) -> Decision:
        """Return a denial with the reason among its errors."""
        try:
            written = Written.of(request)
            return Decision(False, (), (self.why,), self.version, written.text, written.digest)
        except Exception:
            return Decision(False, (), (self.why,), self.version)


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:500]}"
