"""What is wrong with a schema, and where."""

from __future__ import annotations

from ..errors import AuthzError


class SchemaError(AuthzError):
    """A schema that cannot be read: `file`, `line` and `column` say where (both counted from 1)."""

    code = "schema"

    def __init__(self, message: str, *, file: str, line: int, column: int) -> None:
        self.file, self.line, self.column = file, line, column
        super().__init__(f"{file}:{line}:{column}: {message}", hint="Correct the schema and try again.")


class Misread(Exception):
    """A fault with its place, before the name of the file is known; never leaves this package."""

    def __init__(self, message: str, at: tuple[int, int]) -> None:
        self.message, self.at = message, at
        super().__init__(message)
