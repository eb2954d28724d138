"""The frame of an entry, written once for its kind, gives the canonical JSON of its body; rows go in whole."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from redoubt.audit import ocsf, store
from redoubt.audit.models import Actor, Event, Written
from redoubt.audit.plain import canonical_text
from redoubt.audit.service import RecordCommand, prepare
from redoubt.core.base import Core
from redoubt.core.canonical import canonical_json
from redoubt.core.clock import ManualClock
from redoubt.core.db import Database

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12) | st.sampled_from(
    ["%s", "%", "%%(x)s", '"', "\\", "\ue000", '"\ue001"', "\n", "{}"]
)
EVENTS = st.builds(
    Event,
    st.sampled_from(["authz.decide", "charge.capture", "identity.login", "nothing.known"]),
    st.sampled_from(["success", "failure", "denied"]),
    st.builds(Actor, st.sampled_from(["user", "service", "anonymous", "operator"]), TEXTS, st.none() | TEXTS),
    TEXTS,
    st.none() | st.tuples(TEXTS, TEXTS),
    request_id=st.none() | TEXTS,
)


@given(EVENTS, TEXTS)
def test_a_head_is_the_canonical_json_of_the_body(event: Event, entry: str) -> None:
    at, target = ManualClock().now(), event.target and event.target[1]
    body = ocsf.body(event, entry, at, event.actor.id, target)
    assert ocsf.head(event, entry, at, event.actor.id, target) == canonical_text(body)


DATA: Any = st.dictionaries(
    st.text(max_size=6),
    st.recursive(st.text(max_size=20) | st.integers() | st.booleans(), st.lists),
    max_size=4,
)


@given(DATA)
def test_data_that_come_written_are_recorded_like_data_that_do_not(idle: Core, data: dict[str, Any]) -> None:
    def body(given: Any) -> Any:
        row, disclosures = prepare(idle, Event("authz.decide", "success", Actor("service", "x"), data=given))
        return row[13].partition('"unmapped"')[2] if not disclosures else len(disclosures)

    try:
        text = canonical_json(data).decode()
        text.encode()
    except UnicodeEncodeError:
        return
    written = Written(text)
    assert dict(written) == data
    assert body(written) == body(data)


def test_any_number_of_rows_goes_in_whole_and_in_order(core: Core, db: Database) -> None:
    command, expected = RecordCommand(core), []
    for count in (1, 2, 3, 63, 64, 127, 200, 256):
        events = [
            Event("authz.decide", "success", Actor("user", f"u{number}"), target=("T", str(number)))
            for number in range(count)
        ]
        ids = db.write_sync(lambda tx, events=events: command.apply(tx, events))
        expected += [(entry, "T", str(number)) for number, entry in enumerate(ids)]
    columns = store.entries.c
    rows = db.read_sync(
        lambda tx: tx.execute(
            sa.select(columns.id, columns.target_type, columns.target_id).order_by(columns.id)
        ).all()
    )
    assert sorted(map(tuple, rows)) == sorted(expected)
