"""`plan`, `build` and `check` of one spec and one target."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attrs import field, frozen

from redoubt import __version__

from .changes import Changes, changes, describe, drift, missing_handlers
from .emit import emit
from .errors import TablesChanged
from .manifest import with_records
from .migrations import history
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


def make(spec_file: Path, out: Path | None = None, *, new_tables: bool = False) -> Made:
    """Return the tree that the spec makes, over the app in `out` where one was built there.

    Its migrations stay as they are, and what the spec changes of its tables is one more; with `new_tables` they begin anew,
    for a database that is made anew. Raises SpecInvalid with every problem of the spec, TablesChanged naming every change
    that no migration is made for.
    """
    source = read_spec(spec_file)
    spec = parse_spec(source, str(spec_file))
    earlier = history(out) if out is not None and not new_tables else None
    pristine = emit(spec, source, earlier)
    return Made(with_records(pristine, __version__), pristine, custom_functions(spec))


def build(spec_file: Path, out: Path, *, new_tables: bool = False) -> Changes:
    """Build the spec's app in `out` and return what changed.

    Raises SpecInvalid, TablesChanged, EditedFiles, NotOurTarget, MissingHandler or BuildInterrupted; `out` is then as it was.
    """
    parse_spec(read_spec(spec_file), str(spec_file))  # before anything is made where `out` is to be
    with exclusive(out) as stage:
        made = make(spec_file, out, new_tables=new_tables)
        found = changes(out, made.tree, made.pristine)
        missing_handlers(out, made.functions)
        if not found.nothing:
            apply(out, stage, made.tree, found)
    return found


def plan(spec_file: Path, out: Path, *, new_tables: bool = False) -> Iterator[str]:
    """Yield the lines that say what `build` would change; nothing is written but what undoes an interrupted build.

    Raises what `build` does.
    """
    recover(out)
    made = make(spec_file, out, new_tables=new_tables)
    found = changes(out, made.tree, made.pristine)
    missing_handlers(out, made.functions)
    yield from describe(out, made.tree, found)


def check(spec_file: Path, out: Path) -> list[str]:
    """Return each difference between `out` and what the spec makes of it; empty when there is none."""
    recover(out)
    try:
        return drift(out, make(spec_file, out).tree)
    except TablesChanged as error:
        anew = make(spec_file, out, new_tables=True)
        return [*(f"not migrated: {problem}" for problem in error.problems), *drift(out, anew.tree)]
