"""What a notification says: readable for each kind, and never more than words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetd import event as events
from fleetd.event import CLASSES, DIRECTORY_KINDS
from fleetd.sinks.wording import Templates, clean, digest, message
from fleetd.sinks.wording.events import url_of
from tests.sinks.things import DAY, alarm, entry

ZONE = UTC
SAMPLES = {
    "position": ({"location_description": "I-35 near Waco"}, "I-35 near Waco"),
    "trip": ({"ended_at": DAY, "distance_miles": 12.34}, "12.3 miles"),
    "engine": ({"type": "idle"}, "Engine idle · TX-104"),
    "geofence": ({"type": "entry", "place_name": "Depot"}, "Entered Depot · TX-104"),
    "safety": ({"type": "harsh_brake", "severity": "high"}, "Harsh brake · TX-104"),
    "fault": ({"type": "on", "code": "P0420"}, "Fault P0420 · TX-104"),
    "duty": ({"type": "violation", "rule": "driving_time"}, "violation: Driving time"),
    "inspection": ({"status": "unsafe", "defects": ("brake", "tyre")}, "brake, tyre"),
    "vehicle": ({"make": "Volvo", "removed": True}, "Vehicle record removed"),
}


def told(event: events.AnyEvent, **templates: str) -> str:
    made = Templates.read(templates, Path())
    return message([entry(1, event)], ZONE, made).plain


@pytest.mark.parametrize("kind", CLASSES, ids=lambda one: one.kind)
def test_each_kind_has_a_message_of_its_own_that_says_what_whose_and_when(kind):
    own, expected = SAMPLES.get(kind.kind, ({}, ""))
    ours = {"vehicle": "v1", "number": "TX-104", "driver_name": "Ana", "vin": "V" * 17}
    text = told(kind(id="1", at=DAY, **ours, **own))

    assert expected in text
    assert "TX-104" in text
    assert "21 Nov 2026, 12:00:00 UTC" in text
    assert kind.kind in DIRECTORY_KINDS or "Ana" in text
    assert "_" not in text
    assert "None" not in text


def test_a_time_is_told_as_it_is_where_people_are():
    text = message([entry(1, alarm(1))], ZoneInfo("America/Chicago"), {}).plain

    assert "21 Nov 2026, 06:00:00 CST" in text


@pytest.mark.parametrize(
    ("zone", "time"),
    [("Asia/Kolkata", "23:59:59 UTC"), ("America/Chicago", "17:59:59 CST")],
)
def test_a_time_at_the_edge_of_the_calendar_is_told_as_far_as_there_are_days(
    zone, time
):
    edge = datetime.max.replace(tzinfo=UTC)
    last = entry(2, events.Safety(id="2", at=edge, type="crash", vehicle="v1"))
    alone = message([last], ZoneInfo(zone), {}).plain
    both = message([entry(1, alarm(1)), last], ZoneInfo(zone), {}).plain

    assert f"31 Dec 9999, {time}" in alone
    assert f"to 31 Dec, {time[:5]}" in both


def test_what_is_resolved_says_so():
    alert = events.Alert(id="1", type="cold_chain", resolved=True, vehicle="v1")
    fault = events.Fault(id="1", type="off", code="P0420", vehicle="v1")

    assert told(alert).startswith("Resolved: Cold chain · v1")
    assert told(fault).startswith("Fault P0420 cleared · v1")


@given(st.text(max_size=2000))
def test_whatever_a_vendor_sends_is_one_short_line_without_anything_that_acts(text):
    import unicodedata

    found = clean(text)

    assert len(found) <= 300
    assert "\n" not in found
    assert all(unicodedata.category(one)[0] != "C" for one in found)


def test_a_name_with_a_newline_forges_no_line_of_its_own():
    text = told(events.Alert(id="1", type="x", text="a\nSeverity: none\r\nWhen: never"))

    assert len(text.splitlines()) == 3
    assert "\nSeverity" not in text


def test_only_a_plain_https_address_becomes_a_link():
    def url(text: str) -> str:
        return url_of(events.Alert(id="1", url=text))

    assert url("https://cloud.example.com/o/1?x=2&y=%20") != ""
    for bad in ("javascript:alert(1)", "http://x.example", "https://a.example/<!channel>",
                "https://a.example/ b", "https://a.example/" + "x" * 2000, "https://a|b"):  # fmt: skip
        assert url(bad) == ""


# templates


def test_a_template_says_it_in_the_operators_words():
    text = told(alarm(7), safety="{what}: {vehicle} ({severity}) {{x}} {text}")

    assert text == "Crash: v1 () {x} in lines é"


def test_the_default_template_is_for_all_kinds_that_have_none():
    assert told(alarm(7), default="* {kind} *") == "* safety *"
    assert "Crash" in told(alarm(7), fault="{code}")


@pytest.mark.parametrize(
    "bad",
    [
        "{vehicle.__class__}",
        "{vehicle[0]}",
        "{vehicle!r}",
        "{vehicle:>1000000000}",
        "{0}",
        "{}",
        "{nobody}",
        "{what",
        "}",
        "",
        "x" * 3000,
    ],
)
def test_a_template_can_only_name_what_there_is(bad):
    with pytest.raises(ValueError, match=r".+"):
        Templates.read({"safety": bad}, Path())


def test_what_stands_in_data_is_never_read_as_a_template():
    event = events.Alert(id="1", type="t", text="{what.__class__} {vehicle} %s")

    assert told(event, alert="{text}") == "{what.__class__} {vehicle} %s"


# several


def brake(number: int, vehicle: str, kind: str = "harsh_brake") -> events.Safety:
    at = datetime(2026, 11, 21, 14, tzinfo=UTC) + timedelta(minutes=number % 50)
    return events.Safety(
        id=f"b{number}", at=at, type=kind, number=vehicle, vehicle=vehicle
    )


def test_the_same_of_one_vehicle_is_one_message_with_a_count():
    many = [entry(n, brake(n, "TX-104")) for n in range(3, 6)]
    text = message(many, ZONE, {}).plain

    assert text.startswith(
        "Harsh brake, 3 times · TX-104\nWhen: 21 Nov, 14:03 to 14:05"
    )


def test_a_few_are_told_by_kind_and_vehicle():
    many = [entry(n, brake(n, f"TX-{n % 2}")) for n in range(5)]
    many.append(entry(9, events.Fault(id="f", type="on", code="P0420", vehicle="TX-1")))
    said = message(many, ZONE, {})

    assert said.title == "6 events: 5 harsh brake, 1 fault P0420"
    assert [row.name for row in said.rows] == [
        "Harsh brake · TX-0",
        "Harsh brake · TX-1",
        "Fault P0420 · TX-1",
    ]
    assert said.rows[0].text == "3 times, 21 Nov, 14:00 to 14:04"


def test_a_storm_is_summed_up_by_kind_however_many_there_are():
    many = [entry(n, brake(n, f"TX-{n % 40}")) for n in range(1000)]
    many += [entry(n, brake(n, "TX-7", f"kind {n}")) for n in range(1000, 1100)]
    said = message(many, ZONE, {})

    assert said.rows[0].name == "Harsh brake"
    assert said.rows[0].text.startswith("1 000, of 40 vehicles; most: ")
    assert len(said.rows) <= 13
    assert len(said.plain) < 3000
    assert said.rows[-1].name == "89 other kinds"


def test_a_digest_is_told_as_it_is():
    assert digest("1 204 events while offline").plain == "1 204 events while offline"
