"""What each kind of event says: what happened, to whom, and what is known of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta, tzinfo
from typing import Any

from fleetd.event import Entry, Event, moment_of
from fleetd.sinks.wording.words import LONGEST, clean, when, words

HTTPS = re.compile(r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:[/?#][!-;=?-{}~]*)?")
LONGEST_URL = 1000
Fact = tuple[str, str]  # what it is called, and what it is


def is_over(event: Event) -> bool:
    """Whether it says that something has ended, rather than that it is."""
    if event.kind == "fault":
        return getattr(event, "type", None) == "off"
    if event.kind == "inspection":
        return getattr(event, "status", None) == "resolved"
    return getattr(event, "resolved", None) is True


def what(event: Event) -> str:
    """What happened, in a few words."""
    made = WORDS.get(event.kind, _by_type)(event)
    over = event.kind != "fault" and is_over(event)
    return clean(f"Resolved: {made}" if over else made, 80)


def _by_type(event: Event) -> str:
    return words(getattr(event, "type", None) or event.kind)


def _fault(event: Any) -> str:
    code = f" {event.code}" if event.code else ""
    return f"Fault{code} cleared" if event.type == "off" else f"Fault{code}"


def _duty(event: Any) -> str:
    if event.type == "violation":
        rule = event.name or event.rule
        return f"Hours-of-service violation{f': {words(rule)}' if rule else ''}"
    return f"Duty status: {words(event.status or event.type or 'changed').lower()}"


def _geofence(event: Any) -> str:
    place = event.place_name or event.place or "a place"
    verb = {"entry": "Entered", "exit": "Left"}.get(
        event.type, words(event.type or "At")
    )
    return f"{verb} {place}"


def _trip(event: Any) -> str:
    return "Trip ended" if event.ended_at else "Trip under way"


def _engine(event: Any) -> str:
    return f"Engine {words(event.type or 'changed').lower()}"


def _inspection(event: Any) -> str:
    return f"Inspection: {words(event.status or event.type or 'done').lower()}"


def _record(event: Any) -> str:
    gone = "removed" if event.removed else "changed"
    return f"{words(event.kind)} record {gone}"


WORDS: dict[str, Callable[[Any], str]] = {
    "fault": _fault, "duty": _duty, "geofence": _geofence, "trip": _trip,
    "engine": _engine, "inspection": _inspection, "vehicle": _record,
    "driver": _record, "place": _record,
}  # fmt: skip


def who(entry: Entry) -> str:
    """Whom it happened to, as people there call it."""
    event = entry.event
    found = event.number or event.vehicle or event.vin or event.driver_name
    found = found or getattr(event, "asset_name", None) or getattr(event, "name", None)
    return clean(found or event.driver or entry.source, 60)


FACTS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("severity", "Severity", lambda one: words(one).lower()),
    ("speed_mph", "Speed", lambda one: f"{one:.0f} mph"),
    ("limit_mph", "Limit", lambda one: f"{one:.0f} mph"),
    ("status", "Status", lambda one: words(one).lower()),
    ("rule", "Rule", lambda one: words(one).lower()),
    ("state", "State", lambda one: words(one).lower()),
    ("place_name", "Place", str),
    ("location_description", "Place", str),
    ("start_place", "From", str),
    ("end_place", "To", str),
    ("distance_miles", "Distance", lambda one: f"{one:.1f} miles"),
    ("duration_s", "Duration", lambda one: str(timedelta(seconds=round(one)))),
    ("defects", "Defects", ", ".join),
    ("lamps", "Lamps", ", ".join),
    ("make", "Make", str),
    ("model", "Model", str),
    ("plate", "Plate", str),
    ("text", "Says", str),
)


def facts(entry: Entry, zone: tzinfo, *, last: bool = False) -> Iterator[Fact]:
    """What is known of it, in the order people ask; nothing that is not there."""
    event = entry.event
    if not last:
        yield ("When", when(event.at or moment_of(entry.received_ms), zone))
    if event.vehicle and event.number:
        yield ("Vehicle", clean(f"{event.number} ({event.vin or event.vehicle})"))
    elif event.vehicle:
        yield ("Vehicle", clean(event.vehicle))
    if driver := event.driver_name or event.driver:
        yield ("Driver", clean(driver))
    for name, label, form in FACTS:
        value = getattr(event, name, None)
        if value not in (None, "", ()) and (said := clean(form(value))):
            yield (label, said)
    if spot := where(event):
        yield ("Where", spot)


def where(event: Event) -> str:
    lat, lon = getattr(event, "latitude", None), getattr(event, "longitude", None)
    return "" if lat is None or lon is None else f"{lat:.5f}, {lon:.5f}"


def url_of(event: Event) -> str:
    """The vendor's page about it, if that is a plain https address."""
    found = getattr(event, "url", None)
    if not isinstance(found, str) or len(found) > LONGEST_URL:
        return ""
    return found if HTTPS.fullmatch(found) else ""


def _of(name: str) -> Callable[[Entry, tzinfo], Any]:
    return lambda entry, _zone: getattr(entry.event, name, None)


VALUES: dict[str, Callable[[Entry, tzinfo], Any]] = {
    "what": lambda entry, _zone: what(entry.event),
    "who": lambda entry, _zone: who(entry),
    "at": lambda entry, zone: when(
        entry.event.at or moment_of(entry.received_ms), zone
    ),
    "where": lambda entry, _zone: where(entry.event),
    "source": lambda entry, _zone: entry.source,
    "provider": lambda entry, _zone: entry.provider,
    "seq": lambda entry, _zone: entry.seq,
    "place": lambda entry, _zone: getattr(entry.event, "place_name", None)
    or getattr(entry.event, "location_description", None),
    "driver": lambda entry, _zone: entry.event.driver_name or entry.event.driver,
    **{
        name: _of(name)
        for name in (
            "kind", "id", "vehicle", "number", "vin", "type", "severity", "speed_mph",
            "limit_mph", "status", "state", "code", "text",
        )
    },
    "url": lambda entry, _zone: url_of(entry.event),  # a link is made of it: <{url}|see>
}  # fmt: skip


def most(name: str) -> int:
    """How long a value may be: an address that is cut is none."""
    return LONGEST_URL if name == "url" else LONGEST


def values_of(entry: Entry, zone: tzinfo) -> dict[str, str]:
    """What a template may name, each as clean text; empty where it is not known."""
    found = {name: look(entry, zone) for name, look in VALUES.items()}
    return {
        name: ""
        if one is None
        else clean(f"{one:.5g}" if isinstance(one, float) else one, most(name))
        for name, one in found.items()
    }
