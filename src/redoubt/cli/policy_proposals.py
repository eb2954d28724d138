"""What became of a proposed policy change, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from redoubt.authz.changes import Proposed


def proposal_lines(proposed: Proposed) -> Iterator[str]:
    """Yield the verdict, what asks for a second person, what changes, and what happens next."""
    verdict, evidence = proposed.verdict, proposed.verdict.evidence
    counts = ", ".join(f"{count} {name}" for name, count in sorted(evidence["environments"].items()))
    yield f"{verdict.verdict}: {counts or evidence['reason']}"
    for item in evidence["findings"]:
        yield f"  {item['verdict']:<8} {item['where']}: {item['message']}"
    if evidence["keepers"]:
        yield f"  takes away from {', '.join(evidence['keepers'])}: who decides about changes must not be shut out"
    for what in ("added", "removed", "altered"):
        for identity in proposed.difference[what]:
            yield f"  {what:<8} {identity}"
    if proposed.difference["schema_altered"]:
        yield "  altered  the schema"
    approval = proposed.approval
    if approval is None:
        yield f"It grants nothing more, so it runs now: version {verdict.head[:12]}."
    else:
        yield (
            f"It waits for a second person: approve at /console/approvals/{approval.id}"
            f" before {approval.expires_at:%Y-%m-%d %H:%M}Z."
        )
