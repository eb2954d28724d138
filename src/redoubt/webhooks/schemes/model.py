"""What a signature scheme is: a value that says where everything stands, with no code of its own."""

from __future__ import annotations

from typing import Literal

from attrs import Attribute, field, frozen

Encoding = Literal["hex", "base64"]
SecretForm = Literal["text", "whsec"]


@frozen
class Header:
    """The whole value of one header, named in lower case."""

    name: str


@frozen
class Field:
    """One member of a header of the form `k=v,k=v`."""

    header: str
    name: str


@frozen
class Body:
    """The raw bytes of the body."""


@frozen
class BodyMember:
    """A top-level member of the JSON body; it is read only after the bytes are proven."""

    name: str


Part = Header | Field | Body | bytes


@frozen
class VersionedList:
    """Space-separated `version,signature` tokens; tokens of other versions are passed over."""

    header: str
    version: str


@frozen
class Members:
    """Comma-separated `name=value` members, of which `name` holds a signature and may repeat."""

    header: str
    name: str


@frozen
class Prefixed:
    """One signature after a fixed prefix."""

    header: str
    prefix: str


Signatures = VersionedList | Members | Prefixed


@frozen
class Scheme:
    """How one kind of sender signs: HMAC-SHA256 over `base`, and where its parts are found.

    `timestamp` and `identity` must stand inside what is signed; a scheme that reads either from elsewhere cannot be
    made. A scheme without `identity` is identified by the digest of its signature base. `volatile` names top-level
    body members that the sender itself changes between attempts, left out when two bodies of one identity are compared.
    """

    name: str
    signatures: Signatures
    encoding: Encoding
    secret: SecretForm
    base: tuple[Part, ...]
    timestamp: Header | Field | None = field()
    identity: Header | BodyMember | None = field()
    volatile: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()

    @timestamp.validator
    def _timestamp_is_signed(self, _attribute: Attribute[object], value: Header | Field | None) -> None:
        if value is not None and value not in self.base:
            raise ValueError(f"scheme {self.name}: the timestamp is not part of what is signed")

    @identity.validator
    def _identity_is_signed(self, _attribute: Attribute[object], value: Header | BodyMember | None) -> None:
        signed = Body() in self.base if isinstance(value, BodyMember) else value is None or value in self.base
        if not signed:
            raise ValueError(f"scheme {self.name}: the identity is not part of what is signed")

    @property
    def headers(self) -> tuple[str, ...]:
        """The headers that the scheme reads; each must come exactly once."""
        names = [self.signatures.header]
        names += [part.name for part in self.base if isinstance(part, Header)]
        names += [part.header for part in self.base if isinstance(part, Field)]
        return tuple(dict.fromkeys(names))
