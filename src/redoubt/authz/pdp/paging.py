"""Page tokens: where a search went on, sealed to the search and the caller that it was given for."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from redoubt.core.canonical import canonical_json, sha256_hex
from redoubt.core.keys import MacKey
from redoubt.core.problem import Problem

_TAG = 32


class Cursor:
    """Writes and reads page tokens; nothing is kept between two pages."""

    def __init__(self, mac: MacKey) -> None:
        """Seal by `mac`, a key of the purpose `authzen-page`."""
        self._mac = mac

    def write(self, last: str, about: Mapping[str, Any]) -> str:
        """Return the token that goes on after `last` in the search `about`."""
        return base64.urlsafe_b64encode(self._mac.digest(_sealed(last, about)) + last.encode()).decode()

    def read(self, token: str, about: Mapping[str, Any]) -> str:
        """Return where to go on, "" without a token; raises Problem 400 for one of another search or caller."""
        if not token:
            return ""
        try:
            raw = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
            last = raw[_TAG:].decode()
        except (binascii.Error, ValueError):
            raise foreign() from None
        if not self._mac.verify(_sealed(last, about), raw[:_TAG]):
            raise foreign()
        return last


def _sealed(last: str, about: Mapping[str, Any]) -> bytes:
    # The digest first: of fixed length, so that no part can be moved over into the other.
    return f"{sha256_hex(_bytes_of(about))}{last}".encode()


def _bytes_of(about: Mapping[str, Any]) -> bytes:
    """Return `about` as canonical bytes; raises Problem 400 for values that have no canonical form."""
    try:
        return canonical_json(dict(about))
    except (TypeError, ValueError):
        raise Problem(
            400, "bad-request", "The request cannot be understood.", detail="A number has no exact form."
        ) from None


def foreign() -> Problem:
    """Return the refusal of a token that does not belong to this search."""
    return Problem(
        400, "bad-request", "The request cannot be understood.", detail="page.token is of another search."
    )
