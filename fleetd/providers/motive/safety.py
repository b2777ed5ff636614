"""Motive's safety events: driving behaviour and speeding."""

from __future__ import annotations

from typing import Any, Literal

from fleetd.event import MPH_PER_KPH, Safety
from fleetd.providers.motive.people import HAPPENED, who
from fleetd.providers.reading import (
    Wire,
    inner,
    link,
    moment,
    number,
    snake,
    when_ms,
    words,
)

Severity = Literal["low", "medium", "high", "severe"]
SEVERITIES: dict[str, Severity] = {
    "low": "low", "minor": "low", "medium": "medium", "moderate": "medium",
    "high": "high", "major": "high", "critical": "severe", "severe": "severe",
}  # fmt: skip
BEHAVIOURS = {
    "hard_brake": "harsh_brake", "hard_braking": "harsh_brake",
    "harsh_braking": "harsh_brake",
    "hard_accel": "harsh_acceleration", "hard_acceleration": "harsh_acceleration",
    "harsh_accel": "harsh_acceleration",
    "hard_corner": "harsh_corner", "hard_cornering": "harsh_corner",
    "harsh_turn": "harsh_corner",
    "collision": "crash", "accident": "crash", "near_crash": "near_collision",
    "near_miss": "near_collision", "forward_collision_warning": "forward_collision",
    "tailgating": "following_distance", "close_following": "following_distance",
    "seat_belt_violation": "seatbelt", "seat_belt": "seatbelt",
    "no_seat_belt": "seatbelt",
    "cell_phone": "phone", "cell_phone_usage": "phone", "phone_usage": "phone",
    "distracted": "distraction", "distracted_driving": "distraction",
    "inattentive_driving": "distraction",
    "drowsy": "drowsiness", "drowsy_driving": "drowsiness",
    "stop_sign_violation": "stop_sign", "red_light_violation": "red_light",
    "unsafe_lane_change": "lane_change", "sos_button": "sos", "panic_button": "panic",
}  # fmt: skip


def performance(told: Wire, named: str) -> Safety:
    """A safety event; speeds are km/h whatever the account's units."""
    said = snake(words(told, "type") or "").removeprefix("aggregated_")
    said = said.removesuffix("_event")
    clips = inner(inner(told, "camera_media"), "downloadable_videos")
    return Safety(
        **happening(told, named),
        type=BEHAVIOURS.get(said, said) or None,
        speed_mph=mph(told, "start_speed"),
        latitude=number(told, "lat"),
        longitude=number(told, "lon"),
        place_name=words(told, "location"),
        url=link(clips, "front_facing_plain_url", "front_facing_enhanced_url"),
    )


def speeding(told: Wire, named: str) -> Safety:
    """A stretch over the limit; created and updated carry one id. Speeds are km/h."""
    return Safety(
        **happening(told, named),
        type="speeding",
        speed_mph=mph(told, "max_vehicle_speed", "avg_vehicle_speed"),
        limit_mph=mph(
            told, "max_posted_speed_limit_in_kph", "min_posted_speed_limit_in_kph"
        ),
        place_name=words(told, "nominatim_location", "location"),
        latitude=number(told, "lat", "start_lat"),
        longitude=number(told, "lon", "start_lon"),
    )


def happening(told: Wire, named: str) -> dict[str, Any]:
    """What the two safety records share."""
    grade = words(inner(told, "metadata"), "severity") or words(told, "severity")
    return {
        "id": words(told, "id") or named,
        "at": moment(told, *HAPPENED),
        "revision": when_ms(told, "updated_at"),
        "severity": SEVERITIES.get(snake(grade or "")),
        "started_at": moment(told, "start_time"),
        "ended_at": moment(told, "end_time"),
        "state": words(told, "coaching_status"),
        **who(told, "current_driver", "driver"),
    }


def mph(told: Wire, *names: str) -> float | None:
    """A speed in km/h as miles an hour."""
    found = number(told, *names)
    return None if found is None else found * MPH_PER_KPH
