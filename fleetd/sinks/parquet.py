"""Parquet files in a folder, a part for each UTC day: for BigQuery, DuckDB and polars.

A repeat changes nothing: a row is keyed by (`source`, `id`) and is there once; only a
copy with a newer (`revision`, `seq`) takes its place. What arrives late goes into its own
day. Files come into place by a rename, on the disk by then, and only after it the cursor
moves. A process of its own writes them, and ends when there is nothing to do; if it ends
before its time, the same batch goes to the next one.
"""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from struct import Struct as Layout
from typing import ClassVar, Final, Literal

import msgspec
import trio
from msgspec import Struct

from fleetd.config.units import Seconds
from fleetd.errors import HeldError, RejectedError, TransientError
from fleetd.event import Entry, millis
from fleetd.masking import MASK
from fleetd.sinks.contract import Batch, Receipt, Sink, Write
from fleetd.sinks.folders import check_folder, verdict
from fleetd.world import World

EXTRA: Final = "pip install 'fleetd[parquet]'"
PROGRAM: Final = "fleetd.tables.encoder"
DAY_S: Final = 86_400
PIPE: Final = 1 << 20  # bytes under way to it
IDLE_S: Final = 10.0  # after which a process is not asked again: it may be about to end
WITHIN_S: Final = 25.0  # for one batch; the engine gives it 30
HEAD: Final = Layout("<II")
LENGTH: Final = Layout("<I")
MOST_ANSWER: Final = 16 << 20
KEPT: Final = 400  # of what a process wrote before it ended


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """`[sinks.NAME]` with `kind = "parquet"`."""

    docs: ClassVar[dict[str, str]] = {
        "path": "a folder; in it a table for each kind that the sink takes",
        "layout": "files by UTC day (`positions/date=2026-11-21/`), or one file a table,"
        " written anew with each batch",
        "keep": "how many days to keep; none given: all. What arrives for an older one"
        " is left out, and counted `skipped: too_old`",
    }
    path: Path
    layout: Literal["days", "file"] = "days"
    keep: Seconds | None = None

    def __post_init__(self) -> None:
        if not is_installed():
            raise ValueError(f"kind: parquet needs an extra: {EXTRA}")
        if self.keep is not None and self.layout == "file":
            raise ValueError('keep: only days can go, and layout = "file" has none')
        if self.keep is not None and (self.keep < DAY_S or self.keep % DAY_S):
            raise ValueError('keep: takes whole days, at least "1d"')


def is_installed() -> bool:
    """Whether the library is there; it is never loaded into this process."""
    try:
        return all(find_spec(f"arro3.{one}") is not None for one in ("core", "io"))
    except (ImportError, ValueError):
        return False


class Answer(Struct, frozen=True):
    """What the process says of a batch."""

    rejected: dict[int, str] = {}
    skipped: dict[int, str] = {}
    code: int = 0
    where: str = ""
    damaged: str = ""
    fault: str = ""


_answer = msgspec.json.Decoder(Answer).decode


class LostError(Exception):
    """The process ended, or was ended, before it answered."""


class Encoder:
    """The process that writes, while it lives."""

    def __init__(self, program: Sequence[str]) -> None:
        self._noise = os.memfd_create("fleetd-parquet")
        self._child = subprocess.Popen(  # noqa: S603  our own module
            program,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._noise,
            bufsize=0,
        )

        assert self._child.stdin is not None
        with suppress(OSError):  # as much as an ordinary user may have
            fcntl.fcntl(self._child.stdin.fileno(), fcntl.F_SETPIPE_SZ, PIPE)

    def ask(self, parts: Sequence[bytes], steady: Callable[[], float]) -> bytes:
        """Send a batch and read the answer; raises `LostError` or `TimeoutError`."""
        end = steady() + WITHIN_S
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        source, sink = self._child.stdout.fileno(), self._child.stdin.fileno()
        os.set_blocking(sink, False)
        try:
            for part in parts:
                self._send(sink, part, end, steady)
            (length,) = LENGTH.unpack(self._read(source, LENGTH.size, end, steady))
            if length > MOST_ANSWER:
                raise LostError("its answer makes no sense")
            return self._read(source, length, end, steady)
        except BrokenPipeError as bad:
            raise LostError(self.last_words()) from bad

    def _send(
        self, sink: int, part: bytes, end: float, steady: Callable[[], float]
    ) -> None:
        left = memoryview(part)
        while left:
            wait_for(sink, select.POLLOUT, end - steady())
            with suppress(BlockingIOError):
                left = left[os.write(sink, left) :]

    def _read(
        self, source: int, size: int, end: float, steady: Callable[[], float]
    ) -> bytes:
        body = b""
        while len(body) < size:
            wait_for(source, select.POLLIN, end - steady())
            more = os.read(source, size - len(body))
            if not more:
                raise LostError(self.last_words())
            body += more
        return body

    def last_words(self) -> str:
        """How it ended, and the end of what it wrote about that."""
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(1.0)
        size = os.fstat(self._noise).st_size
        text = os.pread(self._noise, KEPT, max(0, size - KEPT)).decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        code = self._child.returncode
        how = f"by signal {-code}" if code and code < 0 else f"with status {code}"
        return f"ended {how}" + (f": {lines[-1]}" if lines else "")

    def is_alive(self) -> bool:
        return self._child.poll() is None

    def end(self) -> None:
        """End it at once: what it wrote is whole, or not there."""
        self._child.kill()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(1.0)  # one that hangs in the kernel is left to it
        for one in (self._child.stdin, self._child.stdout):
            if one is not None:
                with suppress(OSError):
                    one.close()
        os.close(self._noise)


def wait_for(fd: int, what: int, seconds: float) -> None:
    """Until a pipe is ready, or `TimeoutError`; any number of files may be open."""
    poll = select.poll()
    poll.register(fd, what)
    if not poll.poll(max(0.0, seconds) * 1000):
        raise TimeoutError


_pack = msgspec.msgpack.Encoder().encode


class Lake:
    """The configured folder, written to by one process at a time."""

    def __init__(
        self, config: Config, world: World, program: Sequence[str] = ()
    ) -> None:
        self._config, self._world = config, world
        self._program = program or (sys.executable, "-m", PROGRAM)
        self._alone = trio.Lock()
        self._encoder: Encoder | None = None
        self._used = 0.0

    async def write(self, batch: Batch) -> Receipt:
        """Have a batch in its files, on the disk when this returns."""
        async with self._alone:
            answer = await self._world.in_thread(partial(self._put, batch))
        judge(answer, self._config.path)
        if answer.rejected:
            raise RejectedError(answer.rejected, proven=True, skipped=answer.skipped)
        return Receipt(skipped=answer.skipped)

    def _put(self, batch: Batch) -> Answer:
        body = _pack([row_of(entry) for entry in batch.entries])
        order = self._order(batch)
        encoder = self._ready()
        try:
            told = encoder.ask(
                (HEAD.pack(len(order), len(body)), order, body), self._now
            )
            answer = _answer(told)
        except TimeoutError as bad:
            self.close()
            why = f"Parquet: not done within {WITHIN_S:g} s"
            raise TransientError(why, counts=False, slow=True) from bad
        except (LostError, msgspec.DecodeError, OSError) as bad:
            self.close()
            why = f"Parquet: the process that writes it {bad}"
            raise TransientError(MASK.mask(why)) from bad
        self._used = self._now()
        return answer

    def _order(self, batch: Batch) -> bytes:
        config, trusted = self._config, self._world.trusted()
        return msgspec.json.encode(
            {
                "folder": str(config.path),
                "days": config.layout == "days",
                "keep_days": int(config.keep or 0) // DAY_S if trusted else 0,
                "now_ms": millis(self._world.now()),
                "tidy": batch.generation == 0,
            }
        )

    def _ready(self) -> Encoder:
        """The process of the last batch, unless it may be about to end by itself."""
        old = self._encoder
        if old and (self._now() - self._used > IDLE_S or not old.is_alive()):
            self.close()
        if self._encoder is None:
            try:
                self._encoder = Encoder(self._program)
            except OSError as bad:
                why = f"Parquet: no process to write it: {os.strerror(bad.errno or 0)}"
                raise TransientError(why, counts=False) from bad
        return self._encoder

    def _now(self) -> float:
        return self._world.steady()

    def close(self) -> None:
        if self._encoder is not None:
            self._encoder.end()
        self._encoder = None


def row_of(entry: Entry) -> tuple[object, ...]:
    """An entry as the process reads it."""
    return (
        entry.seq, entry.source, entry.provider, entry.event, entry.revision,
        entry.received_ms,
    )  # fmt: skip


def judge(answer: Answer, folder: Path) -> None:
    """Raise the verdict where the process could not write."""
    if answer.damaged:
        why = f"{answer.damaged}; move it away, and replay its day"
        raise HeldError(why)
    if answer.fault:
        raise TransientError(f"Parquet: {MASK.mask(answer.fault)}")
    if answer.code:
        raise verdict(answer.code, answer.where, folder)


async def check(config: Config, world: World) -> str:
    """Look whether the folder could be written; nothing is made."""
    return await check_folder(config.path, world)


@asynccontextmanager
async def open_parquet(
    config: Config, world: World, place: str
) -> AsyncIterator[Write]:
    """The process starts with the first batch; `place` is not used."""
    del place
    lake = Lake(config, world)
    try:
        yield lake.write
    finally:
        lake.close()


SINK = Sink(
    config=Config,
    open=open_parquet,
    takes=("position",),
    batch=10_000,
    batch_bytes=0,
    linger=20.0,
    per_second=50.0,
    burst=10,
    check=check,
)
