"""Attacks by people who may ask: on the base, the time, the bytes, the second person, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

from sqlalchemy.exc import DBAPIError

from redoubt.core.errors import RedoubtError
from redoubt.guard.models import Approval

from .scene import BASE, NARROW, Scene

Act = Callable[[Scene], None]


def honest(scene: Scene) -> None:
    """What every twin does: ask, and a second person approves."""
    scene.approve(scene.ask())


# stale base


def _moved_by_a_narrowing(scene: Scene) -> None:
    scene.propose(NARROW)


def _moved_by_a_widening_and_back(scene: Scene) -> None:
    """Leave the same text running, two steps on."""
    scene.propose(NARROW)
    back = scene.propose(BASE).approval
    assert back is not None
    scene.approve(back)


def _stale(move: Act, scene: Scene) -> None:
    request = scene.ask()
    move(scene)
    scene.refused(scene.approve, request)


def _stale_straight(scene: Scene) -> None:
    request = scene.ask()
    scene.propose(NARROW)
    scene.refused(scene.activate, request, request.payload)


def _stale_rebased(scene: Scene) -> None:
    """Name the new base in a payload that was signed over the old one."""
    request = scene.ask()
    scene.propose(NARROW)
    scene.refused(scene.activate, request, {**request.payload, "base": NARROW.version})


STALE = {
    "a narrowing came between": partial(_stale, _moved_by_a_narrowing),
    "away and back": partial(_stale, _moved_by_a_widening_and_back),
    "straight to the effect": _stale_straight,
    "with the new base named": _stale_rebased,
}


# expiry


def _late(by: timedelta, scene: Scene) -> None:
    request = scene.ask()
    scene.clock.advance(by)
    scene.refused(scene.approve, request)


def in_time(scene: Scene) -> None:
    request = scene.ask()
    scene.clock.advance(timedelta(hours=24, microseconds=-1))
    scene.approve(request)


def _late_straight(scene: Scene) -> None:
    """Mark it approved in time with SQL, and set it in motion late."""
    request = scene.ask()
    _mark(scene, request, scene.approver)
    scene.clock.advance(timedelta(hours=24))
    scene.refused(scene.activate, request, request.payload)


EXPIRY = {
    "at the last moment": partial(_late, timedelta(hours=24)),
    "a microsecond late": partial(_late, timedelta(hours=24, microseconds=1)),
    "days late": partial(_late, timedelta(days=6)),
    "approved in time, used late": _late_straight,
}


# edit after sign-off


def _edited(column: str, value: str, scene: Scene) -> None:
    request = scene.ask()
    scene.refused(scene.sql, f"UPDATE approvals SET {column} = {value} WHERE id = :id", id=request.id)


def _other_text(scene: Scene) -> None:
    request = scene.ask()
    other = NARROW.body if scene.edit.policies.version != NARROW.version else BASE.body
    scene.refused(scene.activate, request, {**request.payload, "body": other})


def _other_signature(scene: Scene) -> None:
    first, second = scene.ask(), scene.ask()
    scene.refused(scene.approve, first, signed=second)


EDITED = {
    "the payload": partial(_edited, "payload", "payload || ' '"),
    "its hash": partial(_edited, "payload_hash", "'x'"),
    "its end": partial(_edited, "expires_at", "expires_at + 1"),
    "its dry run": partial(_edited, "dry_run", "'{}'"),
    "another text": _other_text,
    "another's signature": _other_signature,
}


# replay


def _back_and_again(scene: Scene) -> Approval:
    """Let the edit run, take it back, and return its consumed request."""
    request = scene.ask()
    scene.approve(request)
    assert scene.propose(BASE).approval is None
    return request


def _again(scene: Scene) -> None:
    scene.refused(scene.approve, _back_and_again(scene))


def _again_straight(scene: Scene) -> None:
    request = _back_and_again(scene)
    scene.refused(scene.activate, request, request.payload)


def _again_on_the_new_base(scene: Scene) -> None:
    request = _back_and_again(scene)
    again = scene.ask()
    scene.refused(scene.activate, request, again.payload)


def _the_old_signature(scene: Scene) -> None:
    request = _back_and_again(scene)
    scene.refused(scene.approve, scene.ask(), signed=request)


REPLAY = {
    "approved again": _again,
    "its effect again": _again_straight,
    "its approval for a new request": _again_on_the_new_base,
    "its signature for a new request": _the_old_signature,
}


# self-approval


def _by(person: Callable[[Scene], str], scene: Scene) -> None:
    scene.refused(scene.approve, scene.ask(), person(scene))


def _straight_by_the_author(scene: Scene) -> None:
    request = scene.ask()
    scene.refused(scene.activate, request, request.payload, scene.author)


def _mark(scene: Scene, request: Approval, person: str) -> None:
    """Mark a request as approved with SQL, with an invented assertion."""
    scene.sql(
        "UPDATE approvals SET state = 'approved', decided_by = :person, decided_at = :at, credential = 'k',"
        " assertion = '{}', assertion_hash = :hash WHERE id = :id",
        person=person, at=scene.micros(), hash=request.id, id=request.id,
    )  # fmt: skip


def _marked_by_the_author(scene: Scene) -> None:
    scene.refused(_mark, scene, scene.ask(), scene.author)


SELF = {
    "by the author": partial(_by, lambda scene: scene.author),
    "by the author in capitals": partial(_by, lambda scene: scene.author.upper()),
    "by the author with a space": partial(_by, lambda scene: scene.author + " "),
    "by a stranger": partial(_by, lambda scene: "eve"),
    "by nobody": partial(_by, lambda scene: "mallory"),
    "the effect by the author": _straight_by_the_author,
    "marked by the author": _marked_by_the_author,
}


# two approvals at once


def _together(*attempts: Callable[[], None]) -> int:
    """Run attempts at once; return how many passed."""

    def run(attempt: Callable[[], None]) -> bool:
        try:
            attempt()
        except (RedoubtError, DBAPIError):
            return False
        return True

    with ThreadPoolExecutor(len(attempts)) as pool:
        return sum(pool.map(run, attempts))


def _one_request(times: int, scene: Scene) -> None:
    request = scene.ask()
    before = scene.head().seq
    passed = _together(*[partial(scene.approve, request)] * times)
    assert passed == 1, passed
    assert scene.head().seq == before + 1
    assert scene.propose(BASE).approval is None


def _two_requests(scene: Scene) -> None:
    first, second = scene.ask(), scene.ask()
    before = scene.head().seq
    passed = _together(partial(scene.approve, first), partial(scene.approve, second))
    assert passed == 1, passed
    assert scene.head().seq == before + 1
    assert scene.propose(BASE).approval is None


def _beside_a_narrowing(scene: Scene) -> None:
    """An approval and a narrowing race: what is approved never comes on top of a narrowing that was not judged with it."""
    request = scene.ask()
    before = scene.head().seq
    passed = _together(partial(scene.approve, request), lambda: scene.propose(NARROW) and None)
    assert scene.head().seq == before + passed
    assert (
        passed == 1 or scene.head().version == NARROW.version
    )  # then it was judged against what was approved
    if scene.head().version != NARROW.version:
        assert scene.propose(BASE).approval is None


AT_ONCE = {
    "one request, twice": partial(_one_request, 2),
    "one request, four times": partial(_one_request, 4),
    "two requests": _two_requests,
    "beside a narrowing": _beside_a_narrowing,
}


# roll-back to a wider version


def _was_wide(scene: Scene) -> None:
    """Have the edit in the history, and what denies it running."""
    scene.approve(scene.ask())
    assert scene.propose(BASE).approval is None


def _back_alone(scene: Scene) -> None:
    _was_wide(scene)
    proposed = scene.rollback(scene.edit.policies.version)
    assert proposed.verdict.verdict == "wider"
    assert proposed.approval is not None
    scene.refused(scene.approve, proposed.approval, scene.author)


def _back_without_a_ticket(scene: Scene) -> None:
    _was_wide(scene)
    scene.refused(scene.rollback, scene.edit.policies.version, ticket="")


def _back_by_the_old_verdict(scene: Scene) -> None:
    _was_wide(scene)
    scene.refused(scene.forge_step, scene.edit.policies, kind="rollback", verdict_id=scene.head().verdict_id)


def _back_and_stale(scene: Scene) -> None:
    _was_wide(scene)
    request = scene.rollback(scene.edit.policies.version).approval
    assert request is not None
    scene.propose(NARROW)
    scene.refused(scene.approve, request)


def back_by_two(scene: Scene) -> None:
    _was_wide(scene)
    request = scene.rollback(scene.edit.policies.version).approval
    assert request is not None
    scene.approve(request)


BACK = {
    "alone": _back_alone,
    "without a ticket": _back_without_a_ticket,
    "by an old verdict": _back_by_the_old_verdict,
    "on a base that moved": _back_and_stale,
}
