"""Addresses as limits and risk see them: the host, and the network that one subscriber or site shares."""

from __future__ import annotations

import ipaddress
from functools import lru_cache


@lru_cache(4096)
def host_of(address: str) -> str:
    """Return the address as one subscriber holds it: IPv4 whole, IPv6 by its /64; `unknown` for anything else."""
    parsed = _parse(address)
    if parsed is None:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


@lru_cache(4096)  # asked on every request
def network_of(address: str) -> str:
    """Return the wider network: IPv4 /24, IPv6 /48; private and loopback addresses stand for themselves.

    Behind one private address there is one machine that the operator knows; grouping them would let one service
    on a host starve its neighbours.
    """
    parsed = _parse(address)
    if parsed is None:
        return "unknown"
    if parsed.is_private or parsed.is_loopback:
        return host_of(address)
    return str(ipaddress.ip_network((parsed, 24 if parsed.version == 4 else 48), strict=False))


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed
