"""The root of every error tree.

RedoubtError
└── each domain's own tree, drawn at the top of its errors.py
"""

from __future__ import annotations

from typing import ClassVar


class RedoubtError(Exception):
    """Something went wrong in a way that we know: a stable code and a sentence that says what to do.

    The message never holds a secret, a token or personal data: it may be logged and printed.
    """

    code: ClassVar[str] = "redoubt"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()
