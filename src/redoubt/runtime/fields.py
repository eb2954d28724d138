"""The kinds of field that an entity of an app can have: each parses what a client sent, or says what it allows.

A field knows its column, its form control and its bounds. Parsing is strict: text stays text, numbers are whole,
nothing is coerced from another JSON type; forms, which have text only, go through `from_form` first.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

import sqlalchemy as sa
from attrs import field, frozen

from redoubt.core.db import Json

Pii = Literal["none", "name", "contact", "address"]

_EMAIL = re.compile(r"[^\s@<>\"',;:\\()\[\]\x00-\x1f]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class FieldError(ValueError):
    """A value that its field does not allow; the message says what it does, never the value."""


@frozen(kw_only=True)
class Field:
    """What all fields share."""

    kind: ClassVar[str] = ""
    title: str = ""
    required: bool = False
    pii: Pii = "none"
    immutable: bool = False
    unique: bool = False

    @property
    def server_set(self) -> bool:
        """Whether only the server sets it."""
        return False

    def column_type(self) -> sa.types.TypeEngine[Any]:
        """Return the type of its column."""
        return sa.Text()

    def parse(self, value: Any) -> Any:
        """Return the value to store; raises FieldError."""
        raise NotImplementedError

    def from_form(self, text: str) -> Any:
        """Return what a form's text means as JSON; an empty control means no value."""
        return text or None

    def to_json(self, value: Any) -> Any:
        """Return the stored value as clients see it."""
        return value

    def show(self, value: Any) -> str:
        """Return the stored value as pages show it."""
        return "" if value is None else str(value)


def _text(value: Any, low: int, high: int, multiline: bool) -> str:
    if not isinstance(value, str):
        raise FieldError("must be text")
    text: str = unicodedata.normalize("NFC", value.replace("\r\n", "\n")).strip()
    if _CONTROL.search(text) or (("\n" in text or "\t" in text) and not multiline):
        raise FieldError("must not hold control characters" if multiline else "must be one line of text")
    if any(0xD800 <= ord(char) <= 0xDFFF for char in text):
        raise FieldError("must be valid text")
    if not low <= len(text) <= high:
        raise FieldError(f"must have {low} to {high} characters")
    return text


@frozen(kw_only=True)
class Text(Field):
    """One line of text, or several."""

    kind = "text"
    min: int = 0
    max: int = 200
    multiline: bool = False

    def parse(self, value: Any) -> str:
        """Return the text in Unicode NFC without surrounding space."""
        return _text(value, max(self.min, 1) if self.required else self.min, self.max, self.multiline)


@frozen(kw_only=True)
class Email(Field):
    """An e-mail address, kept as written."""

    kind = "email"
    max: int = 254

    def parse(self, value: Any) -> str:
        """Return the address."""
        text = _text(value, 6, self.max, False)
        if not _EMAIL.fullmatch(text) or ".." in text:
            raise FieldError("must be an e-mail address")
        return text


@frozen(kw_only=True)
class Url(Field):
    """An absolute https address; it is shown, never fetched."""

    kind = "url"
    max: int = 500

    def parse(self, value: Any) -> str:
        """Return the address."""
        text = _text(value, 8, self.max, False)
        try:
            parts = urlsplit(text)
            good = (
                parts.scheme == "https"
                and bool(parts.hostname)
                and "@" not in parts.netloc
                and " " not in text
            )
        except ValueError:
            good = False
        if not good:
            raise FieldError("must be an https address without user or password")
        return text


@frozen(kw_only=True)
class Integer(Field):
    """A whole number."""

    kind = "integer"
    min: int = 0
    max: int = 10**9

    def column_type(self) -> sa.types.TypeEngine[Any]:
        """Return a 64-bit integer."""
        return sa.BigInteger()

    def parse(self, value: Any) -> int:
        """Return the number."""
        if isinstance(value, bool) or not isinstance(value, int) or not self.min <= value <= self.max:
            raise FieldError(f"must be a whole number from {self.min} to {self.max}")
        return value

    def from_form(self, text: str) -> Any:
        """Read digits; anything else goes on as text and is refused there."""
        text = text.strip()
        return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else (text or None)


@frozen(kw_only=True)
class Boolean(Field):
    """True or false."""

    kind = "boolean"

    def column_type(self) -> sa.types.TypeEngine[Any]:
        """Return a boolean."""
        return sa.Boolean()

    def parse(self, value: Any) -> bool:
        """Return the value."""
        if not isinstance(value, bool):
            raise FieldError("must be true or false")
        return value

    def from_form(self, text: str) -> Any:
        """Read a check box."""
        return text in ("on", "true", "1")

    def show(self, value: Any) -> str:
        """Return yes or no."""
        return "yes" if value else "no"


@frozen(kw_only=True)
class Enum(Field):
    """One word of a list."""

    kind = "enum"
    values: tuple[str, ...] = field(converter=tuple)

    def parse(self, value: Any) -> str:
        """Return the word."""
        if not isinstance(value, str) or value not in self.values:
            raise FieldError(f"must be one of: {', '.join(self.values)}")
        return value


@frozen(kw_only=True)
class Date(Field):
    """A calendar day, stored as YYYY-MM-DD."""

    kind = "date"

    def parse(self, value: Any) -> str:
        """Return the day in ISO 8601."""
        if not isinstance(value, str) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            raise FieldError("must be a day: YYYY-MM-DD")
        try:
            return date.fromisoformat(value).isoformat()
        except ValueError:
            raise FieldError("must be a day: YYYY-MM-DD") from None


@frozen(kw_only=True)
class Money(Field):
    """An amount of one currency in minor units; with `total_of`, the sum of that `Lines` field.

    A `price` is what lines or payments charge by: each change of it waits for a second person.
    """

    kind = "money"
    currency: str
    min: int = 0
    max: int = 10**9
    total_of: str | None = None
    price: bool = False

    @property
    def server_set(self) -> bool:
        """A total is computed, never sent."""
        return self.total_of is not None

    def column_type(self) -> sa.types.TypeEngine[Any]:
        """Return a 64-bit integer."""
        return sa.BigInteger()

    def parse(self, value: Any) -> int:
        """Return the amount in minor units."""
        if isinstance(value, bool) or not isinstance(value, int) or not self.min <= value <= self.max:
            raise FieldError(
                f"must be an amount in minor units of {self.currency}, from {self.min} to {self.max}"
            )
        return value

    def from_form(self, text: str) -> Any:
        """Read `12`, `12.3` or `12.30` as minor units of a currency with two digits."""
        text = text.strip().replace(",", ".")
        match = re.fullmatch(r"([0-9]{1,12})(?:\.([0-9]{1,2}))?", text)
        return int(match[1]) * 100 + int((match[2] or "0").ljust(2, "0")) if match else (text or None)

    def show(self, value: Any) -> str:
        """Return `12.30 EUR`."""
        return "" if value is None else f"{value // 100}.{value % 100:02d} {self.currency}"


@frozen(kw_only=True)
class Ref(Field):
    """The id of another entity's row, which the caller must be allowed to read."""

    kind = "ref"
    to: str

    def parse(self, value: Any) -> str:
        """Return the id; whether it may be used is for the entity to say."""
        return parse_id(value)


@frozen(kw_only=True)
class Lines(Field):
    """Rows of (entity, quantity); label, price and its version are copied by the server when the row is written."""

    kind = "lines"
    of: str
    price: str
    label: str
    available_in: tuple[str, ...] = field(default=(), converter=tuple)
    max: int = 20
    max_quantity: int = 100
    key: str = ""
    """Name of the id in a line as clients send it: `product`."""

    def column_type(self) -> sa.types.TypeEngine[Any]:
        """Return canonical JSON."""
        return Json()

    def parse(self, value: Any) -> list[dict[str, Any]]:
        """Return `[{key, quantity}]`; prices are not read from clients, an unknown key is refused."""
        if not isinstance(value, list) or not 1 <= len(value) <= self.max:
            raise FieldError(f"must be a list of 1 to {self.max} lines")
        lines, seen = [], set()
        for line in value:
            if not isinstance(line, dict) or set(line) != {self.key, "quantity"}:
                raise FieldError(f"each line has exactly {self.key} and quantity")
            row, quantity = parse_id(line[self.key]), line["quantity"]
            if (
                isinstance(quantity, bool)
                or not isinstance(quantity, int)
                or not 1 <= quantity <= self.max_quantity
            ):
                raise FieldError(f"each quantity is a whole number from 1 to {self.max_quantity}")
            if row in seen:
                raise FieldError(f"each {self.key} stands in one line")
            seen.add(row)
            lines.append({self.key: row, "quantity": quantity})
        return lines

    def show(self, value: Any) -> str:
        """Return `2 × Cup, 1 × Pot`."""
        return ", ".join(f"{line['quantity']} × {line['label']}" for line in value or ())


@frozen(kw_only=True)
class State(Field):
    """Where a row stands; the first is where it begins, and only actions move it."""

    kind = "state"
    states: tuple[str, ...] = field(converter=tuple)

    @property
    def server_set(self) -> bool:
        """Only actions move it."""
        return True

    def show(self, value: Any) -> str:
        """Return the state in words."""
        return str(value or "").replace("_", " ")


_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def parse_id(value: Any) -> str:
    """Return a row id; raises FieldError for anything that cannot be one."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise FieldError("must be an id")
    return value
