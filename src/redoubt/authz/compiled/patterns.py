"""`like`: literal pieces between wildcards, found from the left. Never a regular expression, so never slow."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def matcher(pattern: Sequence[str | None]) -> Callable[[str], bool]:
    """Return the test for `pattern`: its characters in order, None for each wildcard."""
    pieces = [""]
    for item in pattern:
        if item is None:
            pieces.append("")
        else:
            pieces[-1] += item
    if len(pieces) == 1:
        whole = pieces[0]
        return lambda text: text == whole
    head, middle, tail = pieces[0], tuple(piece for piece in pieces[1:-1] if piece), pieces[-1]

    def matches(text: str) -> bool:
        if len(text) < len(head) + len(tail) or not text.startswith(head) or not text.endswith(tail):
            return False
        start, end = len(head), len(text) - len(tail)
        for piece in middle:
            found = text.find(piece, start, end)
            if found < 0:
                return False
            start = found + len(piece)
        return True

    return matches
