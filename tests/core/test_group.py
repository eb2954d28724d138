"""Group commit waits for those who are on their way, and for nobody else; on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from redoubt.core.db import Command, Database, Tx, group
from redoubt.core.db.group import GroupCommit

FOREVER = 600.0


class Together(Command[int, int]):
    """Answers how many were written together."""

    name = "together"

    def key(self, item: int) -> str:
        return str(item)

    def apply(self, tx: Tx, items: Sequence[int]) -> Sequence[int]:
        return [len(items)] * len(items)


@pytest.fixture
async def patient(empty_db: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GroupCommit]:
    """One that would wait for ever for those who are on their way."""
    monkeypatch.setattr(group, "_GATHER_EACH", FOREVER)
    monkeypatch.setattr(group, "_MAX_GATHER", FOREVER)
    commit = GroupCommit(empty_db, gather=FOREVER)
    yield commit
    await asyncio.to_thread(commit.close)


async def test_a_lone_request_waits_for_nobody(patient: GroupCommit) -> None:
    patient.begin()
    assert await patient.submit(Together(), 1) == 1


async def test_requests_on_their_way_are_written_together(patient: GroupCommit) -> None:
    for _ in range(3):
        patient.begin()
    first, second = (asyncio.ensure_future(patient.submit(Together(), i)) for i in range(2))
    await asyncio.sleep(0.05)
    assert not first.done()
    assert not second.done()
    assert await patient.submit(Together(), 2) == 3
    assert [await first, await second] == [3, 3]


async def test_nobody_waits_for_what_will_not_come(patient: GroupCommit) -> None:
    patient.begin()
    other = patient.begin()
    waiting = asyncio.ensure_future(patient.submit(Together(), 1))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    other.end()
    assert await waiting == 1
    other.end()
    assert patient.underway == 1


async def test_whoever_never_comes_holds_back_nobody_for_long(empty_db: Database) -> None:
    commit = GroupCommit(empty_db, gather=0.001)
    for _ in range(100_000):
        commit.begin()
    assert await commit.submit(Together(), 1) == 1
    await asyncio.to_thread(commit.close)


async def test_closing_commits_what_waits(patient: GroupCommit) -> None:
    patient.begin()
    patient.begin()
    waiting = asyncio.ensure_future(patient.submit(Together(), 1))
    await asyncio.sleep(0.05)
    await asyncio.to_thread(patient.close)
    assert await waiting == 1
