"""What Samsara is asked again and again, how much it allows, and how far back it tells.

Paths, parameters and limits: https://developers.samsara.com/docs/rate-limits and the
models of https://github.com/samsarahq/samsara-python. Nothing is asked for by tag: not
every call can be told one, and a vehicle without any is to be kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from fleetd.providers.contract import (
    Feed,
    Limits,
    Normalize,
    Past,
)
from fleetd.providers.samsara import listed, positions, stats
from fleetd.providers.samsara.cutting import Series, cut_whole
from fleetd.providers.samsara.pages import (
    DAY,
    KEPT,
    MINUTE,
    Listing,
    Stats,
    Stream,
    Sweep,
    Windows,
    still_going,
)

HOUR = timedelta(hours=1)
QUARTER = timedelta(hours=6)  # a walk is one page after the other: pieces go beside it
LIMITS = Limits(
    per_second=150.0,
    tiers={
        "vehicles": 25.0,
        "assignments": 5.0,
        "trips": 5.0,
        "safety": 5.0,
        "duty": 5.0,
        "violations": 5.0,
        "inspections": 5.0,
        "idling": 5.0,
        "incidents": 10.0,
        "webhooks": 5.0,
        "writes": 100 / 60,
    },
)
NORMALIZERS: Mapping[str, Normalize] = {
    "vehicles": listed.vehicle,
    "drivers": listed.driver,
    "places": listed.place,
    "positions": positions.position,
    "engine": stats.engine,
    "faults": stats.faults,
    "assignments": listed.assignment,
    "trips": listed.trip,
    "safety": listed.safety,
    "duty": listed.duty,
    "violations": listed.violation,
    "inspections": listed.inspection,
    "idling": listed.idling,
    "incidents": listed.alert,
}
DECORATIONS = "engineStates,obdOdometerMeters"  # two at most
GPS = Stats("gps", positions.split, DECORATIONS)
STATES = Stats("engineStates", stats.split_engine)
CODES = Stats("faultCodes", stats.split_faults)
VIOLATIONS = Series("violations", "violations", rare=("driver", "vehicle"))


def listing(name: str, kind: str, scope: str, pages: Listing | Sweep) -> Feed:
    """A directory, read whole once an hour."""
    ask, unpack = pages.ask, pages.unpack
    return Feed(
        name, 3600.0, ask, unpack, kinds=(kind,), listing=kind, begins=None, scope=scope
    )


def changing(name: str, kind: str, every: float, call: Stats) -> Feed:
    """A vehicle stat as it changes, and its history."""
    history = call.history()
    past = Past(
        history.ask,
        history.unpack,
        within=KEPT,
        call="GET /fleet/vehicles/stats/history",
        chunk=QUARTER,
    )
    return Feed(
        name,
        every,
        call.ask,
        call.unpack,
        kinds=(kind,),
        past=past,
        scope="Read Vehicle Statistics",
    )


def streamed(
    name: str, kinds: tuple[str, ...], scope: str, live: Stream, past: Windows
) -> Feed:
    """A stream of changes; its past is asked in windows."""
    return Feed(
        name,
        30.0,
        live.ask,
        live.unpack,
        kinds=kinds,
        begins=10 * MINUTE,
        past=Past(past.ask, past.unpack, within=KEPT, call=f"GET {past.path}"),
        scope=scope,
    )


def windowed(
    name: str, kind: str, scope: str, every: float, lookback: timedelta, call: Windows
) -> Feed:
    """What can only be asked for by windows, with a look behind for what comes late."""
    return Feed(
        name,
        every,
        call.ask,
        call.unpack,
        kinds=(kind,),
        lookback=lookback,
        begins=HOUR,
        past=Past(call.ask, call.unpack, within=KEPT, call=f"GET {call.path}"),
        scope=scope,
    )


def trips() -> Feed:
    """By `updatedAtTime`, so that an open trip comes again; the past by its start."""
    path, cut = "/trips/stream", cut_whole("trips")
    fixed = (("completionStatus", "all"), ("includeAsset", "true"))
    live = Stream(
        path, cut, 10 * MINUTE, (*fixed, ("queryBy", "updatedAtTime")), "trips"
    )
    past = Windows(
        path, cut, 30 * DAY, fixed=(*fixed, ("queryBy", "tripStartTime")), tier="trips"
    )
    return streamed("trips", ("trip",), "Read Trips", live, past)


def safety() -> Feed:
    """By `updatedAtTime`; the past by when the events were made."""
    path, cut = "/safety-events/stream", cut_whole("safety")
    fixed = (("includeAsset", "true"), ("includeDriver", "true"))
    field = "queryByTimeField"
    live = Stream(path, cut, 10 * MINUTE, (*fixed, (field, "updatedAtTime")), "safety")
    past = Windows(
        path, cut, 30 * DAY, fixed=(*fixed, (field, "createdAtTime")), tier="safety",
    )  # fmt: skip
    scope = "Read Safety Events & Scores"
    return streamed("safety", ("safety",), scope, live, past)


def inspections() -> Feed:
    """By `updatedAtTime`, which is the only way this stream can be asked."""
    path, cut, fixed = "/dvirs/stream", cut_whole("inspections"), (("limit", "200"),)
    live = Stream(path, cut, 10 * MINUTE, fixed, "inspections")
    past = Windows(path, cut, 30 * DAY, fixed=fixed, tier="inspections")
    return streamed("inspections", ("inspection",), "Read DVIRs", live, past)


def incidents(configurations: tuple[str, ...], kinds: tuple[str, ...]) -> Feed:
    """What alerts told, also while we were away: only of the alerts that are named."""
    path, cut = "/alerts/incidents/stream", cut_whole("incidents")
    fixed = (("configurationIds", ",".join(configurations)),)
    live = Stream(path, cut, 10 * MINUTE, fixed, "incidents")
    past = Windows(path, cut, 30 * DAY, fixed=fixed, tier="incidents")
    return streamed("incidents", kinds, "Read Alerts", live, past)


FEEDS = (
    listing(
        "vehicles", "vehicle", "Read Vehicles",
        Listing("/fleet/vehicles", cut_whole("vehicles"), "vehicles", "512"),
    ),
    listing(
        "drivers", "driver", "Read Drivers",
        Sweep(
            "/fleet/drivers", cut_whole("drivers"), "driverActivationStatus",
            ("active", "deactivated"), "512",
        ),
    ),
    listing(
        "places", "place", "Read Addresses",
        Listing("/addresses", cut_whole("places"), "", "512"),
    ),
    changing("positions", "position", 6.0, GPS),
    changing("engine", "engine", 30.0, STATES),
    changing("faults", "fault", 30.0, CODES),
    windowed(
        "assignments", "duty", "Read Assignments", 60.0, HOUR,
        Windows(
            "/fleet/driver-vehicle-assignments", cut_whole("assignments"), 7 * DAY,
            fixed=(("filterBy", "vehicles"),), tier="assignments",
            last=still_going,
        ),
    ),
    trips(),
    safety(),
    windowed(
        "duty", "duty", "Read ELD Hours of Service (US)", 300.0, DAY,
        Windows(
            "/fleet/hos/logs", Series("duty", "hosLogs", "driver"), 7 * DAY,
            tier="duty",
        ),
    ),
    windowed(
        "violations", "duty", "Read ELD Hours of Service (US)", 120.0, DAY,
        Windows(
            "/fleet/hos/violations", VIOLATIONS, 7 * DAY, tier="violations",
        ),
    ),
    inspections(),
    windowed(
        "idling", "engine", "Read Fuel & Energy", 300.0, DAY,
        Windows(
            "/idling/events", cut_whole("idling"), 30 * DAY,
            fixed=(("limit", "200"),), tier="idling",
        ),
    ),
)  # fmt: skip
