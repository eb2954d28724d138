"""Card numbers found by issuer range and check digit, however they are spaced or escaped."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import accumulate

from attrs import frozen

# Issuer identification numbers (ISO/IEC 7812-1): first number, last number of the prefix, lengths it is issued with.
_ISSUERS: tuple[tuple[str, str, frozenset[int]], ...] = (
    ("4", "4", frozenset({13, 16, 18, 19})),  # Visa
    ("51", "55", frozenset({16})),  # Mastercard
    ("2221", "2720", frozenset({16})),  # Mastercard 2-series
    ("34", "34", frozenset({15})),  # American Express
    ("37", "37", frozenset({15})),
    ("300", "305", frozenset(range(14, 20))),  # Diners Club
    ("3095", "3095", frozenset(range(14, 20))),
    ("36", "36", frozenset(range(14, 20))),
    ("38", "39", frozenset(range(14, 20))),
    ("3528", "3589", frozenset(range(16, 20))),  # JCB
    ("6011", "6011", frozenset(range(16, 20))),  # Discover
    ("644", "659", frozenset(range(16, 20))),
    ("62", "62", frozenset(range(16, 20))),  # UnionPay
    ("2200", "2204", frozenset(range(16, 20))),  # Mir
    ("5018", "5018", frozenset(range(13, 20))),  # Maestro
    ("5020", "5020", frozenset(range(13, 20))),
    ("5038", "5038", frozenset(range(13, 20))),
    ("5893", "5893", frozenset(range(13, 20))),
    ("6304", "6304", frozenset(range(13, 20))),
    ("6759", "6763", frozenset(range(13, 20))),
    ("5019", "5019", frozenset({16})),  # Dankort
    ("5060", "5061", frozenset({16, 18, 19})),  # Verve
    ("508", "508", frozenset({16})),  # RuPay
    ("606", "608", frozenset({16})),
    ("81", "82", frozenset({16})),
    ("637", "639", frozenset({16})),  # InstaPayment
    ("9792", "9792", frozenset({16})),  # Troy
)
_FILLER = "\x01"
_SEPARATORS = " \t-+"
_BETWEEN = f"[{_FILLER}{re.escape(_SEPARATORS)}]{{0,12}}"
_CANDIDATE = re.compile(rf"[0-9](?:[./]?{_BETWEEN}[0-9]){{12}}")
# Whatever may stand between two digits of a candidate, and what is left of one without all that.
_WITHIN = (_FILLER + _SEPARATORS + "./").encode()
_MANY_DIGITS = re.compile(rb"[0-9]{13}")
_RUN = re.compile(rf"[0-9](?:{_BETWEEN}[0-9]){{12,}}")
_GROUP = re.compile(rf"[0-9](?:{_FILLER}*[0-9])*")
_DOTTED = re.compile(
    r"(?<![0-9.])[0-9]{4}(?:([./])[0-9]{4}\1[0-9]{4}\1[0-9]{4}|[./][0-9]{6}[./][0-9]{4,5})(?![0-9.])"
)
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}|\\u00[0-9A-Fa-f]{2}")
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


@frozen
class Span:
    """Where a card number stands, and its bare digits."""

    start: int
    end: int
    digits: str


def luhn(digits: str) -> bool:
    """Say whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    plain, doubled = digits[::-1][::2], digits[::-1][1::2]
    return (sum(map(int, plain)) + sum(_DOUBLED[int(digit)] for digit in doubled)) % 10 == 0


def is_pan(digits: str) -> bool:
    """Say whether bare digits are a card number: 13 to 19 of them, of a known issuer, with a right check digit."""
    return len(digits) in _lengths(digits[:4]) and luhn(digits)


@lru_cache(maxsize=10_000)
def _lengths(prefix: str) -> frozenset[int]:
    """Return the lengths that cards whose number starts with these four digits are issued with."""
    fits = [lengths for low, high, lengths in _ISSUERS if low <= prefix[: len(low)] <= high]
    return frozenset().union(*fits)


def find_pans(text: str) -> list[Span]:
    """Return the card numbers in `text`, in order, not overlapping.

    Seen through: spaces, dashes, dots and slashes in the usual groups, percent and JSON escapes, digits of other
    scripts, invisible characters, letters glued on. Not taken for one: UUIDs, decimals, hexadecimal, longer numbers.
    """
    plain = _flatten(text)
    if not _CANDIDATE.search(plain):
        return []
    taken = [match.span() for match in _UUID.finditer(plain)]
    found = [span for match in _RUN.finditer(plain) for span in _in_run(plain, *match.span(), taken)]
    for match in _DOTTED.finditer(plain):
        digits = re.sub("[./]", "", match[0])
        if is_pan(digits) and _stands_alone(plain, *match.span()):
            found.append(Span(*match.span(), digits))
    return sorted(found, key=lambda span: span.start)


def contains_pan(data: bytes | str) -> bool:
    """Say whether a card number stands anywhere in `data`; bytes are read as UTF-8, and as UTF-16 when they hold NULs."""
    if isinstance(data, str):
        return bool(find_pans(data))
    if _is_plain(data) and not _MANY_DIGITS.search(data.translate(None, _WITHIN)):
        return False
    if find_pans(data.decode("utf-8", "replace")):
        return True
    return b"\0" in data and bool(find_pans(data.replace(b"\0", b"").decode("utf-8", "replace")))


def _is_plain(data: bytes) -> bool:
    """Say whether nothing in `data` stands for another character than itself."""
    return data.isascii() and not (b"%" in data or b"\\u" in data or b"\0" in data)


def _in_run(text: str, start: int, end: int, taken: list[tuple[int, int]]) -> list[Span]:
    # Whole groups only: "12345 4242 4242 4242 4242" holds a card, the middle of a 30-digit number does not. Two
    # running Luhn sums, one for each parity, make every window a subtraction, so that a hostile megabyte stays cheap.
    groups = [match.span() for match in _GROUP.finditer(text, start, end)]
    numbers = [text[low:high].replace(_FILLER, "") for low, high in groups]
    digits = "".join(numbers)
    values = [ord(digit) - 48 for digit in digits]
    even = [0, *accumulate(v if i % 2 == 0 else _DOUBLED[v] for i, v in enumerate(values))]
    odd = [0, *accumulate(_DOUBLED[v] if i % 2 == 0 else v for i, v in enumerate(values))]
    ends = {stop: groups[index][1] for index, stop in enumerate(accumulate(map(len, numbers)))}
    found: list[Span] = []
    at, free = 0, 0
    for (low, _), number in zip(groups, numbers, strict=True):
        # longest first: of a 19-digit number, 16 digits may be a valid number too
        for size in sorted(_lengths(digits[at : at + 4]), reverse=True) if at >= free else ():
            stop = at + size
            sums = even if (stop - 1) % 2 == 0 else odd
            if stop not in ends or (sums[stop] - sums[at]) % 10:
                continue
            if _stands_alone(text, low, ends[stop]) and not _inside(low, ends[stop], taken):
                found.append(Span(low, ends[stop], digits[at:stop]))
                free = stop
                break
        at += len(number)
    return found


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Refuse pieces of hexadecimal, of identifiers and of decimals; letters that are merely glued on are allowed."""
    if text[max(0, start - 2) : start].endswith(".") and text[max(0, start - 2) : start - 1].isdigit():
        return False
    if text[end : end + 1] == "." and text[end + 1 : end + 2].isdigit():
        return False
    left, right = start, end
    while left > 0 and start - left < 64 and (text[left - 1].isalpha() or text[left - 1] == "_"):
        left -= 1
    while right < len(text) and right - end < 64 and (text[right].isalpha() or text[right] == "_"):
        right += 1
    before = left < start and left > 0 and text[left - 1].isdigit()
    after = right > end and right < len(text) and text[right].isdigit()
    return not (before or after)


def _inside(start: int, end: int, taken: list[tuple[int, int]]) -> bool:
    return any(low <= start and end <= high for low, high in taken)


def _flatten(text: str) -> str:
    """Return text of the same length in which escapes and look-alikes are plain digits, separators and filler."""
    if not text.isascii():
        text = "".join(char if char < "\x80" else _plain(char) for char in text)
    if "%" in text or "\\u" in text:
        text = _ESCAPE.sub(lambda match: _unescape(match[0]), text)
    return text


def _unescape(escape: str) -> str:
    char = chr(int(escape[-2:], 16))
    if char.isdecimal() and char.isascii():
        return char + _FILLER * (len(escape) - 1)
    return (" " if char in _SEPARATORS else "=") * len(escape)


def _plain(char: str) -> str:
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    category = unicodedata.category(char)
    if category == "Cf":
        return _FILLER
    if category == "Zs":
        return " "
    if category == "Pd" or char == "\u2212":
        return "-"
    return char
