"""Where policies begin in a file: the engine's tree has no lines, and an error that names none is hard to find."""

from __future__ import annotations

import re

_PIECE = re.compile(r'//[^\n]*|"(?:\\.|[^"\\])*"|;|\s+|[^\s";/]+|/', re.DOTALL)


def first_lines(text: str) -> list[int]:
    """Return the line, from 1, on which each policy or template of `text` begins, in their order.

    A policy ends with the one `;` that stands in neither text nor comment; annotations belong to it.
    """
    found: list[int] = []
    line, inside = 1, False
    for match in _PIECE.finditer(text):
        piece = match[0]
        if piece == ";":
            inside = False
        elif not inside and not piece.isspace() and not piece.startswith("//"):
            found.append(line)
            inside = True
        line += piece.count("\n")
    return found
