"""Literals of Cedar's extension types as numbers (Cedar reference, "Extension types")."""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, datetime, timedelta

from .errors import Unsupported

MIN_LONG, MAX_LONG = -(2**63), 2**63 - 1
_DECIMAL = re.compile(r"(-?)([0-9]+)\.([0-9]{1,4})")
_DURATION = re.compile(
    r"(-?)(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m(?!s))?(?:([0-9]+)s)?(?:([0-9]+)ms)?", re.ASCII
)
_DATE = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{3}))?(?:Z|([+-])([0-9]{2})([0-9]{2})))?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _bounded(number: int, text: str) -> int:
    if not MIN_LONG <= number <= MAX_LONG:
        raise Unsupported(f"the literal {text!r} is out of range")
    return number


def decimal_of(text: str) -> int:
    """Return a decimal's ten thousandths; raises Unsupported when it is none."""
    found = _DECIMAL.fullmatch(text)
    if found is None:
        raise Unsupported(f"{text!r} is no decimal")
    number = int(found[2]) * 10_000 + int(found[3].ljust(4, "0"))
    return _bounded(-number if found[1] else number, text)


def duration_of(text: str) -> int:
    """Return a duration's milliseconds; raises Unsupported when it is none."""
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groups()[1:]):
        raise Unsupported(f"{text!r} is no duration")
    factors = (86_400_000, 3_600_000, 60_000, 1_000, 1)
    number = sum(int(part or 0) * factor for part, factor in zip(found.groups()[1:], factors, strict=True))
    return _bounded(-number if found[1] else number, text)


def datetime_of(text: str) -> int:
    """Return a datetime's milliseconds since 1970; raises Unsupported when it is none."""
    found = _DATE.fullmatch(text)
    if found is None:
        raise Unsupported(f"{text!r} is no datetime")
    year, month, day, hour, minute, second, milli = (int(part or 0) for part in found.groups()[:7])
    cycle = (
        400 if year == 0 else 0
    )  # Cedar has the year 0, datetime begins with 1; 400 years are 146,097 days
    try:
        moment = datetime(year + cycle, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise Unsupported(f"{text!r} is no datetime") from error
    gap = moment - _EPOCH - timedelta(days=146_097 if cycle else 0)
    number = (gap.days * 86_400 + gap.seconds) * 1_000 + milli
    if found[8]:
        hours, minutes = int(found[9]), int(found[10])
        if hours > 23 or minutes > 59:
            raise Unsupported(f"{text!r} is no datetime")
        offset = (hours * 60 + minutes) * 60_000
        number += -offset if found[8] == "+" else offset
    return number


def ip_of(text: str) -> tuple[bool, int, int]:
    """Return an address or range as (is it IPv6, address, prefix); raises Unsupported when it is none."""
    try:
        found = ipaddress.ip_interface(text)
    except ValueError as error:
        raise Unsupported(f"{text!r} is no address") from error
    return found.version == 6, int(found.ip), int(found.network.prefixlen)
