"""Four eyes: what is approved is what was asked for, by somebody else, in time, once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from redoubt.audit import store as audit_store
from redoubt.core.base import Core
from redoubt.core.canonical import canonical_json, sha256_hex
from redoubt.core.clock import ManualClock
from redoubt.core.db import Database, Tx
from redoubt.core.errors import RedoubtError
from redoubt.guard import Approval, Approvals, Kind, Kinds, store
from redoubt.guard.errors import (
    AlreadyDecided,
    ApprovalExpired,
    ApprovalRefused,
    ApprovalStale,
    ApprovalUnknown,
    AssertionRefused,
    KindUnknown,
    NotEntitled,
    PayloadInvalid,
    SelfApproval,
)
from redoubt.guard.models import challenge_of

from .people import Counter, Forged, People, desk

REFUND = {"payment": "p-1", "amount": 1200, "currency": "EUR"}


@pytest.fixture
def people() -> People:
    return People("alice", "bob", "carol")


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def approvals(core: Core, people: People, counter: Counter) -> Approvals:
    return desk(core, people, counter)


def ask(core: Core, approvals: Approvals, **changes: Any) -> Approval:
    wanted: dict[str, Any] = {"requester": "alice", "ticket": "T-1", **changes}
    return core.db.write_sync(lambda tx: approvals.create(tx, "payments.refund", REFUND, **wanted))


def approve(core: Core, approvals: Approvals, asked: Approval, people: People, who: str = "bob") -> Approval:
    assertion = people.sign(who, asked.challenge)
    return core.db.write_sync(lambda tx: approvals.approve(tx, asked.id, who, assertion))


def state(core: Core, asked: Approval) -> str:
    return core.db.read_sync(
        lambda tx: tx.execute(
            sa.select(store.approvals.c.state).where(store.approvals.c.id == asked.id)
        ).scalar_one()
    )


def actions(core: Core) -> list[tuple[str, str]]:
    table = audit_store.entries
    return core.db.read_sync(
        lambda tx: [
            tuple(row) for row in tx.execute(sa.select(table.c.action, table.c.outcome).order_by(table.c.id))
        ]
    )


def test_a_second_person_approves_and_the_effect_happens_once(
    core: Core, approvals: Approvals, people: People, counter: Counter
) -> None:
    asked = ask(core, approvals)
    assert counter.seen == []
    decided = approve(core, approvals, asked, people)
    assert (decided.state, decided.decided_by, decided.credential) == ("approved", "bob", "key-of-bob")
    (done,) = counter.seen
    assert done[0].payload_bytes == asked.payload_bytes
    assert {key: done[0].payload[key] for key in REFUND} == REFUND
    assert actions(core) == [("approval.create", "success"), ("approval.approve", "success")]


def test_the_challenge_is_over_exactly_the_stored_bytes(core: Core, approvals: Approvals) -> None:
    asked = ask(core, approvals)
    assert asked.payload_bytes == canonical_json(asked.payload)
    assert asked.challenge == challenge_of(asked.payload_bytes)
    assert asked.payload_hash == sha256_hex(asked.payload_bytes)
    assert ask(core, approvals).challenge != asked.challenge


Attack = Callable[[Core, Approvals, Approval, People, ManualClock], Any]


def _self(core: Core, approvals: Approvals, asked: Approval, people: People, clock: ManualClock) -> Any:
    return approve(core, approvals, asked, people, "alice")


def _foreign_signature(
    core: Core, approvals: Approvals, asked: Approval, people: People, clock: ManualClock
) -> Any:
    assertion = people.sign("carol", asked.challenge)
    return core.db.write_sync(lambda tx: approvals.approve(tx, asked.id, "bob", assertion))


def _other_payload(
    core: Core, approvals: Approvals, asked: Approval, people: People, clock: ManualClock
) -> Any:
    assertion = people.sign("bob", ask(core, approvals).challenge)
    return core.db.write_sync(lambda tx: approvals.approve(tx, asked.id, "bob", assertion))


def _no_user_verification(
    core: Core, approvals: Approvals, asked: Approval, people: People, clock: ManualClock
) -> Any:
    people.user_verified = False
    return approve(core, approvals, asked, people)


def _too_late(core: Core, approvals: Approvals, asked: Approval, people: People, clock: ManualClock) -> Any:
    clock.advance(asked.expires_at - asked.created_at)
    return approve(core, approvals, asked, people)


def _other_tenant(
    core: Core, approvals: Approvals, asked: Approval, people: People, clock: ManualClock
) -> Any:
    assertion = people.sign("bob", asked.challenge)
    return core.db.write_sync(lambda tx: approvals.approve(tx, asked.id, "bob", assertion, tenant="other"))


def _after_withdrawal(
    core: Core, approvals: Approvals, asked: Approval, people: People, clock: ManualClock
) -> Any:
    core.db.write_sync(lambda tx: approvals.reject(tx, asked.id, "alice", "a mistake"))
    return approve(core, approvals, asked, people)


def _not_entitled(
    core: Core, approvals: Approvals, asked: Approval, people: People, clock: ManualClock
) -> Any:
    return approve(core, desk(core, people, Counter(), entitled=frozenset({"carol"})), asked, people)


@pytest.mark.parametrize(
    ("attack", "error"),
    [
        (_self, SelfApproval),
        (_foreign_signature, AssertionRefused),
        (_other_payload, AssertionRefused),
        (_no_user_verification, AssertionRefused),
        (_too_late, ApprovalExpired),
        (_other_tenant, ApprovalUnknown),
        (_after_withdrawal, AlreadyDecided),
        (_not_entitled, NotEntitled),
    ],
)
def test_an_approval_is_refused(
    core: Core, approvals: Approvals, people: People, counter: Counter, clock: ManualClock, attack: Attack,
    error: type[RedoubtError],
) -> None:  # fmt: skip
    asked = ask(core, approvals)
    with pytest.raises(error):
        attack(core, approvals, asked, people, clock)
    assert counter.seen == []
    assert state(core, asked) != "approved"


def test_an_approval_is_consumed_once(
    core: Core, approvals: Approvals, people: People, counter: Counter
) -> None:
    asked = ask(core, approvals)
    approve(core, approvals, asked, people)
    for who in ("bob", "carol"):
        with pytest.raises(AlreadyDecided):
            approve(core, approvals, asked, people, who)
    assert len(counter.seen) == 1


def test_a_failed_effect_decides_nothing(
    core: Core, approvals: Approvals, people: People, counter: Counter
) -> None:
    asked = ask(core, approvals)
    counter.fail = True
    with pytest.raises(Forged):
        approve(core, approvals, asked, people)
    assert state(core, asked) == "pending"
    assert actions(core) == [("approval.create", "success")]
    counter.fail = False
    approve(core, approvals, asked, people)
    assert len(counter.seen) == 1


def test_withdrawing_needs_no_entitlement_and_rejecting_does(core: Core, people: People) -> None:
    approvals = desk(core, people, Counter(), entitled=frozenset({"bob"}))
    first, second = ask(core, approvals), ask(core, approvals)
    with pytest.raises(NotEntitled):
        core.db.write_sync(lambda tx: approvals.reject(tx, first.id, "carol", "no"))
    core.db.write_sync(lambda tx: approvals.reject(tx, first.id, "alice", "a mistake"))
    core.db.write_sync(lambda tx: approvals.reject(tx, second.id, "bob", "no"))
    assert state(core, first) == state(core, second) == "rejected"


async def test_a_refused_attempt_is_audited_with_its_code(
    core: Core, approvals: Approvals, people: People
) -> None:
    asked = await core.db.write(
        lambda tx: approvals.create(tx, "payments.refund", REFUND, requester="alice", ticket="T")
    )
    with pytest.raises(SelfApproval):
        await approvals.decide(asked.id, "alice", people.sign("alice", asked.challenge))
    assert actions(core)[-1] == ("approval.approve", "denied")
    bodies = core.db.read_sync(
        lambda tx: [json.loads(b) for b in tx.execute(sa.select(audit_store.entries.c.body)).scalars()]
    )
    assert "approval-self" in [body.get("unmapped", {}).get("code") for body in bodies]
    assert (await approvals.decide(asked.id, "bob", people.sign("bob", asked.challenge))).state == "approved"


@pytest.mark.parametrize(
    "changes",
    [
        {"ticket": " "}, {"ticket": "x" * 501}, {"requester": ""}, {"expires": timedelta(0)}, {"expires": timedelta(days=8)},
        {"expires": timedelta(seconds=-1)},
    ],
)  # fmt: skip
def test_a_request_out_of_bounds_is_refused(
    core: Core, approvals: Approvals, changes: dict[str, Any]
) -> None:
    with pytest.raises(PayloadInvalid):
        ask(core, approvals, **changes)


def test_unknown_kinds_floats_and_repeated_payloads_are_refused(core: Core, approvals: Approvals) -> None:
    def create(kind: str, payload: dict[str, Any]) -> None:
        core.db.write_sync(lambda tx: approvals.create(tx, kind, payload, requester="alice", ticket="T"))

    with pytest.raises(KindUnknown):
        create("payments.payout", REFUND)
    with pytest.raises(PayloadInvalid):
        create("payments.refund", {"amount": 1.5})
    with pytest.raises(PayloadInvalid):
        create("payments.refund", {"text": "x" * 300_000})
    create("payments.refund", {**REFUND, "nonce": "n"})
    with pytest.raises(PayloadInvalid):
        create("payments.refund", {**REFUND, "nonce": "n"})


class Prices:
    """A dry run over something that changes."""

    def __init__(self) -> None:
        self.price = 100

    def run(self, tx: Tx, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"from": self.price, "to": payload["price"]}


def test_an_approval_is_refused_when_the_change_would_do_something_else(
    core: Core, people: People, counter: Counter
) -> None:
    prices = Prices()
    approvals = Approvals(core, Kinds(Kind("prices.change", counter, lambda *_: True, prices)), people)

    def create() -> Approval:
        return core.db.write_sync(
            lambda tx: approvals.create(tx, "prices.change", {"price": 120}, requester="alice", ticket="T")
        )

    stale = create()
    assert stale.dry_run == {"from": 100, "to": 120}
    assert stale.payload["dry_run"] == sha256_hex(canonical_json(stale.dry_run))
    prices.price = 110
    with pytest.raises(ApprovalStale):
        approve(core, approvals, stale, people)
    approve(core, approvals, create(), people)
    assert len(counter.seen) == 1


DATABASE_ATTACKS = {
    "edit the payload": "UPDATE approvals SET payload = '{}'",
    "raise the amount while approving": "UPDATE approvals SET payload = replace(payload, '1200', '9900'), {approved}",
    "approve one's own": "UPDATE approvals SET {approved}, decided_by = requester",
    "approve without a passkey": "UPDATE approvals SET {approved}, assertion = NULL, assertion_hash = NULL, credential = NULL",
    "approve after expiry": "UPDATE approvals SET {approved}, decided_at = expires_at",
    "approve before it was asked": "UPDATE approvals SET {approved}, decided_at = created_at - 1",
    "extend the expiry": "UPDATE approvals SET expires_at = expires_at + 1",
    "change the requester": "UPDATE approvals SET requester = 'mallory', {approved}",
    "approve by nobody": "UPDATE approvals SET {approved}, decided_by = NULL",
    "swap the dry run": "UPDATE approvals SET dry_run = '1', {approved}",
    "delete": "DELETE FROM approvals",
    "insert approved": "INSERT INTO approvals (id, tenant, kind, payload, payload_hash, requester, ticket, created_at, expires_at,"
    " state, decided_by, decided_at, credential, assertion, assertion_hash) SELECT 'forged', tenant, kind, '{}', 'h', requester,"
    " ticket, created_at, expires_at, 'approved', 'bob', created_at, 'c', 'a', 'b' FROM approvals",
    "live for a month": "INSERT INTO approvals (id, tenant, kind, payload, payload_hash, requester, ticket, created_at, expires_at,"
    " state) SELECT 'forged', tenant, kind, '{}', 'h', requester, ticket, created_at, created_at + 2592000000000, 'pending'"
    " FROM approvals",
}  # fmt: skip
APPROVED = "state = 'approved', decided_by = 'bob', decided_at = created_at + 1, credential = 'c', assertion = 'a', assertion_hash = 'b'"


def _sql(core: Core, name: str) -> str:
    attack = DATABASE_ATTACKS[name]
    given = {
        part.split(" = ")[0].strip() for part in attack.split("{approved}")[-1].split(",") if " = " in part
    }
    values = ", ".join(part for part in APPROVED.split(", ") if part.split(" = ")[0] not in given)
    return attack.replace("{approved}", values)


@pytest.mark.parametrize("name", sorted(DATABASE_ATTACKS))
def test_the_database_itself_refuses_to(core: Core, approvals: Approvals, name: str) -> None:
    ask(core, approvals)
    before = core.db.read_sync(lambda tx: list(tx.execute(sa.select(store.approvals))))
    with pytest.raises(sa.exc.IntegrityError):
        core.db.write_sync(lambda tx: tx.execute(sa.text(_sql(core, name))))
    assert core.db.read_sync(lambda tx: list(tx.execute(sa.select(store.approvals)))) == before


def test_the_plain_approval_that_those_attacks_vary_does_pass(core: Core, approvals: Approvals) -> None:
    asked = ask(core, approvals)
    core.db.write_sync(lambda tx: tx.execute(sa.text(f"UPDATE approvals SET {APPROVED}")))
    assert state(core, asked) == "approved"


@pytest.mark.parametrize(
    "change",
    [
        "state = 'pending', decided_by = NULL, decided_at = NULL",
        "state = 'rejected'",
        "decided_by = 'carol'",
        "reason = 'x'",
    ],
)
def test_a_decision_is_final(core: Core, approvals: Approvals, people: People, change: str) -> None:
    approve(core, approvals, ask(core, approvals), people)
    with pytest.raises(sa.exc.IntegrityError):
        core.db.write_sync(lambda tx: tx.execute(sa.text(f"UPDATE approvals SET {change}")))


def test_one_assertion_serves_one_request_even_for_the_database(
    core: Core, approvals: Approvals, people: People
) -> None:
    approve(core, approvals, ask(core, approvals), people)
    second = ask(core, approvals)
    used = "SELECT assertion_hash FROM approvals WHERE state = 'approved'"
    statement = f"UPDATE approvals SET {APPROVED.replace(chr(39) + 'b' + chr(39), f'({used})', 2)} WHERE id = :id".replace(
        f"decided_by = ({used})", "decided_by = 'bob'"
    )
    with pytest.raises(sa.exc.IntegrityError):
        core.db.write_sync(lambda tx: tx.execute(sa.text(statement), {"id": second.id}))


def test_replace_and_truncate_are_refused(core: Core, approvals: Approvals) -> None:
    ask(core, approvals)
    sqlite = core.db.dialect == "sqlite"
    attack = "REPLACE INTO approvals SELECT * FROM approvals" if sqlite else "TRUNCATE approvals CASCADE"
    with pytest.raises(sa.exc.IntegrityError):
        core.db.write_sync(lambda tx: tx.execute(sa.text(attack)))


def test_racing_approvers_on_two_connections_consume_it_once(
    core: Core, people: People, counter: Counter, database_url: str
) -> None:
    approvals = desk(core, people, counter)
    other_db = Database(database_url)
    other = desk(
        Core(core.settings, other_db, core.clock, core.ids, core.keys, core.redactor), people, counter
    )
    requests = [ask(core, approvals) for _ in range(12)]
    outcomes: list[str] = []

    def run(side: Approvals, db: Database, who: str) -> None:
        for asked in requests:
            assertion = people.sign(who, asked.challenge)
            try:
                db.write_sync(lambda tx, a=asked, s=assertion: side.approve(tx, a.id, who, s))
                outcomes.append("approved")
            except ApprovalRefused as error:
                outcomes.append(error.code)

    sides = [
        (approvals, core.db, "bob"),
        (other, other_db, "carol"),
        (approvals, core.db, "carol"),
        (other, other_db, "bob"),
    ]
    threads = [threading.Thread(target=run, args=side) for side in sides]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other_db.close()
    assert outcomes.count("approved") == len(requests)
    assert outcomes.count("approval-decided") == len(requests) * 3
    assert sorted(done[0].id for done in counter.seen) == sorted(asked.id for asked in requests)


def test_lists_are_per_tenant_newest_first_and_paged(core: Core, approvals: Approvals) -> None:
    mine = [ask(core, approvals) for _ in range(5)]
    ask(core, approvals, tenant="other")
    found = core.db.read_sync(lambda tx: approvals.list(tx, limit=3))
    assert [a.id for a in found] == [a.id for a in reversed(mine)][:3]
    rest = core.db.read_sync(
        lambda tx: approvals.list(tx, before=found[-1].id, state="pending", kind="payments.refund")
    )
    assert [a.id for a in rest] == [a.id for a in reversed(mine)][3:]
