"""LocoNav's three vocabularies of alerts as one, and what each alert is in ours.

Pushes write `OverrevAlert`, `GET /alerts` writes `VehicleIdleAlert`, subscriptions
write `over_rev` and `entry_exit`. One alert by two roads is one event only if its kind
is spelled once, since LocoNav's ids are unique only within a kind.
"""

from __future__ import annotations

from functools import lru_cache

from fleetd.providers.reading import snake

TWINS = {  # what pushes and subscriptions call it: what GET /alerts calls it
    "idling": "vehicle_idle",
    "fatigue": "driver_fatigue",
    "over_rev": "overrev",
    "entry_exit": "geofence",
}
LASTING = frozenset(  # pushed with a begin and an end
    {
        "device_offline", "device_removal", "driver_fatigue", "dtc", "geofence",
        "ignition", "overrev", "overspeed", "vehicle_idle",
        "vehicle_low_battery_voltage",
    }
)  # fmt: skip
POINTS = frozenset(
    {
        "sudden_braking", "sudden_acceleration", "anti_theft", "crash",
        "crash_during_overspeed", "sharp_turn", "refueling", "possible_fuel_theft",
    }
)  # fmt: skip
SAFETY = {
    "sudden_braking": "harsh_brake",
    "opal_harsh_braking": "harsh_brake",
    "sudden_acceleration": "harsh_acceleration",
    "opal_harsh_acceleration": "harsh_acceleration",
    "sharp_turn": "harsh_corner",
    "crash": "crash",
    "crash_during_overspeed": "crash",
    "jack_knife": "jack_knife",
    "overspeed": "speeding",
    "opal_overspeed": "speeding",
    "opal_exoverspeed": "speeding",
    "overspeed_within_geofence": "speeding",
    "speed_limit": "speeding",
    "speed_sign_violation": "speeding",
    "stop_sign_violation": "stop_sign",
    "driver_fatigue": "fatigue",
    "driver_distracted": "distraction",
    "driver_mobile_use": "phone",
    "opal_seat_belt": "seatbelt",
    "opal_night_driving": "night_driving",
    "forward_collision_warning": "forward_collision",
    "tailgating": "following_distance",
    "lane_drift": "lane_departure",
    "overrev": "over_revving",
    "sos": "sos",
    "opal_sos": "sos",
    "fall": "fall",
}
FUEL = {
    "refueling": "sudden_rise",
    "possible_fuel_theft": "sudden_drop",
    "fuel_level": "level",
}
DEVICE = frozenset(
    {
        "adas_camera_obstructed", "device_low_battery", "device_mount_error",
        "device_offline", "device_removal", "device_unplugged", "disassemble",
        "dms_camera_obstructed", "low_battery_alarm", "opal_tampering", "power_cut",
        "power_disconnected", "power_off", "power_on", "shutdown",
    }
)  # fmt: skip
MAINTENANCE = frozenset(
    {
        "engine_coolant_temperature", "engine_load_value", "engine_oil_temperature",
        "ev_critical_low_battery", "ev_low_battery", "low_battery_voltage",
        "motor_stuck", "vehicle_low_battery_voltage",
    }
)  # fmt: skip
ROUTE = frozenset({"route_deviation", "trip_delay"})
ALERTS = frozenset(  # of no kind of ours, and still no news
    {
        "anti_theft", "back_cap_lock", "distance_covered", "distance_travelled", "door",
        "elock", "ev_battery_charging", "illegal_rfid_card_swiped", "lock_rope_cut",
        "long_time_unlocking", "movement", "opal_invalid_rfid_tap", "rfid_tap",
        "stoppage", "stoppage_in_geofence", "temperature_sensor", "tow_away",
        "unwanted_movement", "wagon_detachment", "wrong_password",
    }
)  # fmt: skip


def name_of(kind: str) -> str:
    """One name for a kind of alert, however it is spelled; empty where it has none."""
    return _name(kind.strip()[:100])


@lru_cache(maxsize=1024)
def _name(said: str) -> str:
    slug = snake(said).removesuffix("_alert") if said.lower() != "alert" else ""
    return TWINS.get(slug, slug)
