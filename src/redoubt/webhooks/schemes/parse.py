"""Reads the headers that a scheme names, strictly: what is doubled, missing or odd proves nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from ..errors import Unproven
from .model import Body, Field, Header, Members, Part, Prefixed, Scheme, VersionedList

RawHeaders = Iterable[tuple[bytes, bytes]]

_MAX_VALUE = 8192
_MAX_SIGNATURES = 16
_PRINTABLE = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_IDENTITY = re.compile(r"[\x21-\x2d\x2f-\x7e]{1,256}")  # no full stop: it separates the parts of the base
_SECONDS = re.compile(r"[1-9][0-9]{0,10}")


def pick(scheme: Scheme, headers: RawHeaders) -> dict[str, str]:
    """Return the scheme's headers by name; each must come exactly once, in printable ASCII.

    A header that comes twice is refused rather than chosen from: two readers could choose differently.
    """
    wanted = {name.encode(): name for name in scheme.headers}
    found: dict[str, str] = {}
    for raw_name, value in headers:
        name = wanted.get(raw_name.lower())
        if name is None:
            continue
        if name in found:
            raise Unproven("a signature header came more than once.")
        if len(value) > _MAX_VALUE or not _PRINTABLE.fullmatch(value):
            raise Unproven("a signature header holds what it cannot hold.")
        found[name] = value.decode("ascii")
    if len(found) != len(wanted):
        raise Unproven("a signature header is missing.")
    return found


def members(value: str) -> list[tuple[str, str]]:
    """Split `k=v,k=v`; a part without a name or a value is refused."""
    pairs: list[tuple[str, str]] = []
    for part in value.split(","):
        name, separator, content = part.partition("=")
        if not name or not separator or not content:
            raise Unproven("the signature header does not parse.")
        pairs.append((name, content))
    return pairs


def presented(scheme: Scheme, found: Mapping[str, str]) -> list[str]:
    """Return the signatures that the delivery presents under the scheme's own version, at least one."""
    where = scheme.signatures
    value = found[where.header]
    signatures: list[str] = []
    match where:
        case VersionedList(version=wanted):
            for token in value.split(" "):
                version, separator, signature = token.partition(",")
                if not version or not separator or not signature:
                    raise Unproven("the signature header does not parse.")
                if version == wanted:
                    signatures.append(signature)
        case Members(name=wanted):
            signatures = [content for name, content in members(value) if name == wanted]
        case Prefixed(prefix=prefix):
            if not value.startswith(prefix):
                raise Unproven("the signature is of another kind.")
            signatures = [value.removeprefix(prefix)]
    if not 1 <= len(signatures) <= _MAX_SIGNATURES or len(set(signatures)) != len(signatures):
        raise Unproven("there is no signature of the expected kind, too many, or one twice.")
    return signatures


def part_value(part: Header | Field, found: Mapping[str, str]) -> str:
    """Return the text of one signed part; a member must come exactly once."""
    if isinstance(part, Header):
        return found[part.name]
    values = [content for name, content in members(found[part.header]) if name == part.name]
    if len(values) != 1:
        raise Unproven("a signed member is missing or came more than once.")
    return values[0]


def signature_base(scheme: Scheme, found: Mapping[str, str], body: bytes) -> bytes:
    """Join the parts that were signed, exactly as they arrived."""

    def piece(part: Part) -> bytes:
        if isinstance(part, bytes):
            return part
        if isinstance(part, Body):
            return body
        text = part_value(part, found)
        # Without this the border between two parts could be moved under one and the same signature.
        pattern = _SECONDS if part == scheme.timestamp else _IDENTITY
        if not pattern.fullmatch(text):
            raise Unproven("a signed part holds what it cannot hold.")
        return text.encode("ascii")

    return b"".join(piece(part) for part in scheme.base)


def signed_moment(scheme: Scheme, found: Mapping[str, str]) -> datetime | None:
    """Return the moment that was signed, or None for a scheme that signs none."""
    if scheme.timestamp is None:
        return None
    return datetime.fromtimestamp(int(part_value(scheme.timestamp, found)), UTC)
