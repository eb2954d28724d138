"""The audit log as probes read it: what came after a moment, however much that is, and nothing of before."""

from __future__ import annotations

import json
from typing import Any

from ..errors import Unshown
from ..lab import Lab

_MARKS = 20
_MOST_PAGES = 60


def entries(lab: Lab) -> list[dict[str, Any]]:
    """Return the newest entries of the audit log, newest first; raises Unshown where it cannot be read."""
    return _page(lab)[0]


class Trail:
    """What the log holds since this was made."""

    def __init__(self, lab: Lab) -> None:
        """Mark the newest entries; raises Unshown where the log cannot be read."""
        self._lab = lab
        self._marks = {str(one.get("id")) for one in entries(lab)[:_MARKS]}

    def since(self) -> list[dict[str, Any]]:
        """Return every entry that came since, newest first, page after page down to the marks.

        Raises Unshown where the log goes on and nothing says how to read on, or where it goes on for too long.
        """
        new: list[dict[str, Any]] = []
        left, before = set(self._marks), ""
        for _ in range(_MOST_PAGES):
            listed, before = _page(self._lab, before)
            for one in listed:
                identity = str(one.get("id"))
                if identity in self._marks:
                    left.discard(identity)
                elif left or not self._marks:  # below the last mark everything is of before
                    new.append(one)
            if not before or (self._marks and not left):
                return new
        raise Unshown(f"more than {_MOST_PAGES} pages of the audit log came since; the rest was not read")


def _page(lab: Lab, before: str = "") -> tuple[list[dict[str, Any]], str]:
    """Return a page of entries, newest first, and the id to go on below; empty where the log ends."""
    if before and "audit_before" not in lab.target.commands:
        raise Unshown(
            "older entries of the audit log cannot be read",
            add='commands: {audit_before: [program, --before, "{before}"]}',
        )
    done = lab.command("audit_before", before=before) if before else lab.command("audit_list")
    if done.returncode != 0:
        raise Unshown(f"the audit log cannot be read: {done.stderr[-200:]}")
    found = json.loads(done.stdout or "[]")
    listed = found.get("entries", []) if isinstance(found, dict) else found
    onward = found.get("next") if isinstance(found, dict) else None
    return (listed if isinstance(listed, list) else []), str(onward or "")
