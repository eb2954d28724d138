"""The tile layout of C2SP `tlog-tiles`: 256 hashes a tile, each level 256 times coarser, entries in bundles of 256.

A `TileSource` answers with the hashes of a tile, from the database or from files; over it every proof of `merkle` works
with a handful of tiles, however large the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from attrs import frozen

from .errors import LogTampered
from .merkle import EMPTY_ROOT, HASH_SIZE, root_of, subtree_root

HEIGHT = 8
WIDTH = 1 << HEIGHT


@frozen
class Tile:
    """Coordinates of a tile; `width` below 256 means that it is not full yet."""

    level: int
    index: int
    width: int

    @property
    def path(self) -> str:
        """The path under the log's prefix: `tile/L/N[.p/W]` with N in groups of three digits."""
        return _path(f"tile/{self.level}", self.index, self.width)


class TileSource(Protocol):
    """Answers with the hashes of tiles."""

    def hashes(self, level: int, index: int, width: int) -> Sequence[bytes]:
        """Return the first `width` hashes of a tile; raises LogTampered when they are not there."""
        ...


def bundle_path(index: int, width: int) -> str:
    """Return the path of an entry bundle."""
    return _path("tile/entries", index, width)


def bundle(bodies: Sequence[bytes]) -> bytes:
    """Return an entry bundle: each entry after its length in two bytes."""
    return b"".join(len(body).to_bytes(2, "big") + body for body in bodies)


def unbundle(data: bytes) -> list[bytes]:
    """Return the entries of a bundle; raises LogTampered when it is cut off."""
    result, at = [], 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if end > len(data):
            raise LogTampered("an entry bundle is cut off.")
        result.append(data[at + 2 : end])
        at = end
    return result


def grown(old: int, new: int) -> Iterator[Tile]:
    """Yield the tiles, full or partial, that a log of `new` leaves has and one of `old` leaves had not."""
    level = 0
    while (after := new >> (HEIGHT * level)) > 0:
        before = old >> (HEIGHT * level)
        if after != before:
            for index in range(before // WIDTH, (after + WIDTH - 1) // WIDTH):
                yield Tile(level, index, min(WIDTH, after - index * WIDTH))
        level += 1


class Tree:
    """The tree of `size` leaves over a tile source: roots and subtree hashes without reading entries."""

    def __init__(self, source: TileSource, size: int) -> None:
        self._source = source
        self.size = size

    def subtree(self, lo: int, hi: int) -> bytes:
        """Return the hash of a complete subtree: the `Subtrees` that proofs ask for."""
        height = (hi - lo).bit_length() - 1
        level, within = divmod(height, HEIGHT)
        count = 1 << within
        first = lo >> (HEIGHT * level)
        index, offset = divmod(first, WIDTH)
        width = min(WIDTH, (self.size >> (HEIGHT * level)) - index * WIDTH)
        found = self._source.hashes(level, index, width)
        if len(found) < offset + count:
            raise LogTampered("a tile of the audit tree is missing or too short.")
        return root_of(found[offset : offset + count])

    def root(self, size: int | None = None) -> bytes:
        """Return the root at `size` leaves, by default all."""
        size = self.size if size is None else size
        return EMPTY_ROOT if size == 0 else subtree_root(self.subtree, 0, size)


def split_hashes(data: bytes) -> list[bytes]:
    """Return the hashes of a tile's bytes."""
    return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]


def _path(prefix: str, index: int, width: int) -> str:
    digits = f"{index % 1000:03d}"
    while index >= 1000:
        index //= 1000
        digits = f"x{index % 1000:03d}/{digits}"
    return f"{prefix}/{digits}" + (f".p/{width}" if width < WIDTH else "")
