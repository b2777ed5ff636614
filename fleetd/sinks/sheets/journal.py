"""What stood in a tab before we wrote, kept on our disk until we have looked again.

A daemon that dies between its write and its look may leave values under other people's
rows that were moved meanwhile; with this the next start puts back what they covered.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from fleetd.errors import TransientError
from fleetd.sinks.sheets.grid import number_of
from fleetd.world import World

T = TypeVar("T")
MOST = 64 << 20


class Journal:
    """One value of one tab, or nothing; without a folder it lives as long as we do."""

    def __init__(self, place: str, title: str, world: World) -> None:
        self._path = Path(place, f"{number_of(title)}.journal") if place else None
        self._world = world
        self._kept: Any = None
        self._read = self._path is None

    async def load(self, decode: Callable[[bytes], T]) -> T | None:
        """What was kept and not dropped since; None for nothing that can be read.

        It is read in a thread: `decode` is that of a decoder made at import.
        """
        if not self._read and self._path is not None:
            read = partial(loaded, self._path, decode)
            self._kept = await self._world.in_thread(read)
            self._read = True
        return cast(T | None, self._kept)

    async def keep(self, value: Any) -> None:
        """Have it on the disk before anything else happens."""
        self._kept, self._read = value, True
        if self._path is not None:
            body = msgspec.msgpack.encode(value)
            await self._world.in_thread(partial(saved, self._path, body))

    async def drop(self) -> None:
        """We have looked: all is where it belongs."""
        self._kept, self._read = None, True
        if self._path is not None:
            await self._world.in_thread(partial(dropped, self._path))


def loaded(path: Path, decode: Callable[[bytes], T]) -> T | None:
    """The value in a file; a torn or foreign one is as good as none."""
    try:
        with path.open("rb") as file:
            return decode(file.read(MOST))
    except (OSError, msgspec.MsgspecError, UnicodeError, TypeError):
        return None


def saved(path: Path, body: bytes) -> None:
    """Write it whole, or leave what was there."""
    fresh = path.with_suffix(".fresh")
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        with fresh.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as bad:
        raise refused(path, bad) from bad


def dropped(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as bad:
        raise refused(path, bad) from bad


def refused(path: Path, bad: OSError) -> TransientError:
    why = f"{path.parent}: {os.strerror(bad.errno) if bad.errno else bad}"
    return TransientError(why, counts=False)
