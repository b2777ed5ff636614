"""What is pushed: positions, alerts, and what SNS says of its own subscription.

The kinds of the Alert Push Service are listed (sheet source D8), its fields are not:
an alert is known by a key that names its type, and read by the words in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from fleetd.errors import PayloadError
from fleetd.event import (
    MPH_PER_KPH,
    Alert,
    AnyEvent,
    Device,
    Duty,
    Engine,
    Geofence,
    Other,
    Safety,
    millis,
)
from fleetd.providers import reading
from fleetd.providers.reading import Wire, inner, moment, number, snake, words
from fleetd.providers.verizon.engines import codes, faults
from fleetd.providers.verizon.positions import fix
from fleetd.providers.verizon.sns import CONFIRM, Envelope, subscribe_url
from fleetd.providers.verizon.wire import (
    WHOSE,
    address,
    hidden,
    person,
    plain,
)

KIND_KEYS = (
    "alerttype", "alerttypename", "alertname", "alert", "eventtype", "notificationtype",
    "policyname", "alertpolicy",
)  # fmt: skip
TEXTS = (
    *KIND_KEYS, "type", "subtype", "alertsubtype", "eventname", "description", "message",
    "state", "status", "displaystate", "direction", "trigger", "details",
)  # fmt: skip
NAMES = ("alertid", "eventid", "alertlogid", "notificationid", "messageid", "id")
TIMES = (
    "alerttimeutc", "eventtimeutc", "alertutc", "eventutc", "alertdateutc",
    "timestamputc", "timeutc", "datetimeutc", "startdateutc", "updateutc",
)  # fmt: skip
VAGUE = ("timestamp", "alerttime", "eventtime", "alertdate", "datetime", "time", "date")
TOLD = (
    "_message", *KIND_KEYS, *WHOSE, *TIMES, *VAGUE, "latitude", "longitude", "address",
    "drivernumber", "drivername", "description", "message", "state", "status",
)  # fmt: skip
MANOEUVRES = (
    ("brak", "harsh_brake"), ("decel", "harsh_brake"),
    ("accel", "harsh_acceleration"),
    ("corner", "harsh_corner"), ("turn", "harsh_corner"), ("swerv", "harsh_corner"),
)  # fmt: skip
SEVERITIES = {
    "low": "low", "minor": "low", "medium": "medium", "moderate": "medium",
    "high": "high", "major": "high", "severe": "severe", "critical": "severe",
}  # fmt: skip
IN = re.compile(r"\b(enter\w*|entry|entrance|arriv\w*|inside|in)\b")
OUT = re.compile(r"\b(exit\w*|left|leav\w*|depart\w*|outside|out)\b")
ON, OFF = re.compile(r"\bon\b"), re.compile(r"\boff\b")
LONGEST = 300
_envelope = msgspec.json.Decoder(Envelope).decode


def pushed(metric: bool, body: bytes) -> Iterator[AnyEvent]:
    """A position, an alert, or something that is neither."""
    told = plain(body)
    if words(told, *KIND_KEYS) is not None:
        yield from alert(metric, told)
    elif "latitude" in told or "longitude" in told or _dated(told):
        yield fix(metric, told)
    else:
        yield Other(
            id=words(told, "_message") or _print(told),
            type=words(told, "type"),
            text=words(told, "_item", "text", "message"),
            detail=reading.rest(told, "_message"),
        )


def _print(told: Wire) -> str:
    """An id made of what it says, whatever the order and the blanks."""
    return reading.print_of(msgspec.json.encode(told, order="deterministic"))


def _dated(told: Wire) -> bool:
    return "updateutc" in told and words(told, *WHOSE) is not None


def alert(metric: bool, told: Wire) -> Iterator[AnyEvent]:
    """An alert of the kind that its words say."""
    said = words(told, *KIND_KEYS) or ""
    every = " ".join(words(told, one) or "" for one in TEXTS)
    spoken = f"{snake(said)} {snake(every)}".replace("_", " ")
    about = _about(told, snake(said))
    first = snake(said).replace("_", " ")
    for fits, make in KINDS:
        if fits.search(first):
            made = list(make(metric, told, spoken, about))
            if made:
                yield from made
                return
    yield _plain(told, snake(said), about)


def _about(told: Wire, kind: str) -> dict[str, Any]:
    """Whose and when; the id is made of both, since an alert's own may be its rule's."""
    whose = words(told, *WHOSE) or words(inner(told, "vehicle"), "number", "name")
    at = _time_of(told)
    named = words(told, *NAMES)
    driver, name = person(told)
    parts = (kind, whose, named, None if at is None else str(millis(at) // 1000))
    known = ":".join(one for one in parts if one) if at and (whose or named) else None
    return {
        "id": known or words(told, "_message") or _print(told),
        "at": at,
        "vehicle": whose,
        "number": whose,
        "driver": driver,
        "driver_name": name,
    }


def _time_of(told: Wire) -> datetime | None:
    """When it happened; a key that says UTC is believed before one that says nothing."""
    others = tuple(key for key in told if key.endswith("utc"))
    return moment(told, *TIMES, *others, *VAGUE)


def _text(told: Wire) -> str | None:
    found = words(told, "description", "message", "details", "alertname")
    return found and found[:LONGEST]


def _place(told: Wire) -> dict[str, Any]:
    if hidden(told, "isprivate"):
        return {}
    return {
        "latitude": number(told, "latitude", "lat"),
        "longitude": number(told, "longitude", "lon", "lng"),
        "place_name": address(told) or words(told, "geofencename", "placename"),
    }


Made = Iterator[AnyEvent]


def _safety(kind: str, metric: bool, told: Wire, spoken: str, about: Any) -> Made:
    if kind == "harsh_driving":
        kind = next((name for word, name in MANOEUVRES if word in spoken), kind)
    by = MPH_PER_KPH if metric else 1.0
    speed = number(told, "speed", "maxspeed", "vehiclespeed")
    limit = number(told, "speedlimit", "postedspeed", "postedspeedlimit", "threshold")
    yield Safety(
        type=kind,
        severity=SEVERITIES.get((words(told, "severity") or "").lower()),  # type: ignore[arg-type]
        speed_mph=None if speed is None else speed * by,
        limit_mph=None if limit is None else limit * by,
        text=_text(told),
        **_place(told),
        **about,
    )


def _fence(_metric: bool, told: Wire, spoken: str, about: Any) -> Made:
    entered, left = IN.search(spoken), OUT.search(spoken)
    if bool(entered) == bool(left):
        return
    yield Geofence(
        type="entry" if entered else "exit",
        place=words(told, "geofenceid", "placeid"),
        place_name=words(told, "geofencename", "placename", "geofence", "place"),
        text=_text(told),
        **about,
    )


def _ignition(_metric: bool, told: Wire, spoken: str, about: Any) -> Made:
    on = reading.flag(told, "ignitionon", "ignition", "ison")
    if on is None and bool(ON.search(spoken)) != bool(OFF.search(spoken)):
        on = bool(ON.search(spoken))
    if on is not None:
        yield Engine(type="on" if on else "off", text=_text(told), **about)


def _idle(_metric: bool, told: Wire, _spoken: str, about: Any) -> Made:
    minutes = number(told, "idleminutes", "idletime", "durationminutes")
    seconds = None if minutes is None else minutes * 60
    yield Engine(type="idle", duration_s=seconds, text=_text(told), **about)


def _codes(_metric: bool, told: Wire, _spoken: str, about: Any) -> Made:
    keys = ("dtcs", "activedtcs", "dtc", "dtccode", "code", "codes")
    found = next((told[key] for key in keys if told.get(key)), None)
    if about["vehicle"] and about["at"] and any(codes(found)):
        at = about["at"]
        yield from faults(about["vehicle"], found, at, revision=millis(at))


def _duty(_metric: bool, told: Wire, _spoken: str, about: Any) -> Made:
    rule = words(told, "violationtype", "violation", "rule", "ruleset")
    name = rule or _text(told)
    yield Duty(type="violation", rule=rule, name=name, started_at=about["at"], **about)


def _power(_metric: bool, told: Wire, _spoken: str, about: Any) -> Made:
    yield Device(type="power_disruption", text=_text(told), **_place(told), **about)


def _plain(told: Wire, kind: str, about: Any) -> AnyEvent:
    state = words(told, "state", "status")
    detail = reading.rest(told, *TOLD)
    if hidden(told, "isprivate"):
        detail = {}
    return Alert(
        type=kind, text=_text(told), state=state, detail=detail, **_place(told), **about
    )


def _of(kind: str) -> Callable[..., Made]:
    def made(metric: bool, told: Wire, spoken: str, about: Any) -> Made:
        return _safety(kind, metric, told, spoken, about)

    return made


KINDS: tuple[tuple[re.Pattern[str], Callable[..., Made]], ...] = (
    (re.compile(r"panic|\bsos\b"), _of("panic")),
    (re.compile(r"crash|collision|accident"), _of("crash")),
    (re.compile(r"harsh|hard (brak|accel|corner)"), _of("harsh_driving")),
    (re.compile(r"speed"), _of("speeding")),
    (re.compile(r"\btow"), _of("towing")),
    (re.compile(r"geo ?fence|\bplace\b"), _fence),
    (re.compile(r"ignition"), _ignition),
    (re.compile(r"\bidl"), _idle),
    (re.compile(r"\bdtc|diagnostic|trouble"), _codes),
    (re.compile(r"\bhos\b|hours of service"), _duty),
    (re.compile(r"power"), _power),
)


def subscription(confirm: bool, body: bytes) -> Iterator[AnyEvent]:
    """What SNS says of itself, for the operator: a link to open, or that it is over."""
    try:
        said = _envelope(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as bad:
        raise PayloadError(f"no message of SNS: {reading.short(bad)}") from bad
    place = subscribe_url(said)
    asked = said.type == CONFIRM
    yield Alert(
        id=said.message_id.strip() or reading.print_of(body),
        at=reading.as_moment(said.timestamp),
        type="subscription_confirmation" if asked else "subscription_ended",
        text=_told(asked, confirm, trusted=place is not None),
        url=said.subscribe if place else None,
        detail={"topic": said.topic_arn[:LONGEST]},
    )


def _told(asked: bool, confirm: bool, *, trusted: bool) -> str:
    if not trusted:
        return "Reveal's push names a link that is not Amazon's: not to be opened"
    if not asked:
        return "Reveal's push was ended; open the link to have it again"
    if confirm:
        return "Reveal's push begins: fleetd confirms the subscription by itself"
    return (
        "Reveal's push waits for you: open the link once, or set `confirm = true`; "
        "nothing is pushed before"
    )
