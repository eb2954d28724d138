"""The audit explorer: what is found, to whom it is shown, and that looking leaves a trace."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
import sqlalchemy as sa

from redoubt.audit import Actor, Event, record
from redoubt.audit.merkle import leaf_hash, verify_inclusion
from redoubt.audit.note import VerifierKey, open_note
from redoubt.audit.sequencer import SIGNING
from redoubt.audit.store import entries
from tests.console.world import World, place

one_database = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def write(world: World, action: str, count: int = 1, **values: object) -> list[str]:
    """Record `count` events of somebody."""
    event = Event(action=action, **{"outcome": "success", "actor": Actor("user", "somebody"), **values})  # type: ignore[arg-type]
    return world.core.db.write_sync(lambda tx: [record(tx, world.core, event) for _ in range(count)])


async def found(world: World, person: object, query: str) -> list[str]:
    answer = await person.get(f"/console/audit?{query}")  # type: ignore[attr-defined]
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["items"]]


async def test_every_filter_narrows_the_search(world: World) -> None:
    operator = await world.person("operator")
    early = write(world, "thing.made", target=("Thing", "a/b"), request_id="r-1")
    await world.pass_time(timedelta(minutes=20))
    since = world.clock.now()
    late = write(world, "thing.made", outcome="denied", actor=Actor("user", operator.id))
    longer = write(world, "thing.made.again")
    other = write(world, "thingy.made")
    mine = "action=thing.made"
    assert await found(world, operator, mine) == [*longer, *late, *early]
    assert await found(world, operator, "action=thingy") == other
    assert await found(world, operator, f"{mine}&outcome=denied") == late
    assert await found(world, operator, f"{mine}&actor={operator.id}") == late
    assert await found(world, operator, f"{mine}&actor={operator.email}") == late
    assert await found(world, operator, "actor=nobody@example.org") == []
    assert await found(world, operator, "target=Thing+a/b") == early
    assert await found(world, operator, "target=Thing/a/b") == early
    assert await found(world, operator, "request_id=r-1") == early
    stamp = since.strftime("%Y-%m-%dT%H:%M")
    assert await found(world, operator, f"{mine}&since={stamp}") == [*longer, *late]
    assert await found(world, operator, f"{mine}&until={stamp}") == early
    ahead = since.replace(tzinfo=None) + timedelta(hours=1)
    assert await found(world, operator, f"{mine}&until={ahead.isoformat()}%2B01:00") == early


async def test_pages_hold_every_entry_once(world: World) -> None:
    operator = await world.person("operator")
    written = write(world, "thing.made", 120)
    seen: list[str] = []
    path: str | None = "/console/audit?action=thing.made"
    while path:
        answer = (await operator.get(path)).json()
        assert len(answer["items"]) <= 50
        seen += [one["id"] for one in answer["items"]]
        path = answer["older"]
        write(world, "thing.made")  # what arrives meanwhile moves no page
    assert seen == written[::-1]


@one_database
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("outcome=maybe", "outcome"),
        ("target=Order", "target"),
        ("since=yesterday", "since"),
        ("until=9999-12-31T23:59-23:00", "until"),
        ("action=" + "a" * 101, "action"),
        ("actor=a%00b", "actor"),
        ("request_id=%ED%A0%80%00", "request_id"),
    ],
)
async def test_a_malformed_search_is_refused_by_field(world: World, query: str, field: str) -> None:
    operator = await world.person("operator")
    answer = await operator.get(f"/console/audit?{query}")
    assert answer.status_code == 422
    assert list(answer.json()["errors"]) == [field]
    page = await operator.page(f"/console/audit?{query}")
    assert page.status_code == 422
    assert f'aria-describedby="{field}-error"' in page.text
    assert (await operator.get("/console/audit?before=1")).status_code == 422


async def test_an_entry_comes_with_a_proof_that_a_stranger_can_check(world: World) -> None:
    operator = await world.person("operator")
    (wanted,) = write(world, "thing.made", data={"amount": 5})
    early = (await operator.get(f"/console/audit/{wanted}")).json()
    assert early["proof"] is None
    place(world.core)
    shown = (await operator.get(f"/console/audit/{wanted}")).json()
    proof = shown["proof"]
    keys = [VerifierKey("test", key) for key in world.core.keys.verification_keys(SIGNING).values()]
    checkpoint = open_note(proof["checkpoint"], keys)
    path = [bytes.fromhex(node) for node in proof["path"]]
    leaf = leaf_hash(shown["body"].encode())
    assert checkpoint.size == proof["size"] > 1
    assert verify_inclusion(leaf, proof["leaf_index"], checkpoint.size, path, checkpoint.root)
    assert proof["holds"] is True
    assert json.loads(shown["body"])["metadata"]["uid"] == wanted
    page = await operator.page(f"/console/audit/{wanted}")
    assert "leads to the signed root" in page.text
    assert "&#34;amount&#34;: 5" in page.text


async def test_an_entry_that_was_changed_is_shown_as_such(world: World) -> None:
    operator = await world.person("operator")
    (wanted,) = write(world, "thing.made", data={"amount": 5})
    place(world.core)

    def forge(tx: object) -> None:  # with the rights of whoever owns the database file
        if tx.dialect == "sqlite":  # type: ignore[attr-defined]
            tx.execute(sa.text("DROP TRIGGER audit_entries_update"))  # type: ignore[attr-defined]
        else:
            tx.execute(sa.text("ALTER TABLE audit_entries DISABLE TRIGGER ALL"))  # type: ignore[attr-defined]
        body = sa.func.replace(entries.c.body, '"amount":5', '"amount":6')
        change = sa.update(entries).where(entries.c.id == wanted).values(body=body)
        assert tx.execute(change).rowcount == 1  # type: ignore[attr-defined]

    world.core.db.write_sync(forge)
    assert (await operator.get(f"/console/audit/{wanted}")).json()["proof"]["holds"] is False
    assert "Does not hold" in (await operator.page(f"/console/audit/{wanted}")).text


@one_database
async def test_whoever_looks_is_in_the_log_before_the_answer(world: World) -> None:
    operator = await world.person("operator")
    (wanted,) = write(world, "thing.made")
    assert await found(world, operator, f"action=thing&actor={operator.email}") == []
    await operator.get(f"/console/audit/{wanted}")
    (search,) = world.events("audit.search")
    assert search.actor_id == operator.id
    assert json.loads(search.body)["unmapped"]["action"] == "thing"
    assert operator.email not in search.body
    (read,) = world.events("audit.read")
    assert (read.actor_id, read.target_id) == (operator.id, wanted)


@one_database
async def test_entries_of_another_tenant_are_not_there(world: World) -> None:
    operator = await world.person("operator")
    (other,) = write(world, "thing.made", tenant="elsewhere")
    assert await found(world, operator, "action=thing") == []
    assert (await operator.get(f"/console/audit/{other}")).status_code == 404
    for path in ("/console/audit/%00", "/console/audit/nothing", f"/console/audit/{other[:-1]}"):
        assert (await operator.get(path)).status_code == 404


@one_database
async def test_names_stand_where_the_log_has_ids_and_are_escaped(world: World) -> None:
    operator = await world.person("operator")
    write(world, "thing.made", actor=Actor("user", operator.id), target=("Thing", "<script>x</script>"))
    page = await operator.page("/console/audit?action=thing.made")
    assert operator.email in page.text
    assert "<script>x" not in page.text
