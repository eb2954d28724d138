"""Which files of a built app are its owner's."""

from __future__ import annotations

OWNED = ("app/handlers.py", "app/extra.py", "app/pages/", "tests/decisions.json")
"""Files that are the owner's from the first build on: made once, then left alone.

The snapshot of decisions is among them: a decision that changed is approved by a person, not by the next build.
"""


def is_owned(path: str) -> bool:
    """Whether a file is the owner's to edit."""
    return any(path == own or (own.endswith("/") and path.startswith(own)) for own in OWNED)
