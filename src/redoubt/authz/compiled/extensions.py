"""Cedar's extension types: decimal, ipaddr, datetime (RFC 80) and duration, as exact whole numbers."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from socket import AF_INET, inet_pton
from typing import Any

from .values import MAX_LONG, MIN_LONG, CedarError, Ext

DAY = 86_400_000
_DECIMAL = re.compile(r"(-?)([0-9]+)\.([0-9]{1,4})")
_DURATION = re.compile(r"(-?)(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?(?:([0-9]+)ms)?")
_DURATION_UNITS = (DAY, 3_600_000, 60_000, 1000, 1)
_DATETIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{3}))?(?:Z|([+-])([0-9]{2})([0-9]{2})))?"
)
_MONTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PREFIX = re.compile(r"0|[1-9][0-9]{0,2}")
_MAX_NUMBER, _MAX_IP = 40, 43
_new = tuple.__new__  # as Ext does it, without a call in Python


def long(value: int) -> int:
    """Return `value`; raises CedarError beyond 64 bits: Cedar's arithmetic does not wrap."""
    if MIN_LONG <= value <= MAX_LONG:
        return value
    raise CedarError("overflow")


def decimal(text: str) -> Ext:
    """Read a decimal of at most four places, kept as ten-thousandths."""
    found = _DECIMAL.fullmatch(text)
    if found is None or (len(found[2]) > _MAX_NUMBER and found[2].lstrip("0")[_MAX_NUMBER:]):
        raise CedarError("not a decimal")
    number = int(found[2].lstrip("0") or "0") * 10_000 + int(found[3].ljust(4, "0"))
    return Ext("decimal", long(-number if found[1] else number))


def duration(text: str) -> Ext:
    """Read a duration such as `-1d2h3m4s5ms`, kept as milliseconds."""
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groups()[1:]):
        raise CedarError("not a duration")
    total = 0
    for digits, unit in zip(found.groups()[1:], _DURATION_UNITS, strict=True):
        number = (digits or "0").lstrip("0") or "0"
        if len(number) > _MAX_NUMBER:
            raise CedarError("overflow")
        total += int(number) * unit
    return Ext("duration", long(-total if found[1] else total))


def datetime(text: str) -> Ext:
    """Read a date, or a date with a time and a zone, kept as milliseconds since 1970."""
    found = _DATETIME.fullmatch(text)
    if found is None:
        raise CedarError("not a datetime")
    year, month, day = int(found[1]), int(found[2]), int(found[3])
    if not 1 <= month <= 12 or not 1 <= day <= _MONTHS[month - 1] + (month == 2 and _leap(year)):
        raise CedarError("no such day")
    moment = _days(year, month, day) * DAY
    if found[4] is not None:
        hour, minute, second = int(found[4]), int(found[5]), int(found[6])
        if hour > 23 or minute > 59 or second > 59:
            raise CedarError("no such time")
        moment += ((hour * 60 + minute) * 60 + second) * 1000 + int(found[7] or 0)
        if found[8] is not None:
            hours, minutes = int(found[9]), int(found[10])
            if hours > 23 or minutes > 59:
                raise CedarError("no such zone")
            shift = (hours * 60 + minutes) * 60_000
            moment += shift if found[8] == "-" else -shift
    return Ext("datetime", moment)


def ip(text: str) -> Ext:
    """Read an address or a network, kept as (version, address, prefix); no zones, no IPv4 within IPv6."""
    if ":" not in text and "/" not in text:  # what most are; the system's reader is as strict, and quick
        try:
            return _new(Ext, ("ipaddr", (4, int.from_bytes(inet_pton(AF_INET, text), "big"), 32)))
        except (OSError, ValueError) as error:
            raise CedarError("not an IP address") from error
    if len(text.encode("utf-8", "surrogatepass")) > _MAX_IP or (":" in text and "." in text) or "%" in text:
        raise CedarError("not an IP address")
    base, slash, prefix = text.partition("/")
    try:
        address = ipaddress.ip_address(base)
    except ValueError as error:
        raise CedarError("not an IP address") from error
    width: int = address.max_prefixlen
    length = width
    if slash:
        if not _PREFIX.fullmatch(prefix) or int(prefix) > width:
            raise CedarError("not an IP prefix")
        length = int(prefix)
    return Ext("ipaddr", (address.version, int(address), length))


def in_range(inner: Ext, outer: Ext) -> bool:
    """Say whether a network lies within another; never across versions."""
    (version, address, prefix), (other, network, length) = inner.value, outer.value
    if version != other or prefix < length:
        return False
    shift = (32 if version == 4 else 128) - length
    return bool(address >> shift == network >> shift)


def is_loopback(value: Ext) -> bool:
    """Say whether all of a network is loopback."""
    version, address, prefix = value.value
    return bool(address >> 24 == 127 and prefix >= 8) if version == 4 else address == 1 and prefix == 128


def is_multicast(value: Ext) -> bool:
    """Say whether all of a network is multicast."""
    version, address, prefix = value.value
    if version == 4:
        return bool(address >> 28 == 0xE and prefix >= 4)
    return bool(address >> 120 == 0xFF and prefix >= 8)


def construct(name: str, args: Sequence[Any]) -> Ext:
    """Return the extension value of a constructor call in data; raises CedarError for any other call."""
    if name == "offset" and len(args) == 2:
        moment, shift = typed(args[0], "datetime"), typed(args[1], "duration")
        return Ext("datetime", long(moment.value + shift.value))
    maker = CONSTRUCTORS.get(name)
    if maker is None or len(args) != 1 or type(args[0]) is not str:
        raise CedarError("not an extension value")
    return maker(args[0])


def typed(value: Any, kind: str) -> Ext:
    """Return `value`, which is of the extension type `kind`; raises CedarError otherwise."""
    if type(value) is Ext and value.kind == kind:
        return value
    raise CedarError(f"not of the type {kind}")


def truncated(number: int, unit: int) -> int:
    """Divide towards zero."""
    return -(-number // unit) if number < 0 else number // unit


CONSTRUCTORS: dict[str, Callable[[str], Ext]] = {
    "ip": ip,
    "decimal": decimal,
    "datetime": datetime,
    "duration": duration,
}

_Method = Callable[[Ext], Any]
METHODS: dict[str, tuple[str, _Method]] = {
    "is_ipv4": ("ipaddr", lambda value: value.value[0] == 4),
    "is_ipv6": ("ipaddr", lambda value: value.value[0] == 6),
    "is_loopback": ("ipaddr", is_loopback),
    "is_multicast": ("ipaddr", is_multicast),
    "to_date": ("datetime", lambda value: Ext("datetime", long(value.value // DAY * DAY))),
    "to_time": ("datetime", lambda value: Ext("duration", value.value % DAY)),
    "to_milliseconds": ("duration", lambda value: value.value),
    "to_seconds": ("duration", lambda value: truncated(value.value, 1000)),
    "to_minutes": ("duration", lambda value: truncated(value.value, 60_000)),
    "to_hours": ("duration", lambda value: truncated(value.value, 3_600_000)),
    "to_days": ("duration", lambda value: truncated(value.value, DAY)),
}
"""Methods without arguments by the tree's name: the type they are of, and what they return."""

_Method2 = Callable[[Ext, Ext], Any]
METHODS_OF_TWO: dict[str, tuple[str, str, _Method2]] = {
    "is_in_range": ("ipaddr", "ipaddr", in_range),
    "offset": ("datetime", "duration", lambda a, b: Ext("datetime", long(a.value + b.value))),
    "duration_since": ("datetime", "datetime", lambda a, b: Ext("duration", long(a.value - b.value))),
    "decimal_less_than": ("decimal", "decimal", lambda a, b: a.value < b.value),
    "decimal_less_eq": ("decimal", "decimal", lambda a, b: a.value <= b.value),
    "decimal_greater": ("decimal", "decimal", lambda a, b: a.value > b.value),
    "decimal_greater_eq": ("decimal", "decimal", lambda a, b: a.value >= b.value),
}
"""Methods with one argument by the tree's name: both types, and what they return."""


def _leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _days(year: int, month: int, day: int) -> int:
    """Return the days since 1970-01-01; Python's own calendar has no year 0."""
    before = year - 1
    days = before * 365 + before // 4 - before // 100 + before // 400 - 719_162
    days += sum(_MONTHS[: month - 1]) + (month > 2 and _leap(year))
    return days + day - 1
