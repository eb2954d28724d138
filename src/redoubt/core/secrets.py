"""Secrets are references until the moment of use, and never show themselves.

SecretError (RedoubtError)
├── SecretLiteral       a value stands where a reference must
├── SecretMissing       the reference points at nothing
├── SecretExposed       the file's permissions let others at it
└── SecretUnavailable   this install has no client for that store
"""

from __future__ import annotations

import hmac
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from attrs import frozen
from pydantic_core import PydanticCustomError, core_schema

from .errors import RedoubtError

ALLOWED = "env:NAME or file:PATH"
MAX_SECRET_BYTES = 64 * 1024
_ENV_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,127}")
_REMOTE = re.compile(r"[A-Za-z0-9][A-Za-z0-9/_.:#@+=-]{0,511}")
_SCHEMES = ("env", "file", "awssm", "vault")


class SecretError(RedoubtError):
    """A secret could not be had; the message names the reference, never the value."""

    code: ClassVar[str] = "secret"


class SecretLiteral(SecretError):
    """A literal value stands where only a reference may."""

    code = "secret-literal"


class SecretMissing(SecretError):
    """The reference points at nothing, or at an empty value."""

    code = "secret-missing"


class SecretExposed(SecretError):
    """The file that holds the secret is open to other users."""

    code = "secret-exposed"


class SecretUnavailable(SecretError):
    """The reference names a store that this install has no client for."""

    code = "secret-unavailable"


class Secret:
    """A revealed-on-demand value: masked in every text form, compared in constant time, never pickled."""

    __slots__ = ("__value",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: str | bytes) -> None:
        self.__value = value.encode() if isinstance(value, str) else bytes(value)

    def reveal(self) -> str:
        """Return the value as text; call it where the value is used and keep no copy."""
        return self.__value.decode()

    def reveal_bytes(self) -> bytes:
        """Return the value as bytes; call it where the value is used and keep no copy."""
        return self.__value

    def __len__(self) -> int:
        return len(self.__value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.__value, other.reveal_bytes())

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not serialised; pass its reference")


@frozen
class SecretRef:
    """Where a secret lies: `env:NAME`, `file:PATH`, `awssm:NAME` or `vault:PATH`."""

    scheme: str
    locator: str

    @classmethod
    def parse(cls, text: str) -> SecretRef:
        """Return the reference that `text` spells; raises SecretLiteral, without repeating it, for anything else."""
        scheme, colon, locator = text.partition(":")
        if not colon or scheme not in _SCHEMES:
            raise SecretLiteral("A secret must be a reference, not a literal.", hint=f"Write {ALLOWED}.")
        if scheme == "env" and not _ENV_NAME.fullmatch(locator):
            raise SecretLiteral(
                "env: must be followed by an upper-case variable name.", hint="Write env:NAME."
            )
        if scheme == "file" and (not locator.strip() or "\0" in locator or len(locator) > 4096):
            raise SecretLiteral("file: must be followed by a path.", hint="Write file:PATH.")
        if scheme in ("awssm", "vault") and not _REMOTE.fullmatch(locator):
            raise SecretLiteral(
                f"{scheme}: must be followed by a secret's name.", hint=f"Write {scheme}:NAME."
            )
        return cls(scheme, locator)

    def resolve(self, base: Path, env: Mapping[str, str] | None = None) -> Secret:
        """Return the secret now; relative files are looked up under `base`.

        Raises SecretMissing, SecretExposed or SecretUnavailable. Nothing is cached, so a rotated file is seen.
        """
        if self.scheme == "env":
            value = (os.environ if env is None else env).get(self.locator, "")
            if not value:
                raise SecretMissing(
                    f"The environment variable of {self} is not set.", hint="Set it, or use file:PATH."
                )
            return Secret(value)
        if self.scheme == "file":
            return self._read(base)
        raise SecretUnavailable(
            f"{self.scheme}: references are not available in this install.", hint=f"Use {ALLOWED}."
        )

    def _read(self, base: Path) -> Secret:
        path = base / self.locator
        try:
            with path.open("rb") as file:
                _refuse_exposed(os.fstat(file.fileno()), self, mounted=Path(self.locator).is_absolute())
                data = file.read(MAX_SECRET_BYTES + 1)
        except OSError as error:
            raise SecretMissing(
                f"The file of {self} could not be read ({error.strerror}).", hint="Create it with mode 0600."
            ) from None
        if len(data) > MAX_SECRET_BYTES:
            raise SecretMissing(
                f"The file of {self} is larger than {MAX_SECRET_BYTES} bytes.", hint="Is it the right one?"
            )
        data = data.removesuffix(b"\n").removesuffix(b"\r")
        if not data:
            raise SecretMissing(f"The file of {self} is empty.", hint="Write the secret into it.")
        return Secret(data)

    def __str__(self) -> str:
        return f"{self.scheme}:{self.locator}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        """Let settings models hold references: text in, SecretRef out, literals refused without being repeated."""

        def parse(value: Any) -> SecretRef:
            if isinstance(value, cls):
                return value
            try:
                return cls.parse(value if isinstance(value, str) else "")
            except SecretLiteral as error:
                raise PydanticCustomError("secret_literal", "{reason}", {"reason": str(error)}) from None

        return core_schema.no_info_plain_validator_function(
            parse, serialization=core_schema.to_string_ser_schema()
        )


def _refuse_exposed(status: os.stat_result, ref: SecretRef, *, mounted: bool) -> None:
    # A platform mounts its secrets read-only with modes of its own (Docker 0444, Kubernetes 0644) under absolute
    # paths; a file of the app's own tree has no reason to be readable by anybody else.
    if not stat.S_ISREG(status.st_mode):
        raise SecretMissing(f"{ref} is not a regular file.", hint="Point it at a file.")
    if stat.S_IMODE(status.st_mode) & (0o022 if mounted else 0o077):
        raise SecretExposed(
            f"The file of {ref} is open to other users.", hint="chmod 600 it, then rotate the secret."
        )
