"""What is asked of Motive, how often, and how far each past can be asked for.

Scopes as https://developer.gomotive.com/reference/oauth-scopes names them (none for fences).
How long Motive keeps what its lists show is not published: what is promised here is less.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from fleetd.providers.contract import Feed, Past
from fleetd.providers.motive import deliveries, history
from fleetd.providers.motive.feeds import (
    DAY,
    Listing,
    Windowed,
    local_days,
    start_times,
    utc_days,
)
from fleetd.providers.motive.polled import log_events
from fleetd.providers.motive.pushed import split

MINUTE, HOUR = 60.0, 3600.0
PUSHED = (
    "position", "geofence", "fault", "duty", "driver", "vehicle", "inspection",
    "safety", "engine", "device", "document",
)  # fmt: skip
KEPT = timedelta(days=180)  # what hours-of-service records must be kept for


def listing(
    name: str, kind: str, every: float, scope: str, path: str, singular: str
) -> Feed:
    """A directory that is read whole."""
    whole = Listing(name, path, f"{singular}s", singular, evidence=True)
    return Feed(
        name, every, whole.ask, whole.unpack,
        kinds=(kind,), listing=kind, begins=None, scope=scope,
    )  # fmt: skip


def windows(
    every: float, kind: str, scope: str, of: Windowed, *, again: timedelta = DAY
) -> Feed:
    """A list that is read in windows of time, the last `again` of it each time."""
    past = Past(of.ask, of.unpack, within=KEPT, call=f"GET {of.path}")
    return Feed(
        of.feed, every, of.ask, of.unpack,
        kinds=(kind,), lookback=again, begins=of.begins, past=past, scope=scope,
    )  # fmt: skip


def listed(
    feed: str, path: str, singular: str, span: str = "local", **more: object
) -> Windowed:
    """A window list as most are: of company-local days, by start."""
    spans = {"local": local_days, "utc": utc_days, "start": start_times}
    return Windowed(feed, path, f"{singular}s", singular, spans[span], **more)  # type: ignore[arg-type]


LOCATIONS = Listing(
    "locations", "/v3/vehicle_locations", "vehicles", "vehicle", tries=1, units=True
)
FAULTS = Listing(
    "faults", "/v1/fault_codes", "fault_codes", "fault_code",
    times=("first_observed_at", "last_observed_at"),
)  # fmt: skip
LOG = partial(deliveries.unpack, split)

FEEDS = (
    listing(
        "vehicles", "vehicle", 15 * MINUTE, "vehicles.read", "/v1/vehicles", "vehicle"
    ),
    listing("drivers", "driver", HOUR, "users.read", "/v1/users", "user"),
    listing("places", "place", HOUR, "", "/v1/geofences", "geofence"),
    Feed(
        "locations", MINUTE, LOCATIONS.ask, LOCATIONS.unpack,
        kinds=("position",), scope="locations.vehicle_locations_list", snapshot=True,
    ),
    Feed(
        "positions", 15 * MINUTE, history.ask, history.unpack,
        kinds=("position",), parts=True, parallel=10, lookback=DAY,
        begins=timedelta(hours=1),  # a new vehicle is known within a quarter of one
        past=Past(
            history.ask, history.unpack, within=history.OLDEST,
            call="GET /v3/vehicle_locations/{id}", parts=True,
        ),
        scope="locations.vehicle_locations_single",
    ),
    windows(15 * MINUTE, "trip", "driving_periods.read",
            listed("trips", "/v1/driving_periods", "driving_period", "utc")),
    windows(30 * MINUTE, "engine", "utilization.idle_events",
            listed("idling", "/v1/idle_events", "idle_event")),
    windows(15 * MINUTE, "duty", "hos_logs.hos_violation",
            listed("violations", "/v1/hos_violations", "hos_violation", "start")),
    windows(30 * MINUTE, "duty", "hos_logs.logs",
            listed("duty", "/v1/logs", "log", split=log_events)),
    Feed(
        "faults", 30 * MINUTE, FAULTS.ask, FAULTS.unpack,
        kinds=("fault",), begins=None, scope="fault_codes.read",
        past=Past(FAULTS.ask, FAULTS.unpack, within=KEPT, call="GET /v1/fault_codes"),
    ),
    windows(30 * MINUTE, "inspection", "inspection_reports.read",
            listed("inspections", "/v1/inspection_reports", "inspection_report",
                   times=("time", "driver_signed_at", "date")), again=3 * DAY),
    windows(10 * MINUTE, "safety", "driver_performance_events.read",
            listed("safety", "/v2/driver_performance_events",
                   "driver_performance_event"), again=3 * DAY),
    windows(10 * MINUTE, "safety", "speeding_events.read",
            listed("speeding", "/v1/speeding_events", "speeding_event"), again=3 * DAY),
    windows(30 * MINUTE, "geofence", "",
            listed("geofences", "/v1/geofences/events", "geofence_event",
                   times=("start_time", "end_time")), again=3 * DAY),
    windows(HOUR, "fuel", "fuel_purchases.read",
            listed("fuel", "/v1/fuel_purchases", "fuel_purchase",
                   times=("purchased_at",), longest=14 * DAY), again=7 * DAY),
    Feed(
        "deliveries", 10 * MINUTE, deliveries.LOG.ask, LOG, kinds=PUSHED,
        lookback=timedelta(minutes=5), begins=timedelta(hours=1),
        past=Past(
            deliveries.LOG.ask, LOG, within=timedelta(days=7),
            call="GET /v1/company_webhook_requests",
        ),
        scope="company_webhooks.manage",
    ),
)  # fmt: skip
