"""What another process holds: its environment as it was started, and what it may write to of its memory (proc(5))."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_WRITABLE = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw", re.M)
_PIECE = 1 << 22
_MOST = 1 << 31


def held(pid: int, values: Mapping[str, str]) -> set[str]:
    """Return the names of those `values` that a process of this machine holds.

    Where its memory may not be read, its environment alone is looked at. What is only there while a request is answered
    may be missed.
    """
    wanted = {name: value.encode() for name, value in values.items() if value}
    found: set[str] = set()
    with suppress(OSError):
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        found |= {name for name, value in wanted.items() if value in environment}
    longest = max((len(value) for value in wanted.values()), default=0)
    with suppress(OSError), open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        left = _MOST
        for start, end in _WRITABLE.findall(Path(f"/proc/{pid}/maps").read_text()):
            at, last, tail = int(start, 16), int(end, 16), b""
            while at < last and left > 0 and len(found) < len(wanted):
                try:
                    memory.seek(at)
                    piece = memory.read(min(_PIECE, last - at))
                except (OSError, OverflowError, ValueError):
                    break
                if not piece:
                    break
                found |= {name for name, value in wanted.items() if value in tail + piece}
                tail, at, left = piece[-longest:], at + len(piece), left - len(piece)
    return found
