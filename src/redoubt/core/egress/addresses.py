"""Which addresses are the public internet, and what the others are."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address

_METADATA = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",  # most clouds
            "169.254.170.2",  # AWS containers
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure's wire server, a public address
            "192.0.0.192",  # Oracle
            "fd00:ec2::254",  # AWS
            "fd20:ce::254",  # Google
        ),
    )
)
_LOCAL: tuple[tuple[str, IPv4Network | IPv6Network], ...] = tuple(
    (name, ip_network(network))
    for name, network in (
        ("loopback", "127.0.0.0/8"),
        ("loopback", "::1/128"),
        ("private", "10.0.0.0/8"),
        ("private", "172.16.0.0/12"),
        ("private", "192.168.0.0/16"),
        ("private", "fc00::/7"),
    )
)
_SPECIAL: tuple[tuple[str, IPv4Network | IPv6Network], ...] = tuple(
    (name, ip_network(network))
    for name, network in (
        ("unspecified", "0.0.0.0/8"),
        ("cgnat", "100.64.0.0/10"),
        ("link-local", "169.254.0.0/16"),
        ("reserved", "192.0.0.0/24"),
        ("documentation", "192.0.2.0/24"),
        ("6to4", "192.88.99.0/24"),
        ("benchmark", "198.18.0.0/15"),
        ("documentation", "198.51.100.0/24"),
        ("documentation", "203.0.113.0/24"),
        ("multicast", "224.0.0.0/4"),
        ("reserved", "240.0.0.0/4"),
        # IPv6 forms that carry an IPv4 address: what a relay or the kernel does with them is not ours to guess.
        ("v4-mapped", "::ffff:0:0/96"),
        ("v4-translated", "::ffff:0:0:0/96"),
        ("v4-compatible", "::/96"),
        ("nat64", "64:ff9b::/96"),
        ("nat64", "64:ff9b:1::/48"),
        ("teredo", "2001::/32"),
        ("6to4", "2002::/16"),
        ("reserved", "2001::/23"),
        ("documentation", "2001:db8::/32"),
        ("documentation", "3fff::/20"),
        ("link-local", "fe80::/10"),
        ("site-local", "fec0::/10"),
        ("multicast", "ff00::/8"),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})


def kind(address: Address) -> str:
    """Return `public`, or what the address is instead: `loopback` and `private` are local, the rest is never called."""
    if address in _METADATA:
        return "metadata"
    for name, network in _LOCAL + _SPECIAL:
        if address.version == network.version and address in network:
            return name
    if isinstance(address, IPv6Address):
        if address.scope_id is not None or address not in _GLOBAL_UNICAST:
            return "reserved"
        if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
            return "isatap"
    return "public" if address.is_global else "reserved"
