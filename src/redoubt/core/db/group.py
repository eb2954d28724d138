"""Group commit: hot writes of many callers share one transaction and one fsync.

Callers submit an item to a declared `Command`. A thread gathers items (not on PostgreSQL, where the round trip
gathers by itself), sorts them by key so that two processes lock in one order, runs each command once over its items,
commits, and hands each caller its own answer. When a batch fails it is rolled back and its items are run one by one,
so that one bad item spoils nobody else's.

How long it gathers depends on those who said by `begin` that they come, such as requests before their decision: until
all of them wait here, and no longer than 0.3 ms for each, so that a lone request waits for nobody and a busy process
commits seldom (to the end of PostgreSQL's commit_siblings and commit_delay). Where nobody is to come it is about a
millisecond.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, cast

from .errors import StorageUnavailable

if TYPE_CHECKING:
    from .database import Database, Tx

I = TypeVar("I")  # noqa: E741 - item
R = TypeVar("R")

_MAX_BATCH = 256
_GATHER_EACH, _MAX_GATHER = 0.0003, 0.02  # seconds
_MAX_WAITING = 20_000


class Command(Generic[I, R]):
    """A set-based write that group commit may run for many items at once."""

    name: str

    def key(self, item: I) -> str:
        """Return the key that orders `item` in its batch; two items that touch one row share it."""
        raise TypeError(f"{type(self).__name__} declares no key")

    def apply(self, tx: Tx, items: Sequence[I]) -> Sequence[R]:
        """Write all `items` in `tx` and return one answer an item, in the same order."""
        raise TypeError(f"{type(self).__name__} declares no effect")


class _Waiting(NamedTuple):
    command: Command[Any, Any]
    item: Any
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class Coming:
    """Somebody who is about to submit something, or will not after all."""

    __slots__ = ("_group", "_open")

    def __init__(self, group: GroupCommit) -> None:
        self._group, self._open = group, True

    def end(self) -> None:
        """Say that it has been written, or that nothing will come; saying so again changes nothing."""
        if self._open:
            self._open = False
            self._group.leave()


class GroupCommit:
    """Gathers submitted items and commits them together; one thread a process."""

    def __init__(self, db: Database, *, gather: float) -> None:
        """Gather for `gather` seconds, or by who is coming where there is anybody; 0 gathers never."""
        self._db = db
        self._gather = gather
        self._waiting: list[_Waiting] = []
        self._underway = 0
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._closed = False
        self._thread: threading.Thread | None = None

    async def submit(self, command: Command[I, R], item: I) -> R:
        """Write `item` with whatever else is waiting; the answer is durable when this returns.

        Raises StorageUnavailable when too much is waiting already, and whatever `command` raises for this item.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(command, item, loop, loop.create_future())
        with self._lock:
            if self._closed or len(self._waiting) >= _MAX_WAITING:
                raise StorageUnavailable("the writer is closed or overloaded; nothing was written.")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="redoubt-group-commit", daemon=True)
                self._thread.start()
            self._waiting.append(waiting)
            if len(self._waiting) == 1 or self._gathered():
                self._wake.notify()
        return cast(R, await waiting.future)

    @property
    def underway(self) -> int:
        """How many are coming, or wait already."""
        return self._underway

    def begin(self) -> Coming:
        """Declare somebody who is about to submit something: until its `end` a batch is held back for it, if not for long."""
        with self._lock:
            self._underway += 1
        return Coming(self)

    def leave(self) -> None:
        """Count one less; called by `Coming.end`."""
        with self._lock:
            self._underway -= 1
            if self._waiting and self._gathered():
                self._wake.notify()

    def _gathered(self) -> bool:
        """Say whether a batch is full, or everybody who is underway waits; where nobody is, anybody may come."""
        return len(self._waiting) >= min(_MAX_BATCH, self._underway or _MAX_BATCH)

    def close(self) -> None:
        """Commit what waits, then stop."""
        with self._lock:
            self._closed = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._waiting:
                    if self._closed:
                        return
                    self._wake.wait()
                if self._gather and not self._closed and not self._gathered():
                    self._wake.wait(min(_MAX_GATHER, _GATHER_EACH * self._underway) or self._gather)
                batch, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
            self._commit(batch)

    def _commit(self, batch: list[_Waiting]) -> None:
        try:
            answers: list[Any] = self._together(batch)
        except Exception as error:
            answers = [error] if len(batch) == 1 else [self._alone(waiting) for waiting in batch]
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = defaultdict(list)
        for waiting, answer in zip(batch, answers, strict=True):
            by_loop[waiting.loop].append((waiting.future, answer))
        for loop, settled in by_loop.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, settled)

    def _together(self, batch: list[_Waiting]) -> list[Any]:
        by_command: dict[str, list[int]] = defaultdict(list)
        for index, waiting in enumerate(batch):
            by_command[waiting.command.name].append(index)
        answers: list[Any] = [None] * len(batch)

        def apply(tx: Tx) -> None:
            for name in sorted(by_command):
                command = batch[by_command[name][0]].command
                indexes = sorted(by_command[name], key=lambda i: command.key(batch[i].item))
                results = command.apply(tx, [batch[i].item for i in indexes])
                for index, result in zip(indexes, results, strict=True):
                    answers[index] = result

        self._db.write_sync(apply)
        return answers

    def _alone(self, waiting: _Waiting) -> Any:
        try:
            return self._together([waiting])[0]
        except Exception as error:
            return error


def _settle(settled: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, answer in settled:
        if future.done():  # its caller went away; the write stands
            continue
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)
