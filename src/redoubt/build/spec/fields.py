"""The fields of an entity: a closed set of types, each with its own bounds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import Currency, EntityName, Minor, Part, Title, Word

Pii = Literal["none", "name", "contact", "address", "health", "government_id"]
"""What kind of personal data a field holds. Values of any class but `none` never reach audit entries or logs."""


class _Base(Part):
    title: Title | None = None
    """Label on pages; made from the name when absent."""
    required: bool = False
    """Whether a new row must give it."""
    pii: Pii = "none"
    """Class of personal data."""
    immutable: bool = False
    """Set when the row is created, never changed after."""
    unique: bool = False
    """No two rows of a tenant have the same value."""


class TextField(_Base):
    """One line of text, or several with `multiline`."""

    type: Literal["text"]
    max: int = Field(default=200, ge=1, le=10_000)
    """Longest value in characters."""
    min: int = Field(default=0, ge=0, le=10_000)
    """Shortest value in characters."""
    multiline: bool = False


class EmailField(_Base):
    """An e-mail address."""

    type: Literal["email"]
    max: int = Field(default=254, ge=6, le=254)


class UrlField(_Base):
    """An absolute https URL; shown as text, never fetched."""

    type: Literal["url"]
    max: int = Field(default=500, ge=8, le=2000)


class IntegerField(_Base):
    """A whole number."""

    type: Literal["integer"]
    min: int = Field(default=0, ge=-(10**15), le=10**15)
    max: int = Field(default=10**9, ge=-(10**15), le=10**15)


class BooleanField(_Base):
    """True or false; false when absent."""

    type: Literal["boolean"]


class EnumField(_Base):
    """One word of a list."""

    type: Literal["enum"]
    values: list[Word] = Field(min_length=1, max_length=50)


class DateField(_Base):
    """A calendar day."""

    type: Literal["date"]


class MoneyField(_Base):
    """An amount in minor units of one currency; or, with `total_of`, computed by the server.

    What lines charge by is a price: a change of it waits for a second person.
    """

    type: Literal["money"]
    currency: Currency
    min: int = Field(default=0, ge=0, le=10**12)
    max: Minor = 10**9
    total_of: Word | None = None
    """A `lines` field of this entity whose quantity × price the server adds up. Clients never set such a field."""


class RefField(_Base):
    """Another entity's row. The caller must be allowed to read it."""

    type: Literal["ref"]
    to: EntityName


class LinesField(_Base):
    """Rows of (entity, quantity). The price is copied from the entity by the server, never taken from the client."""

    type: Literal["lines"]
    of: EntityName
    price: Word
    """The money field of that entity that is copied into each line, with its version: a price."""
    label: Word
    """The text field of that entity that is copied into each line."""
    available_in: list[Word] = Field(default=[], max_length=20)
    """States of that entity in which it can be taken; empty: any."""
    max: int = Field(default=20, ge=1, le=100)
    """Most lines."""
    max_quantity: int = Field(default=100, ge=1, le=10_000)
    """Most of one line."""


class StateField(_Base):
    """Where a row stands. Only declared actions move it; the first state is where rows begin."""

    type: Literal["state"]
    states: list[Word] = Field(min_length=1, max_length=20)


AnyField = Annotated[
    TextField
    | EmailField
    | UrlField
    | IntegerField
    | BooleanField
    | EnumField
    | DateField
    | MoneyField
    | RefField
    | LinesField
    | StateField,
    Field(discriminator="type"),
]
"""A field of any type."""
