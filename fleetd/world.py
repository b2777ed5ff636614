"""Wall clock, chance, network, threads: all that a test replaces."""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx
import trio

T = TypeVar("T")
InThread = Callable[[Callable[[], T]], Awaitable[T]]


def wall_clock() -> datetime:
    """The box's clock, aware, UTC."""
    return datetime.now(UTC)


async def in_thread(work: Callable[[], T]) -> T:
    """Run blocking work in a worker thread; a cancel waits for it."""
    return await trio.to_thread.run_sync(work)


async def inline(work: Callable[[], T]) -> T:
    """Run blocking work right here: for tests in virtual time."""
    await trio.lowlevel.checkpoint()
    return work()


class World:
    """What surrounds fleetd; the real one unless a test says otherwise."""

    def __init__(
        self,
        *,
        now: Callable[[], datetime] = wall_clock,
        chance: random.Random | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        in_thread: Callable[[Callable[[], Any]], Awaitable[Any]] = in_thread,
        environ: Mapping[str, str] = os.environ,
        threads: bool = True,
    ) -> None:
        self.now = now
        self.chance = chance or random.Random()  # noqa: S311  jitter, no secret
        self.in_thread = in_thread
        self.environ = environ
        self.threads = threads  # False: the log's writer works inline
        self._transport = transport

    def client(self, **options: Any) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        """An HTTP client of the caller's own; redirects are answers, never followed."""
        if self._transport is not None:
            options = {**options, "transport": self._transport, "proxy": None}
        return httpx.AsyncClient(follow_redirects=False, **options)
