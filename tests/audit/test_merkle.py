"""The tree against an independent implementation (pymerkle), and proofs against forgery."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from redoubt.audit.errors import LogTampered, ProofInvalid
from redoubt.audit.merkle import (
    EMPTY_ROOT,
    Appender,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from redoubt.audit.tiles import Tile, Tree, bundle, bundle_path, grown, unbundle


class Memory:
    """A tile source over a plain list of leaf hashes."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.leaves = leaves

    def hashes(self, level: int, index: int, width: int) -> list[bytes]:
        span = 256**level
        first = index * 256
        return [root_of(self.leaves[n * span : (n + 1) * span]) for n in range(first, first + width)]


def leaves(count: int) -> list[bytes]:
    return [leaf_hash(b"entry %d" % n) for n in range(count)]


def oracle(count: int) -> InmemoryTree:
    return InmemoryTree.init_from_entries([b"entry %d" % n for n in range(count)], algorithm="sha256")


SIZES = [1, 2, 3, 7, 8, 9, 63, 255, 256, 257, 300, 511, 513, 700]


@pytest.mark.parametrize("size", SIZES)
def test_roots_equal_those_of_another_implementation(size: int) -> None:
    expected = oracle(size).get_root()
    assert root_of(leaves(size)) == expected
    assert Tree(Memory(leaves(size)), size).root() == expected


def test_the_empty_tree_has_the_root_that_rfc_6962_gives_it() -> None:
    assert Appender().root() == EMPTY_ROOT == Tree(Memory([]), 0).root()
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_inclusion_proofs_equal_the_oracles_and_verify_only_where_they_belong(data: st.DataObject) -> None:
    size = data.draw(st.sampled_from(SIZES))
    index = data.draw(st.integers(0, size - 1))
    items, tree = leaves(size), Tree(Memory(leaves(size)), size)
    path, root = inclusion_proof(tree.subtree, index, size), tree.root()
    theirs = oracle(size).prove_inclusion(index + 1).path
    assert sorted(path) == sorted(theirs[1:])  # theirs starts with the leaf, and is in evaluation order
    assert verify_inclusion(items[index], index, size, path, root)
    assert not verify_inclusion(items[index], (index + 1) % (size + 1), size, path, root)
    assert not verify_inclusion(leaf_hash(b"forged"), index, size, path, root)
    assert not verify_inclusion(items[index], index, size, [*path, root], root)
    if path:
        assert not verify_inclusion(items[index], index, size, path[:-1], root)
        broken = [bytes(32), *path[1:]]
        assert not verify_inclusion(items[index], index, size, broken, root)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_consistency_proofs_lead_from_each_old_root_and_from_no_other(data: st.DataObject) -> None:
    new = data.draw(st.sampled_from(SIZES))
    old = data.draw(st.integers(1, new))
    tree = Tree(Memory(leaves(new)), new)
    path = consistency_proof(tree.subtree, old, new)
    old_root, new_root = root_of(leaves(old)), tree.root()
    assert old_root == oracle(old).get_root()
    assert verify_consistency(old, new, old_root, new_root, path)
    assert not verify_consistency(old, new, bytes(32), new_root, path)
    assert not verify_consistency(old, new, old_root, bytes(32), path)
    assert not verify_consistency(old, new, old_root, new_root, [*path, bytes(32)])
    for n in range(len(path)):
        assert not verify_consistency(old, new, old_root, new_root, [*path[:n], bytes(32), *path[n + 1 :]])
    if old > 1:
        assert not verify_consistency(old - 1, new, old_root, new_root, path)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 3)])
def test_no_proof_is_made_for_what_is_not_there(index: int, size: int) -> None:
    with pytest.raises(ProofInvalid):
        inclusion_proof(Tree(Memory(leaves(3)), 3).subtree, index, size)


def test_a_stored_state_must_fit_its_size() -> None:
    for size, peaks in [(3, [bytes(32)]), (-1, []), (1, [bytes(31)])]:
        with pytest.raises(ProofInvalid):
            Appender(size, peaks)


@given(st.integers(0, 700), st.integers(0, 700))
def test_growing_names_every_tile_that_a_reader_of_the_new_size_lacks(a: int, b: int) -> None:
    old, new = sorted((a, b))
    have = set(grown(0, old)) | set(grown(old, new))
    full = {(t.level, t.index): t.width for t in have if t.width == 256}
    for tile in grown(0, new):
        assert tile in have or full.get((tile.level, tile.index)) == 256


def test_paths_follow_the_tile_layout() -> None:
    assert Tile(0, 1234067, 256).path == "tile/0/x001/x234/067"
    assert Tile(1, 3, 5).path == "tile/1/003.p/5"
    assert bundle_path(1000, 256) == "tile/entries/x001/000"


def test_a_bundle_reads_back_and_a_cut_one_is_noticed() -> None:
    bodies = [b"", b"a", b"x" * 16_384]
    assert unbundle(bundle(bodies)) == bodies
    with pytest.raises(LogTampered):
        unbundle(bundle(bodies)[:-1])
