"""What can go wrong with authorization.

AuthzError
├── AccessModelError     access rules that cannot be compiled
├── PolicyRejected       policies or schema that do not parse, type-check or carry unique @ids; holds every problem
├── UnreadablePolicy     a policy that parses but holds what the compiler does not know
├── PolicyStoreError
│   ├── UnknownVersion   no such stored version
│   ├── StaleBase        the head moved since the change was written
│   ├── GenesisExists    version 0 is recorded already
│   ├── ReviewRequired   a change without a second person
│   └── CorruptPolicies  what is stored is not what its hash says
├── UnguardedRoutes      routes without a permission, or with an action that the schema does not know
├── UnknownRole          a role that no policy set declares
├── RolesRefused         a role that a person has already or not at all, or that must keep its holders
├── ConsistencyRefused   a token that asks for a change was not made by this app
├── Behind               this process cannot show the change that a caller asks for at least
└── ReplayError          a recorded decision that cannot be decided again
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from redoubt.core.errors import RedoubtError


class AuthzError(RedoubtError):
    """Authorization refused its input or its own state."""

    code = "authz"


class AccessModelError(AuthzError):
    """The access rules contradict themselves or name what is not there."""

    code = "access-model"


@frozen
class PolicyProblem:
    """One thing wrong with one policy file: where, which policy, what; `line` is the policy's first."""

    file: str
    policy_id: str | None
    message: str
    line: int | None = None

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        if self.policy_id is not None:
            where = f"{where} @id({self.policy_id!r})"
        return f"{where}: {self.message}"


class PolicyRejected(AuthzError):
    """Policies were refused; the running set stays."""

    code = "policy-rejected"

    def __init__(self, problems: Sequence[PolicyProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "\n".join(str(problem) for problem in self.problems),
            hint="Nothing was changed; correct the files and try again.",
        )


class UnreadablePolicy(AuthzError):
    """A policy holds what the compiler does not know: it is refused when it is loaded, never skipped."""

    code = "policy-unreadable"


class PolicyStoreError(AuthzError):
    """The policy store refused."""

    code = "policy-store"


class UnknownVersion(PolicyStoreError):
    """No such policy version is stored for the tenant."""

    code = "policy-version-unknown"


class StaleBase(PolicyStoreError):
    """The head moved since this change was written; it was reviewed against policies that no longer run."""

    code = "policy-base-stale"


class GenesisExists(PolicyStoreError):
    """Version 0 was recorded before; every later change waits for a second person."""

    code = "policy-genesis-exists"


class ReviewRequired(PolicyStoreError):
    """A policy change came without an approval by somebody else."""

    code = "policy-review-required"


class CorruptPolicies(PolicyStoreError):
    """Stored policies do not match their hash or no longer parse: everything is denied until that is repaired."""

    code = "policy-corrupt"


class UnguardedRoutes(AuthzError):
    """Some routes declare no permission or an unknown one: the app does not start."""

    code = "routes-unguarded"


class UnknownRole(AuthzError):
    """A role that is not declared."""

    code = "role-unknown"


class RolesRefused(AuthzError):
    """A role that is not given or taken: the person has it already, does not have it, or too few would be left."""

    code = "role-refused"


class ConsistencyRefused(AuthzError):
    """A consistency token that this app did not make."""

    code = "consistency-token"


class Behind(AuthzError):
    """What a caller asks for at least is not to be seen here, or the database cannot be asked: nothing is decided."""

    code = "behind"


class ReplayError(AuthzError):
    """A recorded decision cannot be decided again."""

    code = "decision-replay"
