"""Personal data leave an event before it is stored: a salted commitment takes their place.

The body, which the Merkle tree fixes for good, holds `SHA-256(salt || kind || 0 || value)`. Salt and sealed value lie
in a row of their own, which erasure deletes: proofs stay valid, and without its 16 random bytes of salt nobody can
test a guess against the commitment. `lookup` is a keyed tag by which one person's entries are found.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any

from attrs import define, field, frozen

from ..core.base import Core
from ..core.redact_patterns import SECRET_KEY

_EMAIL = re.compile(r"[^\s@<>]{1,64}@[^\s@<>]{1,255}\.[^\s@<>]{1,63}")
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# What no detector could mean, so that a decision is not searched for card numbers twelve times: ids and hashes of ours
# (alone or as `Type:id`), and short words without an @, a blank or more than four digits that have no secret's prefix.
_SAFE = re.compile(rf"(?:[A-Za-z_]{{1,32}}[:/])?{_UUID}|[0-9a-f]{{64}}")
_IDENTIFIER = re.compile(rf"{_UUID}|[0-9a-f]{{64}}")
_IDENTIFIERS = re.compile(rf'(?:{_UUID}|[0-9a-f]{{64}})(?:"(?:{_UUID}|[0-9a-f]{{64}}))*')
_WORD = re.compile(
    r"(?!.*(?:_live_|_test_|_secret_|wh(?:sec|sk)_))[A-Za-z][A-Za-z_-]{0,23}(?:\.[A-Za-z_-]{1,23}){0,2}[0-9]{0,4}"
)
_WORD_MAX, _PLAIN_MAX = 40, 4096
_IPV4_IN_TEXT = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")
_KINDS = {
    "address": "ip", "client_address": "ip", "client_ip": "ip", "ip": "ip", "ip_address": "ip", "network": "ip",
    "remote_addr": "ip", "email": "email", "mail": "email", "to": "email", "phone": "phone", "full_name": "name",
    "display_name": "name",
}  # fmt: skip
_PURPOSE = "audit.personal"
MAX_STRING = 2048
MAX_ITEMS = 200
MAX_DEPTH = 8
COMMITMENT = re.compile(r"<(?:ip|email|phone|name)#[0-9a-f]{64}>")


@frozen
class Disclosure:
    """What is needed to open one commitment: kept apart, and deleted when the person's data must go."""

    commitment: str
    kind: str
    lookup: str
    salt: bytes
    sealed: bytes


@define
class Committer:
    """Turns values into what may be stored for one entry, gathering the disclosures."""

    core: Core
    entry_id: str
    disclosures: list[Disclosure] = field(factory=list)

    def value(self, value: Any, key: str = "", depth: int = 0) -> Any:
        """Return `value` bounded, without floats, secrets or personal data."""
        if isinstance(value, str):
            kind = _KINDS.get(key.lower()) if value else None
            return self.commit(kind, value) if kind and not _SAFE.fullmatch(value) else self.text(value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return self.core.redactor.value(value)
        if isinstance(value, dict) or isinstance(value, Mapping):  # noqa: SIM101 - the first is all but always enough
            if depth >= MAX_DEPTH:
                return "<too-deep>"
            return {
                self.text(str(k)): self._member(str(k), v, depth) for k, v in list(value.items())[:MAX_ITEMS]
            }
        if isinstance(value, list | tuple | set | frozenset):
            if depth >= MAX_DEPTH:
                return "<too-deep>"
            items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
            return [self.value(item, key, depth + 1) for item in list(items)[:MAX_ITEMS]]
        if isinstance(value, bytes | bytearray | memoryview):
            return f"<bytes:{len(value)}>"
        return self.value(str(value), key, depth)

    def text(self, text: str) -> str:
        """Return `text` bounded and redacted; a whole e-mail or network address becomes a commitment."""
        if text in _plain or _SAFE.fullmatch(text):
            return text
        if len(text) <= _WORD_MAX and _WORD.fullmatch(text):
            return _remember(text)
        if len(text) <= 320 and "@" in text and _EMAIL.fullmatch(text):
            return self.commit("email", text)
        if _is_address(text):
            return self.commit("ip", text)
        shown: str = self.core.redactor.text(text[:MAX_STRING])
        shown = _IPV4_IN_TEXT.sub("<ip>", shown)
        return _remember(text) if shown == text and len(text) <= _WORD_MAX else shown

    def commit(self, kind: str, value: str) -> str:
        """Return the commitment to `value` and keep its disclosure."""
        value = _normal(kind, value[:MAX_STRING])
        salt = self.core.ids.random_bytes(16)
        commitment = commitment_of(kind, value, salt)
        sealed = self.core.keys.seal(_PURPOSE, value.encode(), aad=f"{self.entry_id}\0{commitment}".encode())
        self.disclosures.append(Disclosure(commitment, kind, lookup_of(self.core, kind, value), salt, sealed))
        return commitment

    def _member(self, key: str, item: Any, depth: int) -> Any:
        if _is_secret(key) and not (
            item is None or isinstance(item, bool | Mapping | list | tuple | set | frozenset)
        ):
            return self.core.redactor.token("secret", item if isinstance(item, str) else repr(item))
        return self.value(item, key, depth + 1)


@lru_cache(4096)
def _is_secret(key: str) -> bool:
    return key.lower() not in _KINDS and SECRET_KEY.search(key) is not None


_plain: set[str] = set()  # short texts that no detector changed, and that none will: the patterns are fixed


def is_identifier(text: str) -> bool:
    """Say whether `text` is a bare UUID or hash of ours: plain whatever it stands for."""
    return _IDENTIFIER.fullmatch(text) is not None


def are_identifiers(joined: str) -> bool:
    """Say whether all of the texts that a quotation mark joins are such."""
    return _IDENTIFIERS.fullmatch(joined) is not None


def is_plain(text: str) -> bool:
    """Say whether `Committer.text` is known to leave `text` as it is."""
    return (
        text in _plain
        or _SAFE.fullmatch(text) is not None
        or (len(text) <= _WORD_MAX and _WORD.fullmatch(text) is not None)
    )


def is_plain_name(name: str) -> bool:
    """Say whether a member of this name is treated by its value alone: neither personal nor secret by its name."""
    return name.lower() not in _KINDS and not _is_secret(name)


def _remember(text: str) -> str:
    if len(_plain) >= _PLAIN_MAX:
        _plain.clear()
    _plain.add(text)
    return text


def commitment_of(kind: str, value: str, salt: bytes) -> str:
    """Return the commitment that stands in a body for `value`."""
    return f"<{kind}#{sha256(salt + kind.encode() + bytes(1) + value.encode()).hexdigest()}>"


def lookup_of(core: Core, kind: str, value: str) -> str:
    """Return the keyed tag under which the disclosures of `value` are found."""
    return core.keys.mac(_PURPOSE).hexdigest(f"{kind}\0{_normal(kind, value)}")


def lookups_of(core: Core, kind: str, value: str) -> list[str]:
    """Return the tags of `value` under every live key, newest first."""
    return [tag.hex() for tag in core.keys.mac(_PURPOSE).digests(f"{kind}\0{_normal(kind, value)}")]


def open_disclosure(core: Core, entry_id: str, disclosure: Disclosure) -> str | None:
    """Return the value behind a commitment, or None when the disclosure does not belong to it."""
    sealed = core.keys.open_sealed(
        _PURPOSE, disclosure.sealed, aad=f"{entry_id}\0{disclosure.commitment}".encode()
    )
    value = sealed.decode()
    return value if commitment_of(disclosure.kind, value, disclosure.salt) == disclosure.commitment else None


def _normal(kind: str, value: str) -> str:
    return value.strip().lower() if kind in ("email", "ip") else value.strip()


def _is_address(text: str) -> bool:
    if len(text) > 64 or not ("." in text or ":" in text):
        return False
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return False
    return True
