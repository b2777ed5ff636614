"""Every body the vendors publish and every signature goes in by TCP and comes out as golden lines."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Answer, Fleetd, by_motive, by_samsara

GOLDEN = Path(__file__).parent / "golden"
PROVIDERS = Path(__file__).parents[1] / "providers"
OLD_SAMSARA = "ZmxlZXRkLWZpeHR1cmUtc2Ftc2FyYS1zZWNyZXQtMDE="
NEW_SAMSARA = "ZmxlZXRkLWZpeHR1cmUtc2Ftc2FyYS1zZWNyZXQtMDI="
OLD_MOTIVE, NEW_MOTIVE = "fleetdmotivefixture1", "fleetdmotivefixture2"
ENVIRON = {
    "S_OLD": OLD_SAMSARA,
    "S_NEW": NEW_SAMSARA,
    "M_OLD": OLD_MOTIVE,
    "M_NEW": NEW_MOTIVE,
    "M_PAGE": "d9d36bea41c44ae49d1bfc4a48ba2abe",
    "M_ARCHIVED": "8cbd43f98ba1e33c28c9",
    "M_MISPRINT": "f04a8386a21a6cba0447024e83b3f0983352bb72",
}
SOURCE = '\n[sources.%s]\nprovider = "%s"\nwebhook_secret = %s\n'
SIGN = {"samsara": by_samsara, "motive": by_motive}
ROTATING = {
    "samsara": ("north", (NEW_SAMSARA, OLD_SAMSARA)),
    "motive": ("south", (NEW_MOTIVE, OLD_MOTIVE)),
}
REFUSAL = {"samsara": 401, "motive": 403}
PROBES = (
    b'{"action":"test"}',
    b'["vehicle_location_updated"]',
    b"[vehicle_location_updated]",
)


def of_secret(name: str) -> str:
    """The source that has this secret and no other."""
    return f"only-{name.lower().replace('_', '-')}"


def config() -> str:
    parts = [
        SOURCE % ("north", "samsara", '["env:S_NEW", "env:S_OLD"]'),
        SOURCE % ("south", "motive", '["env:M_NEW", "env:M_OLD"]'),
    ]
    for name in ENVIRON:
        vendor = "samsara" if name.startswith("S_") else "motive"
        parts.append(SOURCE % (of_secret(name), vendor, f'"env:{name}"'))
    return "".join(parts)


@pytest.fixture(scope="module")
def daemon(make: Callable[..., Fleetd]) -> Fleetd:
    """Repeats are known as such for longer than the fixtures are old."""
    return make(
        config(),
        store='dedupe_window = "400d"\nkeep = "400d"\nkeep_raw = "400d"',
        environ=ENVIRON,
    ).begin()


def fixtures(vendor: str) -> list[Path]:
    found = sorted((PROVIDERS / vendor).glob("webhook_*.json"))
    return [one for one in found if not one.name.endswith(".events.json")]


def vectors(vendor: str) -> list[dict[str, Any]]:
    found = json.loads((PROVIDERS / vendor / "signatures.json").read_bytes())
    return list(found["vectors"])


def presented(vendor: str, vector: dict[str, Any]) -> dict[str, str]:
    """The headers of a vector, as they are written there."""
    signature = vector["presented_signature_header"]
    if vendor == "motive":
        return {"X-KT-Webhook-Signature": signature}
    stamp = vector["timestamp_header"]
    return {"X-Samsara-Timestamp": stamp, "X-Samsara-Signature": signature}


def secret_of(vector: dict[str, Any]) -> str:
    """The name of the one secret that a vector is judged by."""
    wanted = vector.get("secret_base64") or vector["secret"]
    return next(name for name, value in ENVIRON.items() if value == wanted)


def counted(daemon: Fleetd, source: str) -> dict[str, int]:
    """What the log says of a source; nothing but our own requests changes it."""
    doc = daemon.settled()["sources"][source]
    keys = ("received", "stored", "duplicate", "filtered", "dead", "unverified")
    return {key: doc[key] for key in keys}


def lines(daemon: Fleetd, source: str) -> list[dict[str, Any]]:
    """What came out, less what differs from run to run."""
    return list(normalized(daemon.events("--source", source)))


def normalized(events: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for event in events:
        arrived = datetime.fromisoformat(event["received_at"]).timestamp() * 1000
        event["seq"], event["received_at"] = "SEQ", "ARRIVAL"
        if abs(event["revision"] - arrived) < 60_000:
            event["revision"] = "ARRIVAL"
        # whether old stamps can be judged depends on the clock of the box
        event["flags"] = [one for one in event["flags"] if one != "signed_late"]
        yield event


def held_to(golden: str, found: list[dict[str, Any]]) -> None:
    path = GOLDEN / f"{golden}.ndjson"
    text = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in found)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert [json.loads(one) for one in path.read_text().splitlines()] == found


def test_a_wrong_secret_is_never_a_final_refusal_before_anything_was_verified(daemon):
    answers: dict[str, int] = {}
    for vendor in ROTATING:
        for vector in (one for one in vectors(vendor) if not one["valid"]):
            source = of_secret(secret_of(vector))
            body = vector["raw_body"].encode()
            answer = daemon.post(source, body, presented(vendor, vector))
            answers[f"{vendor} {vector['name']}"] = answer.status

    assert len(answers) >= 15
    assert set(answers.values()) == {401}
    kept = daemon.settled()["sources"]
    assert sum(one["unverified"] for one in kept.values()) == len(answers)
    assert daemon.events() == []


@pytest.mark.parametrize("vendor", ROTATING)
def test_every_fixture_comes_out_as_its_golden_line_under_either_secret(daemon, vendor):
    source, secrets = ROTATING[vendor]
    for turn, path in enumerate(fixtures(vendor)):
        body = path.read_bytes()
        answer = daemon.post(source, body, SIGN[vendor](body, secrets[turn % 2]))
        assert answer.status == 200, f"{path.name}: {answer}"

    found = lines(daemon, source)
    held_to(vendor, found)
    counts = counted(daemon, source)
    assert counts["stored"] == len(found)
    assert counts["dead"] == counts["unverified"] == 0


@pytest.mark.parametrize("vendor", ROTATING)
def test_every_fixture_sent_again_is_a_duplicate_and_changes_nothing(daemon, vendor):
    source, secrets = ROTATING[vendor]
    before, log = counted(daemon, source), daemon.settled()["log"]["newest_seq"]
    told: Counter[str] = Counter()
    for path in fixtures(vendor):
        body = path.read_bytes()
        answer = daemon.post(source, body, SIGN[vendor](body, secrets[0]))
        assert answer.status == 200
        told.update(answer.json())

    after = counted(daemon, source)
    assert told["stored"] == told["dead"] == 0
    assert after["stored"] == before["stored"]
    assert after["duplicate"] - before["duplicate"] == told["duplicate"] > 10
    assert daemon.settled()["log"]["newest_seq"] == log


def test_every_valid_signature_is_taken_by_its_secret_and_by_a_list_that_holds_it(
    daemon,
):
    for vendor, (rotating, listed) in ROTATING.items():
        for vector in (one for one in vectors(vendor) if one["valid"]):
            body = vector["raw_body"].encode()
            headers = presented(vendor, vector)
            name = secret_of(vector)
            answers = [daemon.post(of_secret(name), body, headers)]
            if ENVIRON[name] in listed:
                answers.append(daemon.post(rotating, body, headers))
            assert {one.status for one in answers} == {200}, f"{vendor} {vector}"

    found = lines(daemon, ",".join(map(of_secret, ENVIRON)))
    held_to("vectors", sorted(found, key=lambda one: str(one["source"])))


def test_a_signature_that_fits_nothing_is_refused_as_the_vendor_expects_and_kept(
    daemon,
):
    before = daemon.settled()
    answers = {}
    for vendor in ROTATING:
        for vector in (one for one in vectors(vendor) if not one["valid"]):
            name = secret_of(vector)
            if name == "M_MISPRINT":
                continue  # nothing ever fits it
            body = vector["raw_body"].encode()
            answer = daemon.post(of_secret(name), body, presented(vendor, vector))
            answers[f"{vendor} {vector['name']}"] = (answer.status, REFUSAL[vendor])

    assert all(got == wanted for got, wanted in answers.values()), answers
    after = daemon.settled()
    assert after["log"]["newest_seq"] == before["log"]["newest_seq"]
    more = [
        after["sources"][one]["unverified"] - before["sources"][one]["unverified"]
        for one in after["sources"]
    ]
    assert sum(more) == len(answers)


@pytest.mark.parametrize("body", PROBES)
def test_a_probe_of_motive_is_answered_and_says_nothing(daemon, body):
    before, log = counted(daemon, "south"), daemon.settled()["log"]["newest_seq"]

    answer = daemon.post("south", body, by_motive(body, NEW_MOTIVE))

    assert answer.status == 200
    assert answer.json() == {"stored": 0, "duplicate": 0, "filtered": 0, "dead": 0}
    after = counted(daemon, "south")
    assert after == before | {"received": before["received"] + 1}
    assert daemon.settled()["log"]["newest_seq"] == log


def test_what_is_signed_and_no_json_is_a_dead_letter_and_a_200(daemon):
    before = counted(daemon, "south")
    body = b"<html>not what was promised</html>"

    answer = daemon.post("south", body, by_motive(body, OLD_MOTIVE))

    assert (answer.status, answer.json()["dead"]) == (200, 1)
    assert counted(daemon, "south")["dead"] == before["dead"] + 1
    letters = daemon.run("dead", "list", "--json").stdout
    assert "not JSON" in letters


def test_a_compressed_body_is_verified_inflated(daemon):
    body = json.dumps({"action": "user_upserted", "id": 77, "first_name": "Ada"})
    raw = body.encode()
    headers = by_motive(raw, NEW_MOTIVE) | {"Content-Encoding": "gzip"}

    answer = daemon.post("south", gzip.compress(raw), headers)

    assert answer.json()["stored"] == 1
    (found,) = daemon.events("--source", "south", "-n", "1")
    assert (found["kind"], found["driver"]["name"]) == ("driver", "Ada")


def test_what_came_under_a_wrong_secret_is_taken_in_once_the_secret_is_right(
    daemon, make
):
    wrong = SOURCE % ("late", "motive", '"file:secret"')
    other = make()
    secret = other.folder / "secret"
    secret.write_text("not the one\n")
    secret.chmod(0o600)
    other.configure(wrong)
    other.begin()
    bodies = [path.read_bytes() for path in fixtures("motive")[:4]]
    answers = [other.post("late", one, by_motive(one, NEW_MOTIVE)) for one in bodies]
    assert [one.status for one in answers] == [401] * 4
    assert "webhook_secret" in other.settled()["sources"]["late"]["why"]

    secret.write_text(NEW_MOTIVE)
    other.reload()
    other.run("dead", "retry", "--unverified", "late")

    here = {event["id"]: event["data"] for event in other.events()}
    there = {event["id"]: event["data"] for event in daemon.events("--source", "south")}
    assert len(here) >= 4
    assert here == {name: there[name] for name in here}
    assert other.settled()["sources"]["late"]["unverified"] == 0
    assert status_of(other, bodies[0]) == {"stored": 0, "duplicate": 1}


def status_of(daemon: Fleetd, body: bytes) -> dict[str, int]:
    answer: Answer = daemon.post("late", body, by_motive(body, NEW_MOTIVE))
    return {key: answer.json()[key] for key in ("stored", "duplicate")}
