"""What can go wrong in a build.

BuildError
├── SpecInvalid        the spec has problems; each is listed, nothing was written
├── EditedFiles        the target holds edits that the build would overwrite
├── TablesChanged      tables would change in a way that no migration is made for
├── NotOurTarget       the target exists and was not made by a build
└── BuildInterrupted   another build runs there, or the target cannot be swapped
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from redoubt.core.errors import RedoubtError


@frozen(order=True)
class SpecProblem:
    """One thing wrong with a spec: where it stands, what was found there and what is allowed."""

    file: str
    line: int
    path: str
    found: str
    allowed: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}"
        return f"{where}: {self.path or '(top level)'}: found {self.found}; allowed: {self.allowed}"


class BuildError(RedoubtError):
    """A build did not happen; the target is as it was."""

    code = "build"


class SpecInvalid(BuildError):
    """The spec has problems; `problems` holds every one of them, in the order of the file."""

    code = "spec-invalid"

    def __init__(self, problems: Sequence[SpecProblem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class EditedFiles(BuildError):
    """The target holds edits that a build would overwrite; `paths` names them."""

    code = "edited-files"

    def __init__(self, paths: Sequence[str], hint: str) -> None:
        self.paths = tuple(paths)
        super().__init__("edited since they were built: " + ", ".join(self.paths) + ".", hint=hint)


class TablesChanged(BuildError):
    """Tables would change in a way that no migration is made for; `problems` names every such change."""

    code = "tables-changed"

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "a database that exists cannot be brought to these tables:\n"
            + "\n".join(f"  {problem}" for problem in self.problems),
            hint="Take the change back, or build with --new-tables and start with a new database.",
        )


class MissingHandler(BuildError):
    """The spec names a function that the owner's app/handlers.py lacks."""

    code = "missing-handler"


class NotOurTarget(BuildError):
    """The target exists, is not empty and was not made by a build."""

    code = "not-our-target"


class BuildInterrupted(BuildError):
    """Another build runs on this target, or it cannot be replaced in one step."""

    code = "build-interrupted"
