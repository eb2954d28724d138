"""`plan`, `build` and `check` of one spec and one target."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attrs import field, frozen

from redoubt import __version__

from .changes import Changes, changes, describe, drift, missing_handlers
from .emit import emit
from .manifest import with_records
from .spec import parse_spec
from .spec.load import read_spec
from .swap import apply, exclusive, recover
from .view import custom_functions


@frozen
class Made:
    """A tree ready to be written: with its records, without them, and the functions it needs of the owner."""

    tree: dict[str, bytes] = field(repr=False)
    pristine: dict[str, bytes] = field(repr=False)
    functions: list[str]


def make(spec_file: Path) -> Made:
    """Return the tree that the spec makes; raises SpecInvalid with every problem of it."""
    source = read_spec(spec_file)
    spec = parse_spec(source, str(spec_file))
    pristine = emit(spec, source)
    return Made(with_records(pristine, __version__), pristine, custom_functions(spec))


def build(spec_file: Path, out: Path) -> Changes:
    """Build the spec's app in `out` and return what changed.

    Raises SpecInvalid, EditedFiles, NotOurTarget, MissingHandler or BuildInterrupted; `out` is then as it was.
    """
    made = make(spec_file)
    with exclusive(out) as stage:
        found = changes(out, made.tree, made.pristine)
        missing_handlers(out, made.functions)
        if not found.nothing:
            apply(out, stage, made.tree, found)
    return found


def plan(spec_file: Path, out: Path) -> Iterator[str]:
    """Yield the lines that say what `build` would change; nothing is written but what undoes an interrupted build."""
    made = make(spec_file)
    recover(out)
    found = changes(out, made.tree, made.pristine)
    missing_handlers(out, made.functions)
    yield from describe(out, made.tree, found)


def check(spec_file: Path, out: Path) -> list[str]:
    """Return each difference between `out` and what the spec makes; empty when there is none."""
    made = make(spec_file)
    recover(out)
    return drift(out, made.tree)
