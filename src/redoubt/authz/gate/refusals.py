"""Why a set of policies is refused whoever approves it: what no second person can sign."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from ..errors import AuthzError
from ..models import AuthzRequest


@frozen
class Refusal:
    """One reason: the rule, where it is broken, a sentence, and what shows it as lines and as JSON values."""

    rule: str
    where: str
    message: str
    lines: tuple[str, ...] = ()
    witness: Mapping[str, Any] | None = field(default=None, repr=False)

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"rule": self.rule, "where": self.where, "message": self.message, "witness": self.witness}

    def text(self) -> Iterator[str]:
        """Yield it as lines of text."""
        yield f"  refused  {self.where}: {self.message}"
        yield from (f"           {line}" for line in self.lines)


class PoliciesRefused(AuthzError):
    """A set of policies breaks a rule that no approval lifts; `refusals` say which, with what shows it."""

    code = "policy-refused"

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        self.refusals = tuple(refusals)
        super().__init__(
            "these policies are refused:\n"
            + "\n".join(line for item in self.refusals for line in item.text())
            + "\n",
            hint="No approval lifts this: change the policies, or the schema that grants the write.",
        )


def request_lines(request: AuthzRequest, *, first: bool = True) -> Iterator[str]:
    """Yield a request and what its entities hold; without `first` only what they hold."""
    if first:
        yield f"for example {request.principal} does {request.action} on {request.resource}"
        if request.context:
            yield f"with {dict(request.context)!r}"
    for entity in request.entities:
        holds = [f"{name} {value!r}" for name, value in sorted(entity.attrs.items())]
        holds += [f"tag {name} {value!r}" for name, value in sorted(entity.tags.items())]
        if holds or entity.parents or not first:
            belongs = f" in {', '.join(map(str, entity.parents))}" if entity.parents else ""
            yield f"where {entity.uid}{belongs} has {', '.join(holds) or 'nothing'}"
