"""The Merkle tree of RFC 6962, section 2.1: hashes, an O(log n) appender, inclusion and consistency proofs.

Pure functions. Where proofs need hashes of old subtrees they ask a `Subtrees` for `MTH(D[lo:hi])`, which the tile
store answers without reading entries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

from .errors import ProofInvalid

HASH_SIZE = 32
EMPTY_ROOT = sha256(b"").digest()

Subtrees = Callable[[int, int], bytes]
"""Returns the hash of the leaves lo to hi (exclusive), a power of two of them, `lo` a multiple of their number."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf: SHA-256(0x00 || entry)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node: SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Return MTH over leaf (or equal-height subtree) hashes; the empty tree has SHA-256 of nothing."""
    tree = Appender()
    for item in hashes:
        tree.append(item)
    return tree.root()


class Appender:
    """A growing tree of which only the roots of its complete subtrees are kept: O(log n) space and time a leaf."""

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        """Go on from a stored state; raises ProofInvalid when `peaks` do not fit `size`."""
        if size < 0 or len(peaks) != size.bit_count() or any(len(peak) != HASH_SIZE for peak in peaks):
            raise ProofInvalid("the stored state of the tree does not fit its size.")
        self.size = size
        self.peaks = list(peaks)  # largest subtree first

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        peaks, carry = self.peaks, self.size
        peaks.append(leaf)
        while carry & 1:
            right = peaks.pop()
            peaks[-1] = node_hash(peaks[-1], right)
            carry >>= 1
        self.size += 1

    def root(self) -> bytes:
        """Return the root of the tree as it stands."""
        if not self.peaks:
            return EMPTY_ROOT
        result = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            result = node_hash(peak, result)
        return result


def subtree_root(subtrees: Subtrees, lo: int, hi: int) -> bytes:
    """Return MTH(D[lo:hi]) for a range that RFC 6962's own splitting yields."""
    width = hi - lo
    if width == 0:
        return EMPTY_ROOT
    if width & (width - 1) == 0:
        return subtrees(lo, hi)
    middle = lo + _split(width)
    return node_hash(subtree_root(subtrees, lo, middle), subtree_root(subtrees, middle, hi))


def inclusion_proof(subtrees: Subtrees, index: int, size: int) -> list[bytes]:
    """Return the audit path of leaf `index` in the tree of `size` leaves (RFC 6962, section 2.1.1)."""
    if not 0 <= index < size:
        raise ProofInvalid(f"there is no leaf {index} in a tree of {size}.")
    path: list[bytes] = []
    lo, hi = 0, size
    while hi - lo > 1:
        middle = lo + _split(hi - lo)
        if index < middle:
            path.append(subtree_root(subtrees, middle, hi))
            hi = middle
        else:
            path.append(subtree_root(subtrees, lo, middle))
            lo = middle
    path.reverse()
    return path


def consistency_proof(subtrees: Subtrees, old: int, new: int) -> list[bytes]:
    """Return the proof that the tree of `new` leaves continues that of `old` (RFC 6962, section 2.1.2)."""
    if not 0 < old <= new:
        raise ProofInvalid(f"no consistency proof leads from {old} to {new}.")
    path: list[bytes] = []
    lo, hi, whole = 0, new, True
    while old != hi - lo:
        middle = _split(hi - lo)
        if old <= middle:
            path.append(subtree_root(subtrees, lo + middle, hi))
            hi = lo + middle
        else:
            path.append(subtree_root(subtrees, lo, lo + middle))
            lo, old, whole = lo + middle, old - middle, False
    if not whole:
        path.append(subtree_root(subtrees, lo, hi))
    path.reverse()
    return path


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Say whether `path` proves that `leaf` is at `index` under `root` (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    fn, sn, result = index, size - 1, leaf
    for item in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            result = node_hash(item, result)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            result = node_hash(result, item)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and result == root


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Say whether `path` proves that the new tree continues the old one (RFC 9162, section 2.1.4.2)."""
    if not 0 < old <= new:
        return False
    if old == new:
        return not path and old_root == new_root
    items = list(path)
    if old & (old - 1) == 0:
        items.insert(0, old_root)
    if not items:
        return False
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    first = second = items[0]
    for item in items[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            first, second = node_hash(item, first), node_hash(item, second)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            second = node_hash(second, item)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and first == old_root and second == new_root


def _split(width: int) -> int:
    """Return the largest power of two below `width`."""
    return 1 << ((width - 1).bit_length() - 1)
