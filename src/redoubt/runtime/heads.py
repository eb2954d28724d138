"""A request's headers, gone through once: the guard asks a dozen of them, on every request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from redoubt.identity import cookies

_SESSION, _PRE = cookies.SESSION, cookies.PRE
_NONE: frozenset[bytes] = frozenset()


class Heads:
    """Headers by name (lower-case, as ASGI gives them): the first of each, which came again, and the size of all."""

    __slots__ = ("_raw", "first", "repeated", "size")

    def __init__(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        first: dict[bytes, bytes] = {}
        repeated: set[bytes] | None = None
        size = 0
        for name, value in raw:
            size += len(name) + len(value)
            if name in first:
                repeated = {name} if repeated is None else repeated | {name}
            else:
                first[name] = value
        self._raw = raw
        self.first = first
        self.repeated: frozenset[bytes] | set[bytes] = _NONE if repeated is None else repeated
        self.size = size

    def text(self, name: bytes, default: str = "") -> str:
        """Return the first header of this name as text, or `default`."""
        value = self.first.get(name)
        return default if value is None else value.decode("latin-1")

    def all(self, name: bytes) -> list[str]:
        """Return every header of this name as text, in order."""
        if name not in self.first:
            return []
        if name not in self.repeated:
            return [self.first[name].decode("latin-1")]
        return [value.decode("latin-1") for key, value in self._raw if key == name]


def browser_cookies(lines: Iterable[str]) -> tuple[str | None, str | None]:
    """Return the values of our two cookies, the session's and the browser's; the first of each name counts."""
    session: str | None = None
    pre: str | None = None
    for line in lines:
        for part in line.split(";"):
            name, _, value = part.strip().partition("=")
            if name == _SESSION:
                session = value if session is None else session
            elif name == _PRE:
                pre = value if pre is None else pre
    return session, pre
