"""Pausing, resuming, skipping and forgetting: where sources and sinks stand."""

from __future__ import annotations

from functools import partial
from shutil import rmtree
from typing import TYPE_CHECKING, Any

from fleetd import when
from fleetd.errors import UsageError
from fleetd.event import LANES, millis, stamp
from fleetd.store import files, stats
from fleetd.store.counting import count_waiting
from fleetd.tasks.control.order import Order, known

if TYPE_CHECKING:
    from fleetd.tasks.board import Board

LOG = "log"  # what `resume` calls a log that was set aside
SEEN = "taken note of; what was set aside stays where it is"


async def pause(board: Board, order: Order) -> dict[str, Any]:
    """Stop a source's polling or a sink until it is resumed, over restarts."""
    return await _switch(board, order, paused=True)


async def resume(board: Board, order: Order) -> dict[str, Any]:
    """Go on; for `log`, take note that an operator saw that one was set aside."""
    if order.text("name") == LOG and board.store.aside:
        return await _acknowledge(board)
    return await _switch(board, order, paused=False)


async def _switch(board: Board, order: Order, *, paused: bool) -> dict[str, Any]:
    house = board.house
    name = known(order.text("name"), {*house.sources, *house.sinks}, "source or sink")
    was = board.store.paused(name)
    if was != paused:
        await board.store.pause(name, paused=paused)
    if not paused:
        board.store.nudge(name)  # a sink that was refused tries at once
    return {
        "name": name,
        "source": name in house.sources,
        "sink": name in house.sinks,
        "receives": name in house.sources and house.sources[name].receives,
        "paused": paused,
        "changed": was != paused,
    }


async def _acknowledge(board: Board) -> dict[str, Any]:
    store = board.store
    await store.world.in_thread(lambda: files.acknowledge(store.folder))
    store.aside = ""
    return {
        "name": LOG, "source": False, "sink": False, "receives": False,
        "paused": False, "changed": True, "told": SEEN,
    }  # fmt: skip


async def skip(board: Board, order: Order) -> dict[str, Any]:
    """Move a sink past everything that arrived before a time; counted `skipped`."""
    sink = known(order.text("sink"), board.house.sinks, "sink")
    zone = board.house.daemon.timezone.info
    until = when.resolve(order.text("until"), board.world.now(), zone)
    upto, count = await _skipped(board, sink, millis(until))
    said = {"sink": sink, "until": stamp(until), "upto": upto,
            "spelled": when.spell((None, until), zone)}  # fmt: skip
    if order.flag("dry_run"):
        return {**said, "skipped": count}
    done = await board.store.skip(sink, upto, "by_hand") if upto else 0
    return {**said, "skipped": done}


async def _skipped(board: Board, sink: str, until_ms: int) -> tuple[int, int]:
    """The last seq before that time, and how many wait for the sink up to it."""
    store = board.store
    taking, names = store.log.takings[sink], dict(store.log.names)
    after = {lane: store.cursor(sink, lane) for lane in range(len(LANES))}

    def count(reader: Any) -> tuple[int, int]:
        upto = stats.seq_at(reader.db, until_ms) - 1
        return upto, sum(
            count_waiting(reader.db, seq, upto, lane, taking, names)
            for lane, seq in after.items()
        )

    found: tuple[int, int] = await store.reading(count)
    return found


async def forget(board: Board, order: Order) -> dict[str, Any]:
    """Drop the place of a source or sink that is gone from the file, and what it noted."""
    name, house = order.text("name"), board.house
    if name in house.sources or name in house.sinks:
        raise UsageError(
            f"{name} is in {house.path}: take it out first, then reload fleetd"
        )
    scopes = await board.store.reading(lambda reader: list(stats.scopes(reader.db)))
    sides = [one.side for one in scopes if one.name == name]
    there = {*house.sources, *house.sinks}
    known(name, {one.name for one in scopes} - there, "source or sink that is gone")
    gone: dict[str, int] = await board.store.forget(name)
    place = board.store.folder / "sinks" / name  # what the sink noted for itself
    if "sink" in sides:
        await board.world.in_thread(partial(rmtree, place, ignore_errors=True))
    left = str(place) if "sink" in sides and place.exists() else ""
    return {"name": name, "sides": sides, "left": left, **gone}
