"""The one thread that writes the log, and the one group commit every write goes through."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import outcome
import trio
from trio.lowlevel import Abort, RaiseCancelT

from fleetd.errors import StoreError

LINGER = 0.15  # of the last commit's time; measured best under 64 clients
MAX_JOINED = 4096
Commit = Callable[[Sequence[Any]], tuple[list[Any], Callable[[], None]]]


class Waiter:
    """One write, and the task that sleeps until its commit is on the disk."""

    __slots__ = ("expires", "task", "write")

    def __init__(self, write: Any, task: trio.lowlevel.Task, expires: float) -> None:
        self.write = write
        self.task: trio.lowlevel.Task | None = task
        self.expires = expires


class Writer:
    """Joins the writes of many tasks into one transaction and one sync.

    `commit(writes)` does the transaction: it answers one result a write (a value or an
    exception) and what to publish afterwards, in the loop's thread. While one commit
    syncs the next one gathers. Without threads every write commits where it stands.
    """

    def __init__(self, commit: Commit, *, threads: bool) -> None:
        self._commit = commit
        self._threads = threads
        self._lock = threading.Lock()
        self._pending: list[Waiter] = []
        self._flying: list[Waiter] = []
        self._bell = threading.Semaphore(0)
        self._asleep = False
        self._stopping = False
        self._token: trio.lowlevel.TrioToken | None = None
        self._thread: threading.Thread | None = None
        self.last_commit_s = 0.0
        self.commits = 0
        self.commit_times: Callable[[float], None] = lambda _seconds: None
        self.busy_since: float | None = None

    def start(self) -> None:
        """Begin to write; call it inside trio."""
        if not self._threads:
            return
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    async def join(self, write: Any, *, within: float | None = None) -> Any:
        """Put a write into the next commit and sleep until it is on the disk.

        Raises `TimeoutError` once `within` seconds passed: the write itself stays in
        line, and may still be kept. A cancelled caller leaves its write in line too.
        """
        if not self._threads:
            await trio.lowlevel.checkpoint_if_cancelled()
            results, publish = self._commit([write])
            publish()
            await trio.lowlevel.cancel_shielded_checkpoint()
            return _unwrap(results[0])
        expires = time.monotonic() + within if within is not None else float("inf")
        waiter = Waiter(write, trio.lowlevel.current_task(), expires)
        with self._lock:
            if self._stopping:
                raise StoreError("the log is closed")
            self._pending.append(waiter)
            asleep, self._asleep = self._asleep, False
        if asleep:
            self._bell.release()

        def abort(_: RaiseCancelT) -> Abort:
            waiter.task = None
            return Abort.SUCCEEDED

        return await trio.lowlevel.wait_task_rescheduled(abort)

    def expire(self) -> None:
        """Wake those that waited longer than they may; one look serves them all."""
        now = time.monotonic()
        with self._lock:
            waiting = [*self._flying, *self._pending]
        for waiter in waiting:
            if waiter.task is not None and waiter.expires <= now:
                _wake(waiter, outcome.Error(TimeoutError()))

    def stop(self) -> None:
        """Write what is in line, then end the thread."""
        with self._lock:
            self._stopping = True
        if self._thread is not None:
            self._bell.release()
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while waiters := self._gather():
            self._settle(waiters, *self._timed([one.write for one in waiters]))

    def _timed(self, writes: list[Any]) -> tuple[list[Any], Callable[[], None]]:
        """Commit; what no file foresaw ends the thread, and nobody is left waiting."""
        began = self.busy_since = time.monotonic()
        done = False
        try:
            answer = self._commit(writes)
            done = True
        finally:
            if not done:
                self._break()
        self.last_commit_s = time.monotonic() - began
        self.busy_since = None
        self.commits += 1
        self.commit_times(self.last_commit_s)
        return answer

    def _break(self) -> None:
        with self._lock:
            self._stopping = True
            waiters = [*self._flying, *self._pending]
            self._pending = []
        broken = StoreError("the log's writer failed; nothing more is accepted")
        self._settle(waiters, [broken] * len(waiters), _nothing)

    def _settle(
        self, waiters: list[Waiter], results: list[Any], publish: Callable[[], None]
    ) -> None:
        assert self._token is not None
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._deliver, waiters, results, publish)

    def _gather(self) -> list[Waiter]:
        """The writes of the next commit; empty when it is time to end."""
        while True:
            with self._lock:
                if not self._pending:
                    self._flying = []
                    if self._stopping:
                        return []
                    self._asleep = True
            if self._asleep:
                self._bell.acquire()
                continue
            if len(self._flying) > 1 and not self._stopping:
                time.sleep(self.last_commit_s * LINGER)
            with self._lock:
                self._flying = self._pending[:MAX_JOINED]
                del self._pending[:MAX_JOINED]
                if self._flying:
                    return self._flying

    def _deliver(
        self, waiters: list[Waiter], results: list[Any], publish: Callable[[], None]
    ) -> None:
        publish()
        for waiter, result in zip(waiters, results, strict=True):
            if waiter.task is not None:
                failed = isinstance(result, BaseException)
                _wake(waiter, outcome.Error(result) if failed else outcome.Value(result))


def _wake(waiter: Waiter, result: outcome.Outcome[Any]) -> None:
    task, waiter.task = waiter.task, None
    assert task is not None
    trio.lowlevel.reschedule(task, result)


def _unwrap(result: Any) -> Any:
    if isinstance(result, BaseException):
        raise result
    return result


def _nothing() -> None:
    pass
