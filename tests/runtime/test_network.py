"""Whose address counts when proxies stand before the app."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redoubt.runtime.network import TrustedProxies


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "expected"),
    [
        ([], "203.0.113.9", ["10.0.0.1"], "203.0.113.9"),
        (["10.0.0.0/8"], "203.0.113.9", ["198.51.100.7"], "203.0.113.9"),
        (["10.0.0.0/8"], "10.0.0.2", ["198.51.100.7"], "198.51.100.7"),
        (["10.0.0.0/8"], "10.0.0.2", ["198.51.100.7, 10.0.0.3"], "198.51.100.7"),
        (["10.0.0.0/8"], "10.0.0.2", ["1.2.3.4", "198.51.100.7, 10.0.0.3"], "198.51.100.7"),
        (["10.0.0.0/8"], "10.0.0.2", [], "10.0.0.2"),
        (["10.0.0.0/8"], "10.0.0.2", ["198.51.100.7, nonsense"], "10.0.0.2"),
        (["10.0.0.0/8"], "10.0.0.2", ["10.0.0.9"], "10.0.0.9"),
    ],
)
def test_the_last_hop_that_nobody_of_ours_wrote_counts(
    trusted: list[str], peer: str, forwarded: list[str], expected: str
) -> None:
    assert TrustedProxies(trusted).client(peer, forwarded) == expected


@given(st.lists(st.text(max_size=60), max_size=5))
def test_an_untrusted_peer_cannot_name_another_address(forwarded: list[str]) -> None:
    assert TrustedProxies(["10.0.0.0/8"]).client("203.0.113.9", forwarded) == "203.0.113.9"
