"""Geotab's exceptions: what a rule found, from when to when, and what is taken back.

The same one comes again while it lasts (https://developers.geotab.com/myGeotab/guides/
dataFeed); one that is computed anew gets another id, and the old one becomes invalid.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal

from fleetd.event import AnyEvent, Engine, Safety
from fleetd.providers.geotab.people import (
    SECRETS,
    lasting,
    moment_of,
    mph,
    person,
    refers,
    required,
    span,
    vehicle_of,
    version,
)
from fleetd.providers.reading import Wire, inner, loads, number, snake, when_ms, words

Severity = Literal["low", "medium", "high", "severe"]
RULES = {
    "RulePostedSpeedingId": "speeding",
    "RuleSpeedingId": "speeding",
    "RuleGpsSpeedingWindowId": "speeding",
    "RuleHarshBrakingId": "harsh_brake",
    "RuleHarshGpsBrakingId": "harsh_brake",
    "RuleHarshCorneringId": "harsh_corner",
    "RuleHarshGpsCorneringId": "harsh_corner",
    "RuleJackrabbitStartsId": "harsh_acceleration",
    "RuleHarshAccelerationId": "harsh_acceleration",
    "RuleHarshGpsAccelerationId": "harsh_acceleration",
    "RuleSeatbeltId": "seatbelt",
    "RuleAccidentId": "crash",
    "RuleEnhancedMajorCollisionId": "crash",
    "RuleEnhancedMinorCollisionId": "crash",
    "RuleFollowingDistanceId": "following_distance",
}
SEVERITIES: Mapping[str, Severity] = {
    "RuleEnhancedMajorCollisionId": "severe",
    "RuleEnhancedMinorCollisionId": "medium",
}
SAID = (
    ("speed", "speeding"),
    ("brak", "harsh_brake"),
    ("corner", "harsh_corner"),
    ("accelerat", "harsh_acceleration"),
    ("jackrabbit", "harsh_acceleration"),
    ("seatbelt", "seatbelt"),
    ("seat belt", "seatbelt"),
    ("collision", "crash"),
    ("accident", "crash"),
    ("rollover", "rollover"),
    ("panic", "panic"),
    ("tailgat", "following_distance"),
)
IDLING = "RuleIdlingId"
STOCK = re.compile(r"Rule(\w+)Id")


def exception(rules: Mapping[str, str], body: bytes) -> Iterator[AnyEvent]:
    """An `ExceptionEvent`; `rules` are names for rules that an id does not explain."""
    told = loads(body, SECRETS)
    vehicle = vehicle_of(told)
    at = moment_of(told, "activeFrom", vehicle)
    rule = refers(told, "rule") or ""
    name = words(inner(told, "rule"), "name") or rules.get(rule)
    shared = {
        "id": required(told, "id", vehicle),
        "at": at,
        "revision": revision(told),
        "vehicle": vehicle,
        **person(told),
    }
    if rule == IDLING:
        yield idling(told, shared)
    else:
        yield broken(told, shared, rule, name)


def revision(told: Wire) -> int | None:
    """Its version, else when it was last changed."""
    found = version(told)
    return when_ms(told, "lastModifiedDateTime") if found is None else found


def withdrawn(told: Wire) -> bool:
    """Whether Geotab took it back: `ExceptionEventStateInvalidId` and the like."""
    state = refers(told, "state") or words(told, "state") or ""
    return "invalid" in state.lower() or "dropped" in state.lower()


def idling(told: Wire, shared: dict[str, Any]) -> Engine:
    """The engine ran and nothing moved."""
    gone, over = withdrawn(told), lasting(told, "activeTo") is not None
    return Engine(
        **shared,
        type="withdrawn" if gone else "idle",
        duration_s=lasted(told, shared["at"]),
        resolved=gone or over,
    )


def broken(told: Wire, shared: dict[str, Any], rule: str, name: str | None) -> Safety:
    """A rule that somebody broke; what is taken back stays, resolved."""
    gone, details = withdrawn(told), inner(told, "details")
    ended = lasting(told, "activeTo")
    return Safety(
        **shared,
        type=kind_of(rule, name),
        severity=SEVERITIES.get(rule),
        started_at=shared["at"],
        ended_at=ended,
        speed_mph=mph(number(details, "maxSpeed")),
        limit_mph=mph(number(details, "speedLimit")),
        state="withdrawn" if gone else "ended" if ended else "ongoing",
        resolved=True if gone else None,
        text=name or rule or None,
    )


def lasted(told: Wire, at: datetime) -> float | None:
    """Seconds, once it is over."""
    ended = lasting(told, "activeTo")
    if ended is None:
        return None
    found = span(told.get("duration"))
    return (ended - at).total_seconds() if found is None else found


@lru_cache(maxsize=1024)
def kind_of(rule: str, name: str | None) -> str:
    """What a rule is about: a stock rule by its id, another by its name."""
    known = RULES.get(rule)
    if known is not None:
        return known
    lower = (name or "").lower()
    for part, kind in SAID:
        if part in lower:
            return kind
    stock = STOCK.fullmatch(rule)
    return snake(name or (stock[1] if stock else "")) or "rule"
