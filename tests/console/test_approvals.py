"""Approvals through the console: a second person's passkey over exactly what was asked for, once."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from redoubt.guard import store as guard_store
from redoubt.payments import store as payment_store
from tests.console.world import Person, World

one_database = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
async def asked(world: World) -> tuple[Person, Person, str]:
    """Two operators, and what the first of them asks for: that a killed switch go live again."""
    first, second = await world.person("operator"), await world.person("operator")
    await first.step_up()
    assert (
        await first.form("/console/switches/kill", capability="webhooks.out", tenant="*", reason="x")
    ).status_code == 303
    answer = await first.post("/console/switches/enable", {"capability": "webhooks.out", "ticket": "T-1"})
    assert answer.status_code == 202, answer.text
    return first, second, answer.json()["approval_id"]


def state(world: World) -> str:
    return str(world.rows(sa.select(guard_store.switches.c.state))[0].state)


async def test_a_second_operator_approves_with_a_passkey(
    world: World, asked: tuple[Person, Person, str]
) -> None:
    first, second, approval = asked
    assert [one["id"] for one in (await second.get("/console/approvals")).json()["items"]] == [approval]
    page = (await second.page(f"/console/approvals/{approval}")).text
    assert first.email in page
    assert "&#34;capability&#34;: &#34;webhooks.out&#34;" in page
    answer = await second.approve(approval)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["status"], answer.json()["decided_by"]) == ("approved", second.id)
    assert state(world) == "live"
    assert (await second.get("/console/approvals")).json()["items"] == []
    assert len((await second.get("/console/approvals?state=approved")).json()["items"]) == 1
    (event,) = world.events("approval.approve")
    assert (event.actor_id, event.outcome) == (second.id, "success")
    (enabled,) = world.events("switch.enable")
    assert enabled.actor_id == second.id


@one_database
async def test_nobody_approves_what_they_asked_for(world: World, asked: tuple[Person, Person, str]) -> None:
    first, _, approval = asked
    answer = await first.approve(approval)
    assert (answer.status_code, answer.json()["code"]) == (403, "approval-self")
    assert state(world) == "killed"
    page = (await first.page(f"/console/approvals/{approval}")).text
    assert "data-passkey-approve" not in page
    assert "Withdraw" in page
    (event,) = world.events("approval.approve")
    assert (event.actor_id, event.outcome) == (first.id, "denied")


@one_database
async def test_finance_may_read_but_not_approve_what_is_for_operators(
    world: World, asked: tuple[Person, Person, str]
) -> None:
    finance, (_, _, approval) = await world.person("finance"), asked
    answer = await finance.approve(approval)
    assert answer.status_code == 403
    rejected = await finance.post(f"/console/approvals/{approval}/reject", {"reason": "no"})
    assert rejected.status_code == 403
    assert state(world) == "killed"


@one_database
async def test_another_assertion_than_over_these_bytes_is_worth_nothing(
    world: World, asked: tuple[Person, Person, str]
) -> None:
    first, second, approval = asked
    again = await first.post("/console/switches/enable", {"capability": "webhooks.out", "ticket": "T-2"})
    other = again.json()["approval_id"]
    options = (await second.post(f"/console/approvals/{other}/options")).json()
    stepup = (await second.post("/auth/stepup/options")).json()
    path = f"/console/approvals/{approval}/approve"
    for credential in (
        second.passkey.answer(options),  # over another request
        second.passkey.answer(stepup),  # over a challenge of logging in
        {**second.passkey.answer(options), "id": ""},
        {},
    ):
        answer = await second.post(path, {"credential": credential})
        assert (answer.status_code, answer.json()["code"]) == (401, "approval-assertion"), answer.text
    assert (await second.approve(approval, flags=0x01)).status_code == 401  # nobody verified the person
    assert (await second.approve(approval, key=first.passkey.key)).status_code == 401
    assert (await second.approve(approval, origin="https://evil.example")).status_code == 401
    assert (await second.post(path, {"credential": "x"})).status_code == 400
    assert state(world) == "killed"


async def test_expired_consumed_and_withdrawn_requests_are_conflicts(
    world: World, asked: tuple[Person, Person, str]
) -> None:
    first, second, approval = asked
    assert (await second.approve(approval)).status_code == 200
    assert (await second.approve(approval)).json()["code"] == "approval-decided"
    assert (await second.approve(approval)).status_code == 409
    await first.form("/console/switches/kill", capability="webhooks.out", tenant="*", reason="again")
    withdrawn = (
        await first.post("/console/switches/enable", {"capability": "webhooks.out", "ticket": "T"})
    ).json()
    path = f"/console/approvals/{withdrawn['approval_id']}"
    assert (await first.form(f"{path}/reject", reason="a mistake")).status_code == 303
    assert (await second.approve(withdrawn["approval_id"])).status_code == 409
    assert (await second.post(f"{path}/reject", {"reason": "late"})).status_code == 409
    stale = (
        await first.post("/console/switches/enable", {"capability": "webhooks.out", "ticket": "T"})
    ).json()
    await second.form("/console/switches/kill", capability="webhooks.out", tenant="*", reason="a second kill")
    assert (await second.approve(stale["approval_id"])).json()["code"] == "approval-stale"
    assert state(world) == "killed"


@one_database
async def test_a_request_ends(world: World, asked: tuple[Person, Person, str]) -> None:
    _, _, approval = asked
    await world.pass_time(timedelta(hours=25))
    late = await world.person("operator")  # the other sessions have ended, too
    answer = await late.approve(approval)
    assert (answer.status_code, answer.json()["code"]) == (409, "approval-expired")
    assert (await late.get(f"/console/approvals/{approval}")).json()["status"] == "expired"
    assert "data-passkey-approve" not in (await late.page(f"/console/approvals/{approval}")).text
    assert state(world) == "killed"


async def test_a_request_edited_behind_the_database_is_refused(
    world: World, asked: tuple[Person, Person, str]
) -> None:
    _, second, approval = asked
    table = guard_store.approvals

    def forge(tx: object) -> None:
        if tx.dialect == "sqlite":  # type: ignore[attr-defined]
            names = tx.execute(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'approvals'"))  # type: ignore[attr-defined]  # fmt: skip
            for name in names.scalars().all():
                tx.execute(sa.text(f"DROP TRIGGER {name}"))  # type: ignore[attr-defined]
        else:
            tx.execute(sa.text("ALTER TABLE approvals DISABLE TRIGGER ALL"))  # type: ignore[attr-defined]
        payload = sa.func.replace(table.c.payload, "webhooks.out", "writes")
        tx.execute(sa.update(table).where(table.c.id == approval).values(payload=payload))  # type: ignore[attr-defined]

    world.core.db.write_sync(forge)
    answer = await second.approve(approval)
    assert (answer.status_code, answer.json()["code"]) == (409, "approval-stale")
    assert state(world) == "killed"


@one_database
async def test_rejecting_works_by_a_plain_form(world: World, asked: tuple[Person, Person, str]) -> None:
    _, second, approval = asked
    answer = await second.form(f"/console/approvals/{approval}/reject", reason="not now")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/console/approvals/{approval}")
    page = (await second.page(f"/console/approvals/{approval}")).text
    assert "not now" in page
    assert "rejected" in page
    assert (await second.form(f"/console/approvals/{approval}/reject", reason="")).status_code == 422


@one_database
async def test_an_approved_refund_is_sent_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The charge service of this test is a port that takes every command; the whole way is in the acceptance tests."""
    taken = []

    async def command(given: object) -> dict[str, object]:
        taken.append(given)
        return {"status": "accepted", "intent": None}

    charging = world.guard.services.charging
    assert charging is not None
    monkeypatch.setattr(charging.client, "command", command)
    customer, support, finance = [await world.person(role) for role in ("customer", "support", "finance")]
    payment = world.payment(customer.id)
    body = {"amount": 4000, "currency": "EUR", "reason": "broken"}
    asked = await support.post(f"/api/payments/{payment}/refunds", body)
    assert asked.status_code == 202, asked.text
    assert (await finance.approve(asked.json()["approval_id"])).status_code == 200
    refunds = [one for one in taken if one.kind == "refund"]
    assert len(refunds) == 1
    (stored,) = world.rows(sa.select(payment_store.commands).where(payment_store.commands.c.kind == "refund"))
    assert (stored.id, stored.state) == (refunds[0].id, "delivered")
