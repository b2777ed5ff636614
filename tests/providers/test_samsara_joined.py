"""Samsara's records pushed and polled, through the log: one event, and what is news."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from fleetd.event import Entry, Origin, Record
from fleetd.providers.samsara import PROVIDER
from fleetd.tasks.intake import Arrival, take_in
from tests.polling import Far, Source, polled

UNSAFE = {
    "id": "77",
    "type": "preTrip",
    "safetyStatus": "unsafe",
    "authorSignature": {
        "signatoryUser": {"id": "2", "name": "Ana"},
        "signedAtTime": "2026-05-12T10:00:00Z",
        "type": "driver",
    },
}
PUSHED = UNSAFE | {
    "startTime": "2026-05-12T09:55:00.120Z",
    "endTime": "2026-05-12T10:00:00.480Z",
    "defects": [{"id": "9", "defectType": "Tires", "comment": "flat"}],
}
POLLED = UNSAFE | {
    "dvirSubmissionTime": "2026-05-12T10:00:00Z",
    "updatedAtTime": "2026-05-12T10:00:02Z",
    "vehicle": {"id": "1"},
    "defectIds": ["9"],
}
UNIT = {
    "id": "1",
    "name": "A",
    "tags": [{"id": "5", "name": "west"}],
    "updatedAtTime": "2026-05-12T10:00:00Z",
}
OTHER = UNIT | {"name": "B", "tags": [{"id": "6", "name": "east"}]}


def push(kind: str, at: str = "2026-05-12T10:00:05.123Z", **data: Any) -> Any:
    told = {"eventId": f"{kind}@{at}", "eventTime": at, "eventType": kind, "data": data}
    return "webhook", told, "push"


def submitted(report: Any = PUSHED, **more: Any) -> Any:
    whose = {"vehicle": {"id": "1", "name": "A"}, "driver": {"id": "2", "name": "Ana"}}
    return push("DvirSubmitted", **whose, dvir=report, **more)


def poll(feed: str, record: Any) -> Any:
    return feed, record, "poll"


async def taken(source: Source, kind: str, *told: Any) -> list[Entry]:
    """What of this the log holds, each told alone and on the disk before the next."""
    for feed, body, origin in told:
        store = source.store
        arrival = Arrival(
            "north", PROVIDER, store.next_received_ms(), as_origin(origin)
        )
        record = Record(feed, json.dumps(body).encode())
        await store.append(take_in(arrival, [record], store.directory))
        await trio.sleep(1)
    return source.entries(kind)


def as_origin(name: str) -> Origin:
    return "push" if name == "push" else "poll"


# the directory


async def test_a_listed_vehicle_that_changed_is_news_though_its_update_time_stood(
    tmp_path, autojump_clock
):
    listings = [poll("vehicles", one) for one in (UNIT, UNIT, OTHER, OTHER, UNIT)]
    async with polled(tmp_path, Far()) as source:
        entries = await taken(source, "vehicle", *listings)

    assert [one.event.number for one in entries] == ["A", "B", "A"]
    revisions = [one.revision for one in entries]
    assert revisions == sorted(set(revisions))


@pytest.mark.parametrize(
    ("feed", "kind", "key"),
    [("drivers", "driver", "driver"), ("places", "place", "address")],
)
async def test_so_is_a_driver_or_a_place(feed, kind, key, tmp_path, autojump_clock):
    records = [UNIT, OTHER, OTHER]
    async with polled(tmp_path, Far()) as source:
        entries = await taken(source, kind, *(poll(feed, one) for one in records))

    assert len(entries) == 2


@pytest.mark.parametrize("pushed_first", [True, False])
async def test_a_vehicle_pushed_and_listed_is_one_and_told_late_again_none(
    pushed_first, tmp_path, autojump_clock
):
    told = [push("VehicleUpdated", vehicle=UNIT), poll("vehicles", UNIT)]
    told = told if pushed_first else told[::-1]
    later = push("VehicleUpdated", "2026-05-12T11:00:00Z", vehicle=OTHER)
    async with polled(tmp_path, Far()) as source:
        first = await taken(source, "vehicle", *told)
        both = await taken(source, "vehicle", later, poll("vehicles", OTHER), later)

    assert len(first) == 1
    assert [one.event.number for one in both] == ["A", "B"]


# inspections


async def test_an_inspection_pushed_and_then_polled_is_one_event(
    tmp_path, autojump_clock
):
    async with polled(tmp_path, Far()) as source:
        entries = await taken(
            source, "inspection", submitted(), poll("inspections", POLLED), submitted()
        )

    (entry,) = entries
    assert entry.event.defects == ("Tires: flat",)  # type: ignore[union-attr]


async def test_an_inspection_polled_first_is_amended_with_the_words_of_its_push(
    tmp_path, autojump_clock
):
    told = [poll("inspections", POLLED), submitted(), poll("inspections", POLLED)]
    async with polled(tmp_path, Far()) as source:
        first, amended = await taken(source, "inspection", *told)

    assert (first.event.id, first.revision + 1) == (amended.event.id, amended.revision)
    assert first.event.text is None  # type: ignore[union-attr]
    assert amended.event.text == "Tires: flat"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "change",
    [
        {"safetyStatus": "resolved"},
        {"safetyStatus": "resolved", "updatedAtTime": "2026-05-12T10:00:40Z"},
        {"updatedAtTime": "2026-05-12T10:01:00Z"},
        {"updatedAtTime": "2026-05-14T08:00:00Z", "defectIds": ["9", "10"]},
        {"secondSignature": {"signedAtTime": "2026-05-12T10:00:30Z"}},
    ],
)
async def test_an_inspection_resolved_signed_or_edited_later_is_a_later_revision(
    change, tmp_path, autojump_clock
):
    changed = poll("inspections", POLLED | change)
    told = [submitted(), poll("inspections", POLLED), changed, changed]
    async with polled(tmp_path, Far()) as source:
        first, later = await taken(source, "inspection", *told)

    assert first.event.id == later.event.id
    assert first.revision < later.revision
