"""A log in use by one process: from the lease of its folder to the last page folded in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import apsw
import trio

from fleetd.errors import StoreError
from fleetd.event import millis
from fleetd.store.files import (
    NO_BALLAST,
    Reservation,
    Space,
    asides,
    lease,
    surely,
)
from fleetd.store.moves import Rules
from fleetd.store.opening import UNREADABLE, open_log
from fleetd.store.store import Store
from fleetd.world import World


@asynccontextmanager
async def open_store(
    folder: Path, world: World, rules: Rules | None = None
) -> AsyncIterator[Store]:
    """The log of a data folder, for this process alone.

    Raises `LockedError` where another daemon has it, `ConfigError` where the folder
    cannot be used or the log is from a newer fleetd, `StoreError` where the disk fails.
    """
    rules = rules or Rules()
    with lease(folder):
        try:
            store = _opened(folder, world, rules)
        except (apsw.Error, OSError) as bad:
            raise StoreError(f"{folder}: the log cannot be opened: {bad}") from bad
        try:
            async with trio.open_nursery() as nursery:
                if world.threads:
                    nursery.start_soon(store.writer.run)
                try:
                    yield store
                finally:
                    store.writer.close()
        finally:
            store.close()


def _opened(folder: Path, world: World, rules: Rules) -> Store:
    space = Space(folder, rules.max_disk)
    try:
        store = surely(lambda: _loaded(folder, space, rules, world), *UNREADABLE)
    except UNREADABLE as bad:
        store = _loaded(folder, space, rules, world, f"{type(bad).__name__}: {bad}")
    store.aside = asides(folder)
    if not space.fill_ballast():
        store.log.full = NO_BALLAST
    return store


def _loaded(
    folder: Path, space: Space, rules: Rules, world: World, damage: str = ""
) -> Store:
    """The log with what is read of it at start; no connection is left where it fails."""
    with ExitStack() as undo:
        now_ms = millis(world.now())
        db = open_log(folder, Reservation(folder), space, now_ms, damage)
        undo.callback(db.close)
        store = Store(folder, db, rules, world)
        undo.callback(store.close)
        store.load()
        undo.pop_all()
    return store
