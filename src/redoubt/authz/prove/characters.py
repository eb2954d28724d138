"""Characters that solvers do not have: their strings end at U+2FFFF, those of Cedar at U+10FFFF.

Policies compare texts and match them against patterns, which only asks whether characters are the same. So a character
beyond stands in a query as one that Unicode has not assigned, the same one each time, and a witness is read back the
same way. A text that holds one of the stand-ins itself, or the sixteen-hundredth character beyond, is not supported.
"""

from __future__ import annotations

import threading

from .errors import Unsupported

FREE, _END = (
    chr(0x2FA20),
    0x2FFFE,
)  # unassigned: after the last compatibility ideograph, before the noncharacters
_BEYOND = 0x30000
_lock = threading.Lock()
_stands_for: dict[str, str] = {}
_stood_for_by: dict[str, str] = {}


def stand_in(char: str) -> str:
    """Return what stands for a character beyond U+2FFFF; raises Unsupported where nothing does."""
    if ord(char) < _BEYOND:
        raise Unsupported("a character that stands in for another")
    with _lock:
        found = _stood_for_by.get(char)
        if found is None:
            place = ord(FREE) + len(_stands_for)
            if place >= _END:
                raise Unsupported("too many characters beyond what solvers know")
            found = _stood_for_by[char] = chr(place)
            _stands_for[found] = char
        return found


def read_back(text: str) -> str:
    """Return a text of a model with the characters that are meant."""
    return "".join([_stands_for.get(char, char) if char >= FREE else char for char in text])
