"""Geotab (MyGeotab): polled alone, by versions that never skip; it pushes nothing.

A service user of one database logs in; the server that answers may be another one.
Limits: https://developers.geotab.com/myGeotab/guides/rateLimits
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any, ClassVar

import msgspec
from msgspec import Struct

from fleetd.errors import ConfigError
from fleetd.providers.contract import Limits, Probe, Provider
from fleetd.providers.geotab import directory, positions, records, safety
from fleetd.providers.geotab.feeds import Span, listing, on, read, states
from fleetd.providers.geotab.people import SECRETS
from fleetd.providers.geotab.rpc import AUTHENTICATE, Account, call, judge, session_of

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WEEK = 7 * DAY
A_MINUTE = 60.0
LONGEST = 200


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of `[sources.x]` that only Geotab has; `token` is the user's password."""

    docs: ClassVar[dict[str, str]] = {
        "database": "the name of the company's database",
        "user": "the service user; its password is `token`",
        "rules": "names for rules of your own, by id: what their exceptions are told as",
    }
    database: str
    user: str
    rules: dict[str, str] = {}


FEEDS = (
    listing("vehicles", "Device", "vehicle", scope="View vehicles and assets"),
    listing("drivers", "User", "driver", scope="View users and drivers"),
    listing("places", "Zone", "place", scope="View zones"),
    on(
        "positions", 10.0, Span("LogRecord", DAY, edged=True), "position",
        begins=timedelta(minutes=5), scope="View vehicle location data",
    ),
    states(
        "status", 60.0, "DeviceStatusInfo", "position",
        scope="View vehicle location data",
    ),
    on(
        "engine", 20.0, Span("StatusData", timedelta(hours=6), edged=True), "engine",
        begins=HOUR, scope="View engine status",
    ),
    on(
        "assignments", 30.0, Span("DriverChange", WEEK), "duty",
        begins=WEEK, scope="View driver changes",
    ),
    on(
        "trips", 30.0, Span("Trip", DAY), "trip",
        begins=DAY, scope="View trips",
    ),
    on(
        "safety", 30.0, Span("ExceptionEvent", DAY), "safety", "engine",
        begins=HOUR, scope="View exceptions",
    ),
    on(
        "faults", 60.0, Span("FaultData", DAY), "fault",
        begins=DAY, scope="View engine faults",
    ),
    on(
        "duty", 60.0, Span("DutyStatusLog", WEEK), "duty",
        begins=DAY, scope="View HOS logs",
    ),
    on(
        "inspections", 300.0, Span("DVIRLog", WEEK), "inspection",
        begins=DAY, scope="View DVIR logs",
    ),
)  # fmt: skip
FED = (
    "LogRecord", "DeviceStatusInfo", "StatusData", "DriverChange", "Trip",
    "ExceptionEvent", "FaultData", "DutyStatusLog", "DVIRLog",
)  # fmt: skip
GOT = ("Device", "User", "Zone", *FED)
TIERS = (
    {f"GetFeed {kind}": 60 / A_MINUTE for kind in FED}
    | {f"Get {kind}": 100 / A_MINUTE for kind in GOT}  # the least that any method has
    | {
        "Get DeviceStatusInfo": 900 / A_MINUTE,
        "Get ExceptionEvent": 2000 / A_MINUTE,
        "GetCountOf": 100 / A_MINUTE,
        AUTHENTICATE: 10 / A_MINUTE,
    }
)


class Count(Struct, frozen=True):
    result: int


_count = msgspec.json.Decoder(Count).decode


def configured(settings: Settings | None) -> Provider:
    """Geotab as one source's own keys shape it: whose database, which rules."""
    if settings is not None:
        _judge(settings)
    whose = Account(
        settings.database.strip() if settings else "",
        settings.user.strip() if settings else "",
    )
    return Provider(
        name="geotab",
        title="Geotab",
        base_url="https://my.geotab.com",
        patience=190.0,  # a feed is cut off after 180 s of the server's time
        normalize={
            "vehicles": directory.vehicle,
            "drivers": directory.driver,
            "places": directory.place,
            "positions": positions.position,
            "status": positions.status,
            "engine": records.engine,
            "assignments": records.assignment,
            "trips": records.trip,
            "safety": partial(safety.exception, settings.rules if settings else {}),
            "faults": records.fault,
            "duty": records.duty,
            "inspections": records.inspection,
        },
        feeds=FEEDS,
        session=session_of(whose),
        judge=judge,
        limits=Limits(per_second=20.0, tiers=TIERS),
        whoami=Probe(call("GetCountOf", typeName="Device"), partial(whoami, whose)),
        secret_fields=SECRETS,
        settings=Settings,
        configured=configured,
    )


def _judge(settings: Settings) -> None:
    for key in ("database", "user"):
        said: Any = getattr(settings, key)
        if not said.strip() or len(said) > LONGEST:
            raise ConfigError(f"{key}: is empty or absurdly long")


def whoami(whose: Account, body: bytes) -> tuple[str, ...]:
    """The database and the user: they were let in, or there were no count."""
    read(body, _count)
    return whose.database, whose.user


PROVIDER = configured(None)
