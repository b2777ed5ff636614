"""Entries and worlds for the tests of sinks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from fleetd.event import AnyEvent, Entry, Position, Safety, lane_of, millis
from fleetd.sinks.contract import Batch
from fleetd.tasks.deliver.keys import key_of
from fleetd.world import World, inline

DAY = datetime(2026, 11, 21, 12, tzinfo=UTC)


def position(seq: int, vehicle: str = "v1") -> Position:
    return Position(id=f"p{seq}", at=DAY, vehicle=vehicle, latitude=1.0, longitude=2.0)


def alarm(seq: int) -> Safety:
    return Safety(id=f"s{seq}", at=DAY, vehicle="v1", type="crash", text="in\nlines é")


def entry(
    seq: int, event: AnyEvent | None = None, after: timedelta = timedelta()
) -> Entry:
    event = event or position(seq)
    received = millis(DAY + after)
    return Entry(seq, "north", "samsara", event, 0, received, "push", lane_of(event))


def entries(*seqs: int) -> list[Entry]:
    return [entry(seq) for seq in seqs]


def batch(given: list[Entry], generation: int = 0) -> Batch:
    return Batch(given, key_of("ops", generation, given), generation)


def world(answer: Callable[[httpx.Request], Any] | None = None) -> World:
    return World(
        now=lambda: DAY,
        transport=httpx.MockTransport(answer) if answer else None,
        in_thread=inline,
        threads=False,
    )
