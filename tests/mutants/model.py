"""What a mutant is: exact texts, each replaced once in a copy of the built app or of the library."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from attrs import field, frozen

Tree = Literal["app", "library"]
APP: Tree = "app"
LIBRARY: Tree = "library"


class MutantStale(Exception):
    """A mutant's text is not where it says: the guard moved, and the mutant must follow it."""


@frozen
class Edit:
    """Replace `find`, which must stand exactly once in `file`, by `replace`."""

    tree: Tree
    file: str
    find: str
    replace: str

    def apply(self, root: Path) -> None:
        """Change the file under `root`; raises MutantStale unless the text stands there exactly once."""
        path = root / self.file
        if not path.is_file():
            raise MutantStale(f"{self.tree}: there is no {self.file}")
        text = path.read_text(encoding="utf-8")
        count = text.count(self.find)
        if count != 1:
            raise MutantStale(f"{self.tree}: {self.file} holds {self.find!r} {count} times, not once")
        changed = text.replace(self.find, self.replace)
        if path.suffix == ".py":
            compile(changed, str(path), "exec")
        path.write_text(changed, encoding="utf-8")


@frozen
class Mutant:
    """One way to remove the guard of `control`. Where several layers hold the same line, all of them go."""

    control: str
    name: str
    edits: tuple[Edit, ...] = field(converter=tuple)
    quick: bool = False
    """Whether the ordinary suite runs it, too; the soak runs all."""
    browser: bool = False
    """Whether only pages that are driven in a browser show it."""
    postgresql: bool = False
    """Whether the app runs on PostgreSQL, where each process has a role of its own; else on SQLite."""

    @property
    def id(self) -> str:
        """The mutant's name in tables and tests."""
        return f"{self.control}/{self.name}"

    def apply(self, app: Path, library: Path) -> None:
        """Make every change of this mutant; raises MutantStale."""
        for edit in self.edits:
            edit.apply(app if edit.tree == APP else library)

    def touches(self, tree: Tree) -> bool:
        """Say whether anything in `tree` changes."""
        return any(edit.tree == tree for edit in self.edits)


def library(file: str, find: str, replace: str) -> Edit:
    """Return a change to the package `redoubt`."""
    return Edit(LIBRARY, file, find, replace)


def app(file: str, find: str, replace: str) -> Edit:
    """Return a change to the built app."""
    return Edit(APP, file, find, replace)
