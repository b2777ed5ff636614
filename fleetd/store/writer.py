"""The one group commit that every write goes through, and the thread that syncs it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar

import outcome
import trio
from trio.lowlevel import Abort, RaiseCancelT

from fleetd.errors import StoreError

LINGER_MOST = 0.02  # seconds: a commit that hung says nothing about the next one
MAX_JOINED = 4096
T = TypeVar("T")
Aloft: TypeAlias = "Callable[[], Exception | None]"  # what may wait for the disk
Steps: TypeAlias = "Generator[Aloft, Exception | None, list[Any]]"


class Waiter:
    """One write, and the task that sleeps until its commit is on the disk.

    A commit that comes to nothing may end before its task went to sleep: then the
    answer lies here for it.
    """

    __slots__ = ("answer", "expires", "task", "write")

    def __init__(self, write: Any, expires: float = float("inf")) -> None:
        self.write = write
        self.expires = expires
        self.task: trio.lowlevel.Task | None = None
        self.answer: outcome.Outcome[Any] | None = None


class Writer:
    """Joins the writes of many tasks into one transaction and one sync.

    `commit(writes)` runs the statements, yields what waits for the disk, as its sync,
    hears how that went, and returns one result a write. What it yields runs in a thread
    of its own, and but for big statements nothing else does: two threads at the
    interpreter's lock cost three times what the second core gave (measured). While one
    commit syncs, the next one gathers: half of those who write at a time, so that disk
    and loop both stay busy, or all of them where the disk is the slower of the two; a
    lone writer never waits. `fold()` gives the work that is due between two commits,
    when everybody has been answered: it runs where the syncs do.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Any]], Steps],
        fold: Callable[[], Callable[[], None] | None] = lambda: None,
        *,
        threads: bool,
    ) -> None:
        self._commit = commit
        self._fold = fold
        self._threads = threads
        self._pending: list[Waiter] = []
        self._flying: list[Waiter] = []
        self._steps: Steps | None = None  # of the commit that is under way
        self._aloft = False  # the log's thread is at work
        self._answer: outcome.Outcome[Exception | None] | None = None  # it came back
        self._enough = 1  # writes that begin the next commit
        self._lingers_until = 0.0
        self._worked_s = 0.0  # by the loop, up to the last commit
        self._sleeper: trio.lowlevel.Task | None = None
        self._bell = threading.Semaphore(0)
        self._state = "open"
        self.last_commit_s = 0.0
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
        waiter = Waiter(write, expires)
        self._line_up(waiter)
        if waiter.answer is not None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return waiter.answer.unwrap()
        waiter.task = trio.lowlevel.current_task()

        def abort(_: RaiseCancelT) -> Abort:
            waiter.task = None
            return Abort.SUCCEEDED

        return await trio.lowlevel.wait_task_rescheduled(abort)

    def post(self, write: Any) -> None:
        """Put a write into the next commit, and wait for nothing."""
        if not self._threads:
            self._commit_now(write)
        elif self._state == "open":
            self._line_up(Waiter(write))

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

    def _line_up(self, waiter: Waiter) -> None:
        """Take a place; whoever makes it enough begins the commit, here and now.

        The scheduler comes to the writer's own task only when all others had their
        turn: by then everybody would be in one commit, and the loop idle while it syncs.
        """
        self._pending.append(waiter)
        if self._busy or len(self._pending) < self._enough:
            self._wake_up()
            return
        try:
            self._start()
        except BaseException:
            self._state = "broken"
            self._wake_up()
            raise

    @property
    def _busy(self) -> bool:
        return self._steps is not None or self._aloft

    async def _run(self) -> None:
        while True:
            if self._state == "broken":
                raise StoreError("a write failed in a way that nobody foresaw")
            if self._answer is not None:
                self._land()
            elif not self._busy and self._is_due():
                self._start()
            elif not self._busy and not self._pending and self._state != "open":
                return
            else:
                await self._park()

    def _is_due(self) -> bool:
        if not self._pending:
            return False
        enough = len(self._pending) >= self._enough or self._state != "open"
        return enough or time.monotonic() >= self._lingers_until

    async def _park(self) -> None:
        """Sleep until something changed, or the time to wait for more is over."""
        lingers = self._pending and not self._busy
        left = self._lingers_until - time.monotonic() if lingers else float("inf")
        with trio.move_on_after(max(0.0, left)):
            self._sleeper = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._stirred)

    def _stirred(self, _: RaiseCancelT) -> Abort:
        self._sleeper = None
        return Abort.SUCCEEDED

    def _start(self) -> None:
        """Begin a commit of what is in line."""
        self._flying = self._pending[:MAX_JOINED]
        del self._pending[:MAX_JOINED]
        self.busy_since = time.monotonic()
        self._steps = self._commit([waiter.write for waiter in self._flying])
        self._step(None)

    def _step(self, fault: Exception | None) -> None:
        assert self._steps is not None
        try:
            work = self._steps.send(fault)
        except StopIteration as end:
            self._finish(end.value)
        else:
            self._send_aloft(work)

    def _finish(self, results: list[Any]) -> None:
        assert self.busy_since is not None
        now = time.monotonic()
        self.last_commit_s = now - self.busy_since
        self._steps = self.busy_since = None
        self.commit_times(self.last_commit_s)
        self._settle(results)
        worked_s = time.thread_time() - self._worked_s  # on as many as were committed
        self._worked_s += worked_s
        at_once = len(self._flying) + len(self._pending)
        slow = self.last_commit_s * len(self._flying) > worked_s * at_once
        self._enough = at_once if slow else max(1, at_once // 2)
        self._lingers_until = now + min(self.last_commit_s, LINGER_MOST)
        if fold := self._fold():
            self._send_aloft(fold)

    def _send_aloft(self, work: Callable[[], Exception | None]) -> None:
        """Let the log's own thread do what waits for the disk."""
        self._aloft, self._work = True, work
        self._bell.release()

    def _land(self) -> None:
        """Go on with what came back from the log's thread."""
        assert self._answer is not None
        answer, self._answer, self._aloft = self._answer, None, False
        fault = answer.unwrap()
        if self._steps is not None:
            self._step(fault)

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
                work = steps.send(fault)
            except StopIteration as end:
                result = end.value[0]
                break
            fault = work()
        if fold := self._fold():
            fold()
        return result

    def _syncer(self) -> None:
        while True:
            self._bell.acquire()
            if self._state == "closed":
                return
            answer = outcome.capture(self._work)
            with suppress(OSError):  # no memory to ring with: what wakes the loop next
                self._token.run_sync_soon(self._came_back, answer)  # finds it in line

    def _came_back(self, answer: outcome.Outcome[Exception | None]) -> None:
        self._answer = answer
        self._wake_up()

    def _wake_up(self) -> None:
        if self._sleeper is not None:
            task, self._sleeper = self._sleeper, None
            trio.lowlevel.reschedule(task)

    def _settle(self, results: Sequence[Any]) -> None:
        for waiter, result in zip(self._flying, results, strict=True):
            failed = isinstance(result, Exception)
            _wake(waiter, outcome.Error(result) if failed else outcome.Value(result))


def _wake(waiter: Waiter, result: outcome.Outcome[Any]) -> None:
    if waiter.task is None:
        waiter.answer = result
        return
    task, waiter.task = waiter.task, None
    trio.lowlevel.reschedule(task, result)
