"""Recording: redaction, commitments, OCSF shape, append-only rows, on both databases."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from redoubt.audit import RECORD, Actor, Event, record, store
from redoubt.audit.errors import EventInvalid
from redoubt.audit.merkle import leaf_hash
from redoubt.audit.personal import COMMITMENT, commitment_of
from redoubt.core.base import Core
from redoubt.core.canonical import canonical_json
from redoubt.core.db import Tx

ALICE = Actor(
    kind="user", id="0190aaaa-0000-7000-8000-000000000001", session="0190aaaa-0000-7000-8000-0000000000aa"
)


def login(**data: Any) -> Event:
    return Event(action="identity.login", outcome="success", actor=ALICE, data=data, request_id="r-1")


def rows(core: Core) -> list[Any]:
    return core.db.read_sync(
        lambda tx: list(tx.execute(sa.select(store.entries).order_by(store.entries.c.id)))
    )


def test_an_entry_commits_with_its_effect_or_not_at_all(core: Core) -> None:
    def fails(tx: Tx) -> None:
        record(tx, core, login())
        raise RuntimeError("the effect failed")

    with pytest.raises(RuntimeError):
        core.db.write_sync(fails)
    assert rows(core) == []
    entry_id = core.db.write_sync(lambda tx: record(tx, core, login()))
    assert [row.id for row in rows(core)] == [entry_id]


def test_a_body_is_ocsf_and_its_hash_is_the_leaf(core: Core) -> None:
    core.db.write_sync(lambda tx: record(tx, core, login(method="passkey")))
    (row,) = rows(core)
    body = json.loads(row.body)
    assert body["class_uid"] == 3002
    assert body["type_uid"] == 300201
    assert body["category_uid"] == 3
    assert body["status_id"] == 1
    assert body["time"] == 1767268800000
    assert body["metadata"]["uid"] == row.id
    assert body["metadata"]["tenant_uid"] == row.tenant == "main"
    assert body["metadata"]["correlation_uid"] == "r-1"
    assert body["actor"]["user"]["uid"] == ALICE.id
    assert body["unmapped"] == {"method": "passkey"}
    assert row.leaf_hash == leaf_hash(row.body.encode())
    assert row.leaf_index is None


def test_money_has_the_documented_extension_class(core: Core) -> None:
    event = Event(
        action="payments.refund.settled",
        outcome="success",
        actor=ALICE,
        data={"amount": 1200, "currency": "EUR"},
    )
    core.db.write_sync(lambda tx: record(tx, core, event))
    body = json.loads(rows(core)[0].body)
    assert (body["class_uid"], body["activity_id"], body["type_uid"]) == (99906001, 3, 9990600103)
    assert body["metadata"]["extensions"][0]["uid"] == "999"
    assert body["unmapped"] == {"amount": 1200, "currency": "EUR"}


def test_any_text_comes_back_as_it_was_from_a_batch(core: Core) -> None:
    """What quotes, brackets, percent signs or another alphabet would break on its way into either database."""
    told = [
        'a "quoted" \\ text',
        "50 % off {a, NULL}",
        "tab\tand\nline",
        "žluťoučký 🐎",
        "$$ ' -- ;",
        "\u2028",
    ]
    events = [
        Event("order.note", "success", ALICE, target=("Order", text), data={"note": text, "n": number})
        for number, text in enumerate(told)
    ]
    core.db.write_sync(lambda tx: RECORD(core).apply(tx, events))
    stored = rows(core)
    assert [row.target_id for row in stored] == told
    assert [json.loads(row.body)["unmapped"]["note"] for row in stored] == told
    assert [row.leaf_hash for row in stored] == [leaf_hash(row.body.encode()) for row in stored]
    assert {row.session for row in stored} == {ALICE.session}
    assert {row.request_id for row in stored} == {None}


SECRETS = [
    "alice@example.org",
    "203.0.113.9",
    "2001:db8::7",
    "4242 4242 4242 4242",
    "sk_live_" + "a" * 24,
    "+49 151 23456789",
]


def test_nothing_personal_or_secret_is_stored(core: Core) -> None:
    data = {
        "email": SECRETS[0], "ip": SECRETS[1], "client_address": SECRETS[2], "note": f"card {SECRETS[3]} of {SECRETS[0]}",
        "nested": [{"deep": SECRETS[4]}, {"phone": SECRETS[5]}], "token": "hunter2hunter2", SECRETS[0]: "as a key",
        "from": f"seen at {SECRETS[1]} twice", "float": 1.5,
    }  # fmt: skip
    event = Event(
        action="identity.login", outcome="denied", actor=Actor(kind="anonymous", id=SECRETS[0]), data=data,
        target=("account", SECRETS[0]),
    )  # fmt: skip
    core.db.write_sync(lambda tx: record(tx, core, event))
    everything = core.db.read_sync(
        lambda tx: repr(
            [tuple(row) for table in (store.entries, store.personal) for row in tx.execute(sa.select(table))]
        )
    )
    for secret in [*SECRETS, "4242424242424242", "hunter2hunter2"]:
        assert secret not in everything, secret
    body = json.loads(rows(core)[0].body)
    assert COMMITMENT.fullmatch(body["unmapped"]["email"])
    assert COMMITMENT.fullmatch(body["actor"]["user"]["uid"])
    assert COMMITMENT.fullmatch(body["resources"][0]["uid"])


def test_a_commitment_is_salted_and_opens_only_to_its_value(core: Core) -> None:
    for _ in range(2):
        core.db.write_sync(lambda tx: record(tx, core, login(email="bob@example.org")))
    found = core.db.read_sync(lambda tx: list(tx.execute(sa.select(store.personal))))
    assert found[0].commitment != found[1].commitment
    assert found[0].lookup == found[1].lookup
    assert commitment_of("email", "bob@example.org", found[0].salt) == found[0].commitment
    assert commitment_of("email", "eve@example.org", found[0].salt) != found[0].commitment


def test_an_oversized_event_is_cut_not_lost(core: Core) -> None:
    core.db.write_sync(lambda tx: record(tx, core, login(blob=["x" * 1000] * 100)))
    (row,) = rows(core)
    assert len(row.body) < 16 * 1024
    assert json.loads(row.body)["unmapped"]["cut"] is True


@pytest.mark.parametrize(
    "action", ["", "login", "Identity.login", "a." + "b" * 200, "a..b", "a.b\n", "a.b;drop"]
)
def test_malformed_actions_are_refused(action: str) -> None:
    with pytest.raises(EventInvalid):
        Event(action=action, outcome="success", actor=ALICE)


async def test_group_commit_stores_every_event_once(core: Core) -> None:
    ids = await asyncio.gather(*(core.db.group.submit(RECORD(core), login(n=n)) for n in range(300)))
    assert len(set(ids)) == 300
    assert sorted(json.loads(row.body)["unmapped"]["n"] for row in rows(core)) == list(range(300))


ATTACKS: dict[str, str] = {
    "edit the body": "UPDATE audit_entries SET body = '{}'",
    "edit a column": "UPDATE audit_entries SET outcome = 'failure'",
    "change while placing": "UPDATE audit_entries SET leaf_index = 7, tenant = 'other'",
    "unplace": "UPDATE audit_entries SET leaf_index = NULL",
    "delete": "DELETE FROM audit_entries",
    "insert placed": "INSERT INTO audit_entries (id, at, action, outcome, class_uid, severity_id, actor_kind, actor_id, body,"
    " leaf_hash, leaf_index) SELECT 'forged', at, action, outcome, class_uid, severity_id, actor_kind, actor_id, body, leaf_hash, 9"
    " FROM audit_entries",
}


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_the_database_refuses_to(core: Core, name: str) -> None:
    core.db.write_sync(lambda tx: record(tx, core, login()))
    before = rows(core)
    with pytest.raises(sa.exc.IntegrityError):
        core.db.write_sync(lambda tx: tx.execute(sa.text(ATTACKS[name])))
    assert rows(core) == before


def test_a_place_is_given_once(core: Core) -> None:
    core.db.write_sync(lambda tx: record(tx, core, login()))
    place: Callable[[int], object] = lambda n: core.db.write_sync(  # noqa: E731
        lambda tx: tx.execute(sa.text("UPDATE audit_entries SET leaf_index = :n"), {"n": n})
    )
    place(0)
    for again in (0, 1):
        with pytest.raises(sa.exc.IntegrityError):
            place(again)


def test_replace_and_truncate_are_refused(core: Core) -> None:
    core.db.write_sync(lambda tx: record(tx, core, login()))
    attack = (
        "REPLACE INTO audit_entries SELECT * FROM audit_entries"
        if core.db.dialect == "sqlite"
        else "TRUNCATE audit_entries CASCADE"
    )
    with pytest.raises(sa.exc.IntegrityError):
        core.db.write_sync(lambda tx: tx.execute(sa.text(attack)))
    assert len(rows(core)) == 1


@pytest.mark.parametrize(
    "secret",
    [
        "sk_live_abcdefghijkl",
        "whsec_abcdefghijkl",
        "pi_x_secret_abcdefgh",
        "password:hunterhunter",
        "ghp_" + "a1" * 18,
    ],
)
def test_what_looks_like_a_word_but_is_a_secret_is_replaced(core: Core, secret: str) -> None:
    core.db.write_sync(lambda tx: record(tx, core, login(note=secret, words=[secret])))
    assert secret not in rows(core)[0].body
    assert "hunterhunter" not in rows(core)[0].body


def test_plain_words_and_ids_stay_readable(core: Core) -> None:
    data = {
        "action": "Order.read",
        "policy": "policy3",
        "order": ALICE.id,
        "resource": f"Order:{ALICE.id}",
        "hash": "ab" * 32,
    }
    core.db.write_sync(lambda tx: record(tx, core, login(**data)))
    assert json.loads(rows(core)[0].body)["unmapped"] == data


def test_a_body_is_canonical_json(core: Core) -> None:
    core.db.write_sync(
        lambda tx: record(
            tx, core, login(text='ümlaut \u2028 "q" ', n=-5, nested={"b": [None, True], "a": {}})
        )
    )
    (row,) = rows(core)
    assert canonical_json(json.loads(row.body)).decode() == row.body
