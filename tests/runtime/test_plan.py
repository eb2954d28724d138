"""What an app declares about signing in is what happens: a plan that nobody reads protects nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from redoubt.core.base import Core
from redoubt.core.clock import ManualClock
from redoubt.core.jobs import Jobs
from redoubt.runtime.plan import AppPlan
from redoubt.runtime.services import Services
from tests.console.world import ROLES, World


@pytest.fixture
async def strict(core: Core, clock: ManualClock) -> AsyncIterator[World]:
    """A running app whose support staff sign in by passkey only."""
    made = World(core, clock, passkey_roles=frozenset({"support"}))
    await made.guard.start()
    yield made
    await made.guard.stop()


class Post:
    """Keeps what identity mails."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []

    async def send(self, to: str, subject: str, text: str, message_id: str) -> None:
        self.sent.append((to, text))


async def ask_for_link(world: World, role: str) -> str:
    """Have somebody with `role` ask for a link in their own browser, and return the mail that comes."""
    someone = await world.person(role)
    post = Post()
    world.guard.services.identity.magic._mailer = post
    assert (await someone.post("/auth/magic", {"email": someone.email})).status_code == 202
    jobs = Jobs(world.core)
    world.guard.services.identity.register_jobs(jobs)
    await jobs.run_once()
    [(to, text)] = post.sent
    assert to == someone.email
    return text


async def test_a_role_that_the_plan_keeps_to_passkeys_gets_no_link(strict: World) -> None:
    assert "/auth/magic/" not in await ask_for_link(strict, "support")
    assert "/auth/magic/" in await ask_for_link(strict, "customer")


async def test_an_operator_gets_no_link_whatever_the_plan_says(strict: World) -> None:
    assert "/auth/magic/" not in await ask_for_link(strict, "operator")


def test_an_app_without_magic_links_has_none(core: Core) -> None:
    plan = AppPlan(title="Shop", roles=frozenset(ROLES), magic_links=False)
    assert not Services.build(core, plan, "app").identity.config.magic_links
