"""Base64url and e-mail addresses in the one form that we store and compare."""

from __future__ import annotations

import base64
import re
import unicodedata

from .errors import AddressRefused

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*\Z")
_LOCAL = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*\Z")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
MAX_EMAIL = 254


def b64url(data: bytes) -> str:
    """Return base64url without padding (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_b64url(text: str, limit: int) -> bytes:
    """Decode canonical base64url of at most `limit` bytes; ValueError for anything else.

    One value has one spelling: padding, other alphabets and stray low bits are refused, so that a comparison of
    texts is a comparison of bytes.
    """
    if len(text) > (limit * 4 + 2) // 3 or not _BASE64URL.match(text):
        raise ValueError("not base64url within its limit")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if b64url(data) != text:
        raise ValueError("not canonical base64url")
    return data


def parse_email(value: object) -> str:
    """Return `value` as the address that we store: trimmed, NFC, lower case, its domain in ASCII.

    Raises AddressRefused for anything that is not a plain `local@domain` of at most 254 characters, line breaks
    and other header tricks included.
    """
    if not isinstance(value, str) or len(value) > MAX_EMAIL:
        raise AddressRefused
    text = unicodedata.normalize("NFC", value.strip(" ")).lower()
    local, at, domain = text.rpartition("@")
    try:
        domain = domain.encode("idna").decode("ascii")
    except UnicodeError:
        raise AddressRefused from None
    labels = domain.split(".")
    if not at or len(local) > 64 or len(local) + len(domain) + 1 > MAX_EMAIL or not _LOCAL.match(local):
        raise AddressRefused
    if not all(_LABEL.match(label) for label in labels):
        raise AddressRefused
    return f"{local}@{domain}"
