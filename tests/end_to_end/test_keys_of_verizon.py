"""Reveal polled and pushed through a real daemon, and what its own keys change."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.end_to_end.amazon import SNS, Amazon
from tests.end_to_end.showing import shows
from tests.harness import Fleetd
from tests.providers.verizon_sns import CONFIRM, PATH, TOKEN, TOPIC, message, signed
from tests.vendors.running import Running
from tests.vendors.verizon import APP, USER

VEHICLES = 5
KEY = "sources.NAME (verizon)."
POLLED = """
[sources.%s]
provider = "verizon"
token = "env:TOKEN"
base_url = "$far"
user = "%s"
app_id = "%s"
feeds = { vehicles = "60s", drivers = "60s", positions = "2s", track = "2s", trips = "60s" }
since = "1d" # nights are without trips
%s
"""
PUSHED = """
[sources.%s]
provider = "verizon"
proxy = "$amazon"
ca = "$ca"
auth = { header = { Authorization = "env:BASIC" } }
%s
"""
EUROPE = """
[sources.europe]
provider = "verizon"
token = "env:TOKEN"
proxy = "$amazon"
user = "x"
app_id = "x"
region = "eu"
[sources.by_password]
provider = "verizon"
webhook_secret = "env:PAIR"
"""
CONFIG = "".join(
    [
        POLLED.replace("3h", "1d")
        % ("usual", USER, APP, ""),  # nights are without trips
        POLLED % ("miles", USER, APP, 'units = "us"'),
        POLLED % ("stranger", "REST_Other_1@1.com", APP, ""),
        POLLED % ("other_app", USER, "fleetmatics-p-us-other", ""),
        PUSHED % ("pushed", ""),
        PUSHED % ("pinned", f'topic = "{TOPIC}2"'),
        PUSHED % ("willing", "confirm = true"),
        EUROPE,
    ]
)
PAIR = "reveal:a long password"
BASIC = "Basic " + base64.b64encode(PAIR.encode()).decode()
HEADERS = {"Authorization": BASIC, "x-amz-sns-message-type": "Notification"}
OF_CONFIRM = HEADERS | {"x-amz-sns-message-type": "SubscriptionConfirmation"}


@pytest.fixture(scope="module")
def far() -> Iterator[Running]:
    with Running("verizon", vehicles=VEHICLES, limit=100) as sim:
        yield sim


@pytest.fixture(scope="module")
def amazon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Amazon]:
    found = Amazon(tmp_path_factory.mktemp("amazon"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def daemon(make: Callable[..., Fleetd], far: Running, amazon: Amazon) -> Fleetd:
    environ = {"TOKEN": "key", "BASIC": BASIC, "PAIR": PAIR}
    words = {"far": far.url, "amazon": amazon.url, "ca": str(amazon.ca)}
    return make(CONFIG, environ=environ, **words).begin()


def events(daemon: Fleetd, source: str, kind: str) -> list[dict[str, Any]]:
    return daemon.events("--source", source, "--kind", kind, "-n", "0")


def fixes(daemon: Fleetd, source: str) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in events(daemon, source, "position")}


def point(vehicle: str, at: datetime) -> dict[str, Any]:
    return {
        "vehicleNumber": vehicle, "latitude": 37.5, "longitude": -121.5, "speed": 54.0,
        "displayState": "Moving", "updateUTC": f"{at.isoformat()[:19]}Z",
    }  # fmt: skip


def test_what_is_polled_is_what_was_driven_with_all_columns(daemon, far):
    now = far.clock()["now"]
    driven = {
        (one["provider_vehicle_id"], one["timestamp"]): one
        for one in far.truth(now - 3 * 3600, now - 120)
    }

    def found() -> Any:
        rows = {
            (one["vehicle"]["id"], one["at"]): one["data"]
            for one in fixes(daemon, "usual").values()
        }
        whole = all(
            rows[key]["vin"] and rows[key]["heading_degrees"] is not None
            for key in driven.keys() & rows.keys()
        )
        return rows if driven.keys() <= rows.keys() and whole else None

    rows = daemon.until(found, "three hours of tracks")
    for key, row in driven.items():
        for name in ("vin", "fleet_number", "latitude", "longitude", "engine_state"):
            assert rows[key][name] == row[name], name
        assert rows[key]["speed_mph"] == pytest.approx(row["speed_mph"], abs=1e-6)
    assert any(one["odometer"] for one in rows.values())
    assert daemon.until(lambda: events(daemon, "usual", "trip"), "trips")
    assert far.counts()["over"] == 0


@shows(f"{KEY}units")
def test_a_speed_is_in_the_unit_of_the_account(daemon):
    def both() -> Any:
        usual, miles = fixes(daemon, "usual"), fixes(daemon, "miles")
        common = [
            (one["data"]["speed_mph"], miles[name]["data"]["speed_mph"])
            for name, one in usual.items()
            if name in miles and one["data"]["speed_mph"]
        ]
        return common if len(common) >= 5 else None

    for one, other in daemon.until(both, "fixes of both"):
        assert other == pytest.approx(one * 1.609344)


@shows(f"{KEY}user", f"{KEY}app_id")
def test_a_wrong_user_and_a_wrong_app_are_held_and_say_so(daemon):
    def held() -> Any:
        sources = daemon.status()["sources"]
        both = [sources["stranger"], sources["other_app"]]
        return both if all(one["state"] == "held" for one in both) else None

    stranger, other = daemon.until(held, "both to be held")

    assert "refused user and password" in stranger["why"]
    assert "sources.stranger.token" in stranger["why"]
    assert other["why"]
    assert daemon.status()["sources"]["usual"]["state"] == "ok"


@shows(f"{KEY}region")
def test_the_region_says_which_host_is_asked(daemon, amazon):
    daemon.until(lambda: "fim.api.eu.fleetmatics.com:443" in amazon.connects, "Europe")

    assert "fim.api.us.fleetmatics.com:443" not in amazon.connects


def test_a_signed_push_is_kept_and_a_forged_or_a_strangers_one_is_not(daemon, amazon):
    now = datetime.now(UTC).replace(microsecond=0)
    body = message(point("TX 1/2", now))
    first = daemon.post("pushed", body, HEADERS)
    again = daemon.post("pushed", body, HEADERS)
    second = daemon.post("pushed", message(point("TX 1/2", now), "2"), HEADERS)
    raw = daemon.post(
        "pushed",
        json.dumps(point("TX 1/2", now + timedelta(seconds=1))).encode(),
        HEADERS | {"x-amz-sns-rawdelivery": "true"},
    )
    forged = daemon.post("pushed", body.replace(b"37.5", b"38.5"), HEADERS)
    foreign = json.loads(body) | {"SigningCertURL": "https://169.254.169.254/x.pem"}
    stolen = daemon.post("pushed", json.dumps(foreign).encode(), HEADERS)
    nobody = daemon.post("pushed", body, {})

    assert first.json() == {"stored": 1, "duplicate": 0, "filtered": 0, "dead": 0}
    assert again.json()["duplicate"] == second.json()["duplicate"] == 1
    assert raw.json()["stored"] == 1
    assert (forged.status, stolen.status, nobody.status) == (401, 401, 401)
    assert nobody.headers["www-authenticate"].startswith("Basic")
    assert amazon.asked.count(PATH) == 1
    assert {one.partition(":")[0] for one in amazon.connects} <= {
        SNS, "fim.api.eu.fleetmatics.com",
    }  # fmt: skip
    (one, _) = events(daemon, "pushed", "position")
    assert one["vehicle"]["id"] == "TX 1/2"
    shown = daemon.run("show", str(one["seq"])).stdout
    assert "signed" in shown
    assert BASIC not in shown
    assert "Action=Unsubscribe" not in shown


@shows(f"{KEY}topic")
def test_only_the_topic_it_names_is_believed(daemon):
    body = message(point("TX-9", datetime.now(UTC)))

    assert daemon.post("pinned", body, HEADERS).status == 401
    assert daemon.post("pushed", body, HEADERS).status == 200


@shows(f"{KEY}confirm")
def test_a_subscription_is_confirmed_by_itself_or_by_the_operator(daemon, amazon):
    body = json.dumps(signed(CONFIRM)).encode()
    told = daemon.post("pushed", body, OF_CONFIRM)
    before = [one for one in amazon.asked if TOKEN in one]
    done = daemon.post("willing", body, OF_CONFIRM)
    after = [one for one in amazon.asked if TOKEN in one]

    assert (told.status, done.status) == (200, 200)
    assert before == []
    assert len(after) == 1
    (alert,) = events(daemon, "pushed", "alert")
    assert alert["data"]["url"] == CONFIRM["SubscribeURL"]
    assert "open the link" in alert["data"]["text"]


def test_a_password_may_be_the_webhooks_secret(daemon):
    body = json.dumps(point("TX-7", datetime.now(UTC))).encode()

    assert daemon.post("by_password", body, {"Authorization": BASIC}).status == 200
    assert (
        daemon.post("by_password", body, {"Authorization": "Basic eDp5"}).status == 401
    )
    assert daemon.run("send", "by_password", "-", stdin=body.decode(), code=None)


@shows(f"{KEY}alerts")
def test_what_was_missed_of_alerts_is_told_as_lost(tmp_path, far):
    half = 'auth = { key = "env:PAIR" }\n'
    words = POLLED % ("places", USER, APP, half) + POLLED % (
        "alarms",
        USER,
        APP,
        half + "alerts = true",
    )
    box = Fleetd(
        tmp_path / "box", words, environ={"TOKEN": "key", "PAIR": "x" * 20},
        program="tests.end_to_end.elsewhere", far=far.url,
    )  # fmt: skip
    try:
        box.begin().stop()
        box.environ["ELSEWHERE_LATER_S"] = "900"
        box.begin()
        said = box.run("ledger", code=None).stdout
    finally:
        box.close()
    lines = {line.partition(":")[0]: line for line in said.splitlines() if ": " in line}

    assert "cannot be listed again" in lines["alarms"]
    assert "cannot be listed again" not in lines["places"]
