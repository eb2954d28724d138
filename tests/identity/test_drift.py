"""A session that moves: tolerated on another network and after an update, ended in another browser."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from redoubt.identity import cookies
from redoubt.identity.drift import agent_change, drift, ends
from tests.identity.world import AGENT, World


@pytest.fixture
def database_url(one_database: str) -> str:
    return one_database


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (AGENT, AGENT, "none"),
        (AGENT, AGENT.replace("150.0", "151.0.2"), "version"),
        (AGENT, AGENT.replace("Linux", "Windows"), "other"),
        (AGENT, "curl/8.5.0", "other"),
        (AGENT, "", "other"),
        ("Mozilla/5.0 Chrome/149.0.0.0", "Mozilla/5.0 Chrome/150.0.0.0", "version"),
    ],
)
def test_agents_are_compared_without_their_numbers(before: str, after: str, change: str) -> None:
    assert agent_change(before, after) == change


def test_each_signal_raises_the_score() -> None:
    def of(address: str = "9.9.9.5", agent: str = AGENT, new: bool = False, hours: int = 0) -> int:
        return drift("9.9.9.0/24", AGENT, new, NOW, NOW + timedelta(hours=hours), address, agent).score

    assert of() == 0
    assert 0 < of(address="198.51.100.1") < 40
    assert of(address="9.9.9.77") == 0
    assert of(new=True) > 0
    assert of(hours=13) > 0
    assert of(agent="curl/8") >= 75
    assert ends(drift("n", AGENT, False, NOW, NOW, "x", "curl/8"))


async def test_a_cookie_in_another_browser_ends_the_session_everywhere(world: World) -> None:
    client = world.client()
    await client.register("ada@example.org")
    token = client.http.cookies[cookies.SESSION]
    moved = await world.identity.resolve(token, "198.51.100.9", AGENT)
    assert moved is not None
    assert moved.risk.network_changed
    updated = await world.identity.resolve(token, "198.51.100.9", AGENT.replace("150", "151"))
    assert updated is not None
    assert updated.risk.agent_changed
    assert await world.identity.resolve(token, "198.51.100.9", "curl/8.5.0") is None
    assert not await client.signed_in()
    assert world.events().count(("identity.session.strayed", "denied")) == 1
