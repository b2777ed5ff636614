"""The one group commit that every write goes through, and the thread that syncs it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeAlias, TypeVar

import outcome
import trio
from trio.lowlevel import Abort, RaiseCancelT

from fleetd.errors import StoreError

LINGER = 0.15  # of the last commit's time; measured best under 64 clients
LINGER_MOST = 0.02  # seconds: a commit that hung says nothing about the next one
MAX_JOINED = 4096
T = TypeVar("T")
Steps: TypeAlias = "Generator[None, Exception | None, list[Any]]"


class Waiter:
    """One write, and the task that sleeps until its commit is on the disk."""

    __slots__ = ("expires", "task", "write")

    def __init__(
        self, write: Any, task: trio.lowlevel.Task | None, expires: float
    ) -> None:
        self.write = write
        self.task = task
        self.expires = expires


class Writer:
    """Joins the writes of many tasks into one transaction and one sync.

    `commit(writes)` runs the statements, yields once where its transaction is to be
    synced, hears how that went, and returns one result a write. Statements run in the
    loop's thread and only the sync in a thread of its own: two threads at the
    interpreter's lock cost three times what the second core gave (measured). While one
    commit syncs, the next one gathers. `fold()` gives the work that is due between two
    commits, when everybody has been answered: it runs where the syncs do.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Any]], Steps],
        sync: Callable[[], Exception | None],
        fold: Callable[[], Callable[[], None] | None] = lambda: None,
        *,
        threads: bool,
    ) -> None:
        self._commit = commit
        self._sync = sync
        self._fold = fold
        self._threads = threads
        self._pending: list[Waiter] = []
        self._flying: list[Waiter] = []
        self._sleeper: trio.lowlevel.Task | None = None
        self._bell = threading.Semaphore(0)
        self._state = "open"
        self.last_commit_s = 0.0
        self.commits = 0
        self.commit_times: Callable[[float], None] = lambda _seconds: None
        self.busy_since: float | None = None

    async def join(self, write: Any, *, within: float | None = None) -> Any:
        """Put a write into the next commit and sleep until it is on the disk.

        Raises `TimeoutError` once `within` seconds passed: the write may still be kept
        if its commit is under way, and has left the line if it is not, so that a disk
        that hangs fills no memory. A cancelled caller leaves its write in line.
        """
        if self._state != "open":
            raise StoreError("the log is closed")
        if not self._threads:
            return await self._inline(write)
        expires = time.monotonic() + within if within is not None else float("inf")
        waiter = Waiter(write, trio.lowlevel.current_task(), expires)
        self._pending.append(waiter)
        self._wake_up()

        def abort(_: RaiseCancelT) -> Abort:
            waiter.task = None
            return Abort.SUCCEEDED

        return await trio.lowlevel.wait_task_rescheduled(abort)

    def post(self, write: Any) -> None:
        """Put a write into the next commit, and wait for nothing."""
        if not self._threads:
            self._commit_now(write)
        elif self._state == "open":
            self._pending.append(Waiter(write, None, float("inf")))
            self._wake_up()

    def expire(self) -> None:
        """Wake those that waited longer than they may; one look serves them all."""
        now = time.monotonic()
        late = [one for one in (*self._flying, *self._pending) if one.expires <= now]
        if late:
            self._pending = [one for one in self._pending if one.expires > now]
        for waiter in late:
            _wake(waiter, outcome.Error(TimeoutError()))

    async def run(self) -> None:
        """Commit what joins, for ever; a cancel does not reach in here, `close` does."""
        thread = threading.Thread(target=self._syncer, name="log", daemon=True)
        self._token = trio.lowlevel.current_trio_token()
        thread.start()
        try:
            with trio.CancelScope(shield=True):
                await self._run()
        finally:
            self._state = "closed"
            broken = StoreError("the log's writer ended; nothing more is accepted")
            self._settle([broken] * len(self._flying))
            self._flying, self._pending = self._pending, []
            self._settle([broken] * len(self._flying))
            self._bell.release()
            thread.join()

    def close(self) -> None:
        """Commit what is in line, then let `run` return."""
        self._state = "closing"
        self._wake_up()

    async def _run(self) -> None:
        while True:
            if not self._pending:
                if self._state != "open":
                    return
                self._sleeper = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(_never)
            if len(self._flying) > 1:  # others are on their way as well
                await trio.sleep(min(self.last_commit_s * LINGER, LINGER_MOST))
            self._flying = self._pending[:MAX_JOINED]
            del self._pending[:MAX_JOINED]
            began = self.busy_since = time.monotonic()
            results = await self._drive([waiter.write for waiter in self._flying])
            self.last_commit_s = time.monotonic() - began
            self.busy_since = None
            self.commits += 1
            self.commit_times(self.last_commit_s)
            self._settle(results)
            if fold := self._fold():
                await self._elsewhere(fold)

    async def _drive(self, writes: list[Any]) -> list[Any]:
        steps = self._commit(writes)
        fault: Exception | None = None
        while True:
            try:
                steps.send(fault)
            except StopIteration as end:
                results: list[Any] = end.value
                return results
            fault = await self._elsewhere(self._sync)

    async def _inline(self, write: Any) -> Any:
        """Commit right here: for virtual time, where no real thread may run."""
        await trio.lowlevel.checkpoint_if_cancelled()
        result = self._commit_now(write)
        await trio.lowlevel.cancel_shielded_checkpoint()
        if isinstance(result, Exception):
            raise result
        return result

    def _commit_now(self, write: Any) -> Any:
        steps = self._commit([write])
        fault: Exception | None = None
        while True:
            try:
                steps.send(fault)
            except StopIteration as end:
                result = end.value[0]
                break
            fault = self._sync()
        if fold := self._fold():
            fold()
        return result

    async def _elsewhere(self, work: Callable[[], T]) -> T:
        """Run what waits for the disk in the log's own thread."""
        self._work, self._working = work, trio.lowlevel.current_task()
        self._bell.release()
        answer: T = await trio.lowlevel.wait_task_rescheduled(_never)
        return answer

    def _syncer(self) -> None:
        while True:
            self._bell.acquire()
            if self._state == "closed":
                return
            answer = outcome.capture(self._work)
            self._token.run_sync_soon(trio.lowlevel.reschedule, self._working, answer)

    def _wake_up(self) -> None:
        if self._sleeper is not None:
            task, self._sleeper = self._sleeper, None
            trio.lowlevel.reschedule(task)

    def _settle(self, results: Sequence[Any]) -> None:
        for waiter, result in zip(self._flying, results, strict=True):
            failed = isinstance(result, Exception)
            _wake(waiter, outcome.Error(result) if failed else outcome.Value(result))


def _wake(waiter: Waiter, result: outcome.Outcome[Any]) -> None:
    if waiter.task is not None:
        task, waiter.task = waiter.task, None
        trio.lowlevel.reschedule(task, result)


def _never(_: RaiseCancelT) -> Abort:
    return Abort.FAILED
