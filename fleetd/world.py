"""Wall clock, chance, network, threads: all that a test replaces."""

from __future__ import annotations

import ctypes
import os
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import trio

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
TIMESYNC = Path("/run/systemd/timesync/synchronized")
UNSYNCED = 0x40  # STA_UNSYNC of adjtimex(2)
ALONE_S = 60.0
ASKED_S = 660.0  # beyond it nobody asks: the longest wait between two tries is 300 s


def wall_clock() -> datetime:
    """The box's clock, aware, UTC."""
    return datetime.now(UTC)


def steady_clock() -> float:
    """Seconds that only count up, through suspension too, whatever the time is."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class _Timex(ctypes.Structure):
    """The head of `struct timex`, and room for the rest of it."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def ntp_synchronised() -> bool:
    """Whether the kernel, or systemd-timesyncd, says that NTP keeps this clock."""
    state = _Timex()
    try:
        code = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(state))
    except (OSError, AttributeError):
        code = -1
    if code < 0:  # forbidden in many containers
        return TIMESYNC.exists()
    return not state.status & UNSYNCED


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
        steady: Callable[[], float] = steady_clock,
        synchronised: Callable[[], bool] = ntp_synchronised,
        chance: random.Random | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        in_thread: Callable[[Callable[[], Any]], Awaitable[Any]] = in_thread,
        environ: Mapping[str, str] = os.environ,
        threads: bool = True,
    ) -> None:
        self.now = now
        self.steady = steady
        self.synchronised = synchronised
        self.on_date: Callable[[str], None] | None = None  # hears `Date` over HTTPS
        self.trusted: Callable[[], bool] = lambda: True  # may a time be judged by `now`
        self.chance = chance or random.Random()  # noqa: S311  jitter, no secret
        self.in_thread = in_thread
        self.environ = environ
        self.threads = threads  # False: the log's writer works inline
        self._transport = transport
        self._asked: float | None = None  # when somebody outside was last asked
        self._alone_since: float | None = None  # asked, and nobody has answered since

    def client(self, **options: Any) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        """An HTTP client of the caller's own; redirects are answers, cookies nobody's.

        Unless its options say another way it goes as the environment and the system say.
        """
        import httpx  # 80 ms that a command which asks nobody need not wait

        from fleetd.reach import no_cookies, usual_way

        if self._transport is not None:
            options = {**options, "transport": self._transport, "proxy": None}
        elif not options.keys() & {"transport", "proxy", "verify"}:
            options = {**usual_way(self.environ), **options}
        hooks = {"request": [self._asks], "response": [self._answered]}
        options = {"event_hooks": hooks, "cookies": no_cookies(), **options}
        return httpx.AsyncClient(follow_redirects=False, **options)

    @property
    def offline(self) -> bool:
        """Whether others are asked, and for a minute nobody has answered at all."""
        if self._alone_since is None or self._asked is None:
            return False
        now = self.steady()
        return now - self._alone_since >= ALONE_S and now - self._asked <= ASKED_S

    async def _asks(self, request: httpx.Request) -> None:
        del request
        self._asked = self.steady()
        if self._alone_since is None:
            self._alone_since = self._asked

    async def _answered(self, response: httpx.Response) -> None:
        self._alone_since = None
        if self.on_date is not None and response.url.scheme == "https":
            self.on_date(response.headers.get("date", ""))
