"""Which address a request came from, when proxies that we trust stand before us."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class TrustedProxies:
    """Reads `X-Forwarded-For` from the right, and only as far as trusted proxies wrote it."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks: list[Network] = [ipaddress.ip_network(network) for network in networks]

    def client(self, peer: str, forwarded: Sequence[str]) -> str:
        """Return the client's address: the peer's unless it is trusted, else the last untrusted hop.

        A malformed hop ends the walk: what stands left of it was written by somebody we do not know.
        """
        address = peer
        if not self._networks or not self._trusted(peer):
            return address
        hops = [hop.strip() for line in forwarded for hop in line.split(",")]
        for hop in reversed(hops[-20:]):
            try:
                address = str(ipaddress.ip_address(hop))
            except ValueError:
                break
            if not self._trusted(address):
                break
        return address

    def _trusted(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)
