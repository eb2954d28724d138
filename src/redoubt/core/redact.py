"""Personal data, card numbers and secrets replaced by keyed tokens before they reach any sink.

A token is `<kind:6 hex>`: the same value gives the same token in one installation, so logs stay joinable, and
without the key nobody can guess it back. When redaction itself fails, the whole text is dropped, never let through.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from .ids import Ids
from .pan import find_pans
from .redact_patterns import (
    EMAIL,
    IBAN_LENGTHS,
    IBAN_START,
    KEYED,
    PHONE,
    PLAIN_KINDS,
    SECRET_KEY,
)

FAILED = "<redaction-failed>"
MAX_TEXT = 64 * 1024
_MAX_DEPTH = 16
_MAX_ITEMS = 1000
_TOKEN = re.compile(r"(<[a-z-]{1,16}:[0-9a-f]{6}>)")


class Mac(Protocol):
    """What the redactor needs of a key: `core.keys.MacKey` has it."""

    def hexdigest(self, data: bytes | str) -> str:
        """Return the hexadecimal tag of `data`."""
        ...


class ProcessMac:
    """A key that lives as long as its process: for processes that hold no keyring."""

    def __init__(self, ids: Ids) -> None:
        self.__key = ids.random_bytes(32)

    def hexdigest(self, data: bytes | str) -> str:
        """Return the hexadecimal HMAC-SHA256 of `data`."""
        return hmac.digest(self.__key, data.encode() if isinstance(data, str) else data, "sha256").hex()


class Redactor:
    """Takes personal data and secrets out of text and values; fails closed."""

    def __init__(self, mac: Mac) -> None:
        self._mac = mac

    def text(self, text: str) -> str:
        """Return `text` with every e-mail, phone, IBAN, card number, token, cookie and key replaced."""
        try:
            return self._text(text)
        except Exception:  # whatever went wrong, the text stays inside
            return FAILED

    def value(self, value: Any) -> Any:
        """Return a JSON-like copy of `value`, redacted; what stands under a secret-like key is replaced whole."""
        try:
            return self._value(value, 0)
        except Exception:  # whatever went wrong, the value stays inside
            return FAILED

    def token(self, kind: str, value: str) -> str:
        """Return the token that stands for `value`."""
        return f"<{kind}:{self._mac.hexdigest(f'redact{chr(0)}{kind}{chr(0)}{value}')[:6]}>"

    def _value(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, int):
            shown = self._text(str(value)) if abs(value) >= 10**12 else ""
            return shown if shown.startswith("<") else value
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return f"<bytes:{len(value)}>"
        if depth >= _MAX_DEPTH:
            return "<too-deep>"
        if isinstance(value, Mapping):
            pairs = list(value.items())[:_MAX_ITEMS]
            return {self._text(str(key)): self._member(str(key), item, depth) for key, item in pairs}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._value(item, depth + 1) for item in list(value)[:_MAX_ITEMS]]
        return self._text(str(value))

    def _member(self, key: str, item: Any, depth: int) -> Any:
        if SECRET_KEY.search(key) and item is not None and not isinstance(item, bool):
            shown = item if isinstance(item, str) else repr(item)
            return shown if _TOKEN.fullmatch(shown) else self.token("secret", shown)
        return self._value(item, depth + 1)

    def _text(self, text: str) -> str:
        if len(text) > MAX_TEXT:
            # What straddles the cut would show its first half: drop back to the last gap.
            text = text[:MAX_TEXT].rsplit(None, 1)[0][: MAX_TEXT - 512] + "<cut>"
        for kind, hint, pattern in PLAIN_KINDS:
            if hint(text):
                text = _between_tokens(text, partial(pattern.sub, self._replacer(kind)))
        if "@" in text or "%40" in text:
            text = _between_tokens(text, partial(EMAIL.sub, self._email))
        for stage in (
            self._ibans,
            self._cards,
            partial(PHONE.sub, self._phone),
            partial(KEYED.sub, self._keyed),
        ):
            text = _between_tokens(text, stage)
        return text

    def _replacer(self, kind: str) -> Callable[[re.Match[str]], str]:
        def replace(match: re.Match[str]) -> str:
            kept = match["keep"] or "" if "keep" in match.re.groupindex else ""
            return kept + self.token(kind, match[0][len(kept) :])

        return replace

    def _email(self, match: re.Match[str]) -> str:
        return self.token("email", match[0].replace("%40", "@").lower())

    def _phone(self, match: re.Match[str]) -> str:
        return self.token("phone", re.sub("[^0-9]", "", match[0]))

    def _keyed(self, match: re.Match[str]) -> str:
        kept: str = match["keep"]
        return kept + self.token("secret", match[0][len(kept) :].strip("\"'"))

    def _cards(self, text: str) -> str:
        for span in reversed(find_pans(text)):
            text = text[: span.start] + self.token("card", span.digits) + text[span.end :]
        return text

    def _ibans(self, text: str) -> str:
        at = 0
        while match := IBAN_START.search(text, at):
            size = IBAN_LENGTHS.get(match[1].upper())
            end, account = _take(text, match.start(), size) if size else (0, "")
            if account and _mod97(account):
                token = self.token("iban", account)
                text = text[: match.start()] + token + text[end:]
                at = match.start() + len(token)
            else:
                at = match.end()
        return text


def _between_tokens(text: str, stage: Callable[[str], str]) -> str:
    """Apply `stage` to what lies between tokens, so that no token is redacted again."""
    if "<" not in text:
        return stage(text)
    parts = _TOKEN.split(text)  # tokens at odd places
    return "".join(part if at % 2 else stage(part) for at, part in enumerate(parts))


def _take(text: str, start: int, size: int) -> tuple[int, str]:
    """Return end and characters of `size` letters and digits from `start`, single spaces and dashes between them."""
    taken: list[str] = []
    at = start
    while at < len(text) and len(taken) < size:
        char = text[at]
        if char.isascii() and char.isalnum():
            taken.append(char.upper())
        elif char not in " -\u00a0" or text[at - 1] in " -\u00a0":
            return 0, ""
        at += 1
    if len(taken) < size or (at < len(text) and text[at].isascii() and text[at].isalnum()):
        return 0, ""
    return at, "".join(taken)


def _mod97(account: str) -> bool:
    """Say whether an IBAN's check digits are right (ISO 13616; ISO/IEC 7064, MOD 97-10)."""
    return int("".join(str(int(char, 36)) for char in account[4:] + account[:4])) % 97 == 1
