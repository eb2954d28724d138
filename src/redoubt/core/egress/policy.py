"""Where calls may go: exact hosts and ports, over TLS, to public addresses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import idna
from attrs import field, frozen

from .addresses import kind
from .errors import EgressRefused, EgressUnsupported

if TYPE_CHECKING:
    from ..settings import Settings

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOCAL_KINDS = frozenset({"loopback", "private"})


@frozen
class Target:
    """A parsed and normalised place to call: `host` is an ASCII name or a canonical address without brackets."""

    scheme: Literal["http", "https"]
    host: str
    port: int

    @property
    def key(self) -> str:
        """Return `host:port` as allow-lists spell it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_target(url: str) -> Target:
    """Return where `url` leads, or refuse every form that two parsers could read differently.

    Refused: other schemes, user info, control characters, spaces and backslashes, percent signs and trailing dots
    in the host, hosts that are a number in any base or shortened form, zone identifiers.
    """
    if len(url) > 8192 or any(char <= " " or char in "\\\x7f" for char in url):
        raise _refused(
            "url-unclear", "The URL holds spaces, control characters or backslashes, or is too long."
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _refused("url-unclear", "The URL does not parse.") from None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise _refused("scheme", "Only http and https URLs are called.")
    if "@" in parts.netloc:
        raise _refused("userinfo", "A URL must not carry a user or password.")
    host = _host(parts.netloc, parts.hostname or "")
    if port == 0:
        raise _refused("url-unclear", "Port 0 cannot be called.")
    scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
    return Target(scheme, host, port or (443 if scheme == "https" else 80))


def parse_host_port(text: str) -> str:
    """Return an allow-list entry in the form that targets are compared in."""
    return parse_target(f"https://{text}").key


def _keys(entries: Iterable[str]) -> frozenset[str]:
    return frozenset(parse_host_port(entry) for entry in entries)


@frozen
class EgressPolicy:
    """The calls that are allowed, by exact `host:port`.

    `allow` is reached over TLS at public addresses only. `private` (development) may be loopback or private and
    plain HTTP. `internal` names this installation's own services: loopback or private in any profile, over TLS.
    """

    allow: frozenset[str] = field(default=frozenset(), converter=_keys)
    private: frozenset[str] = field(default=frozenset(), converter=_keys)
    internal: frozenset[str] = field(default=frozenset(), converter=_keys)
    profile: Literal["development", "production"] = "production"
    pins: Mapping[str, Sequence[str]] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        if self.pins:
            raise EgressUnsupported(
                "TLS pins are declared, but not enforced yet.", hint="Remove them from the spec."
            )
        if self.private and self.profile != "development":
            raise EgressRefused("profile", "Private hosts are allowed in the development profile only.")

    @classmethod
    def from_settings(cls, settings: Settings, *, also: Sequence[str] = ()) -> EgressPolicy:
        """Return the policy of `[egress]`, with `also` (the spec's own hosts) added to what is allowed."""
        return cls(
            allow=[*settings.egress.allow, *also],
            private=settings.egress.private,
            profile=settings.app.profile,
        )

    def check(self, url: str) -> Target:
        """Return where `url` leads when it is allowed; raises EgressRefused."""
        target = parse_target(url)
        self.check_target(target.host, target.port)
        if target.scheme == "http" and target.key not in self.private:
            raise _refused("plain-http", "Only https is called.", target)
        return target

    def check_target(self, host: str, port: int) -> None:
        """Refuse a host and port that no list names."""
        key = Target("https", host, port).key
        if key not in self.allow and key not in self.private and key not in self.internal:
            raise EgressRefused(
                "not-allowed", f"{key} is not on the allow-list.", hint="Add it to [egress] allow."
            )

    def check_address(self, host: str, port: int, address: str) -> None:
        """Refuse an address that this host may not lie at; every address of an answer is checked, not only the first."""
        target = Target("https", host, port)
        try:
            found = kind(ip_address(address))
        except ValueError:
            found = "unreadable"
        local = target.key in self.private or target.key in self.internal
        if found == "public" or (local and found in _LOCAL_KINDS):
            return
        raise _refused(found, f"It resolves to an address that is never called ({found}).", target)


def _host(netloc: str, host: str) -> str:
    if netloc.startswith("["):
        try:
            address = IPv6Address(host)
        except AddressValueError:
            raise _refused("host-unclear", "The host is not an IPv6 address.") from None
        if address.scope_id is not None:
            raise _refused("host-unclear", "A zone identifier cannot be called.")
        return address.compressed
    plain = host.isascii()
    if not plain:
        try:
            host = idna.encode(host, uts46=True, std3_rules=True).decode()
        except idna.IDNAError:
            raise _refused("host-unclear", "The host is not a valid international name.") from None
    labels = host.lower().split(".")
    # WHATWG URL, "ends in a number": some resolver would read such a name as an address.
    if _NUMERIC.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(host if plain else ""))
        except AddressValueError:
            raise _refused("host-unclear", "The host is a number that is not a plain IPv4 address.") from None
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _refused("host-unclear", "The host is not a plain DNS name.")
    return host.lower()


def _refused(reason: str, message: str, target: Target | None = None) -> EgressRefused:
    return EgressRefused(reason, f"{target.key}: {message}" if target else message)
