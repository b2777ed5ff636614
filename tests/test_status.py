"""What status says, to whom, and that a restart changes none of it."""

from __future__ import annotations

import json
import socket

import pytest
import trio

from fleetd.config import Bind
from fleetd.masking import MASK
from fleetd.tasks.report import Hosts
from fleetd.tasks.supervise import Health
from fleetd.web import Request
from tests.desk import HOUSE, desk
from tests.store.deeds import appended, crash, drain, fix, put

KEYS = {
    "state", "reasons", "version", "pid", "config", "started_at", "now", "clock", "log",
    "sources", "sinks", "tasks", "jobs",
}  # fmt: skip


async def test_the_document_has_the_keys_that_were_promised(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        here.board.healths["feed:north/positions"] = Health(world.now)
        found = await here.status()

    assert set(found) >= KEYS
    assert set(found["log"]) >= {
        "newest_seq", "oldest_seq", "events", "disk_bytes", "wal_bytes", "full_in_hours",
        "pinned_by", "durability", "sqlite", "fsync_p99_ms",
    }  # fmt: skip
    assert set(found["sources"]["north"]) >= {
        "provider", "state", "why", "received", "stored", "duplicate", "filtered", "dead",
        "refused", "last_received_at", "feeds",
    }  # fmt: skip
    assert set(found["sources"]["north"]["feeds"]["positions"]) >= {
        "state", "last_success_at", "records", "bookmark_age_s",
    }  # fmt: skip
    assert set(found["sinks"]["ops"]) >= {
        "kind", "state", "why", "cursor", "waiting", "oldest_waiting_s", "delivered",
        "skipped", "dead", "rate_per_s", "empty_at", "last_success_at",
    }  # fmt: skip


async def test_counts_are_of_records_events_and_deliveries(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await put(here.store, fix(1), fix(1), fix(2, latitude=0, longitude=0), b"bad")
        await put(here.store, crash(3))
        await drain(here.store)
        found = await here.status()

    north, ops = found["sources"]["north"], found["sinks"]["ops"]
    assert (north["received"], north["stored"], north["duplicate"]) == (5, 2, 1)
    assert (north["filtered"], north["dead"]) == (1, 1)
    assert (ops["delivered"], ops["waiting"], ops["cursor"]) == (2, 0, 2)
    assert found["sinks"]["pager"]["waiting"] == 1, "it takes the crash alone"


async def test_the_age_of_what_waits_is_of_the_first_event_the_sink_takes(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await put(here.store, fix(1))
        await trio.sleep(100)
        await put(here.store, crash(2))
        await trio.sleep(50)
        found = await here.status()

    assert found["sinks"]["ops"]["oldest_waiting_s"] == pytest.approx(151.1, abs=0.1)
    assert found["sinks"]["pager"]["oldest_waiting_s"] == pytest.approx(51.1, abs=0.1)


async def test_a_restart_changes_no_count_no_last_success_and_no_lag(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        here.board.healths["sink:ops"] = Health(world.now)
        await put(here.store, fix(1), fix(2), bookmark=("positions", "b1"))
        await drain(here.store)
        here.board.healths["sink:ops"].beat()
        await put(here.store, crash(3), fix(1), b"bad")
        before = await here.status()
    await trio.sleep(100)
    async with desk(tmp_path, world) as here:
        here.board.healths["feed:north/positions"] = Health(world.now)
        after = await here.status()

    for side in ("sources", "sinks"):
        for name, was in before[side].items():
            now = after[side][name]
            for key in ("received", "stored", "duplicate", "filtered", "dead", "refused",
                        "delivered", "skipped", "waiting", "cursor", "last_received_at",
                        "last_success_at"):  # fmt: skip
                assert was.get(key) == now.get(key), (side, name, key)
    assert before["sinks"]["ops"]["last_success_at"] is not None
    feed = after["sources"]["north"]["feeds"]["positions"]
    assert feed["records"] == 2
    assert feed["bookmark_age_s"] > 100


async def test_a_killed_daemon_loses_no_last_delivery_that_an_attempt_tells(
    tmp_path, world, autojump_clock
):
    from fleetd.store import Attempt

    async with desk(tmp_path, world) as here:
        await put(here.store, fix(1))
        read = await here.store.next_batch("ops", 0, limit=10)
        attempt = Attempt(
            sink="ops", job=0, lane=0, first=1, last=1, count=1, verdict="taken",
            status=200, ms=3, at_ms=1_700_000_000_000, key="k",
        )  # fmt: skip
        await here.store.advance(read, delivered=read.entries, attempts=[attempt])
        here.board.keep = trio.lowlevel.checkpoint  # nothing is written at the end
    async with desk(tmp_path, world) as here:
        found = await here.status()

    assert found["sinks"]["ops"]["last_success_at"] == "2023-11-14T22:13:20.000Z"


async def test_states_and_reasons_name_what_is_wrong(tmp_path, world, autojump_clock):
    async with desk(tmp_path, world) as here:
        await put(here.store, fix(1))
        assert (await here.status())["state"] == "healthy"

        held = here.board.healths["sink:ops"] = Health(world.now)
        held.say("held", "401: fix sinks.ops.headers")
        feed = here.board.healths["feed:north/positions"] = Health(world.now)
        feed.say("failing", "answered 502")
        found = await here.status()

        assert found["state"] == "degraded"
        assert found["sinks"]["ops"]["state"] == "held"
        assert found["sources"]["north"]["state"] == "waiting"
        assert any("401: fix sinks.ops.headers" in one for one in found["reasons"])
        assert any("answered 502" in one for one in found["reasons"])

        here.store.log.full = "the disk is full"
        found = await here.status()
        assert found["state"] == "unhealthy"
        assert "the disk is full" in found["reasons"][0]
        assert (await here.port("/health")).status == 503
        assert (await here.port("/readyz")).status == 503
        assert (await here.port("/healthz")).status == 200, "a full disk is an answer"


async def test_a_disk_that_hangs_is_not_ready_for_webhooks(
    tmp_path, world, autojump_clock
):
    class Hung:
        async def join(self, _write, *, within):
            await trio.sleep(within)
            raise TimeoutError

    async with desk(tmp_path, world) as here:
        assert (await here.port("/readyz")).status == 200
        writer, here.store.writer = here.store.writer, Hung()
        found = await here.port("/readyz")
        here.store.writer = writer

    assert found.status == 503
    assert "longer than 2.5s" in found.json["error"]


async def test_a_sink_far_behind_degrades_and_pins_the_log(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await put(here.store, fix(1))
        await trio.sleep(2 * 3600)
        await drain(here.store, "pager")
        found = await here.status()

    assert found["state"] == "degraded"
    assert any("120 minutes behind" in one for one in found["reasons"])
    assert found["log"]["pinned_by"] == "ops"


async def test_a_pause_is_a_state_and_not_a_fault(tmp_path, world, autojump_clock):
    async with desk(tmp_path, world) as here:
        await here.do("pause", name="ops")
        await here.do("pause", name="north")
        found = await here.status()

    assert found["state"] == "healthy"
    assert found["sinks"]["ops"]["state"] == "paused"
    assert found["sources"]["north"]["state"] == "paused"


async def test_a_silence_is_judged_by_the_longest_of_two_weeks(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        for n in range(8):
            await put(here.store, fix(n))
            await trio.sleep(3 * 3600)
        await trio.sleep(2 * 3600)
        assert (await here.status())["sources"]["north"]["state"] == "ok"

        await trio.sleep(3 * 3600)
        found = await here.status()

    assert found["sources"]["north"]["state"] == "silent"
    assert (
        "the longest silence in two weeks was 3 h" in found["sources"]["north"]["why"]
    )
    assert found["state"] == "degraded"


async def test_a_ledger_out_of_balance_is_unhealthy(tmp_path, world, autojump_clock):
    async with desk(tmp_path, world) as here:
        await put(here.store, fix(1))
        here.store.log.db.execute(
            "UPDATE totals SET n = n + 1 WHERE outcome = 'received'"
        )
        found = await here.status()

    assert found["state"] == "unhealthy"
    assert "north: records: 2 came and 1 are accounted" in found["reasons"][0]


async def test_when_it_will_be_empty_follows_the_pace_of_the_last_minute(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await put(here.store, *[fix(n) for n in range(100)])
        await here.board.sample()
        for _ in range(3):
            await trio.sleep(10)
            read = await here.store.next_batch("ops", 0, limit=20)
            await here.store.advance(read, delivered=read.entries)
            await here.board.sample()
        now = world.now()
        found = await here.status()

    ops = found["sinks"]["ops"]
    assert ops["rate_per_s"] == pytest.approx(2.0)
    assert ops["waiting"] == 40
    left = trio_seconds(ops["empty_at"]) - now.timestamp()
    assert left == pytest.approx(20, abs=2)


def trio_seconds(moment: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(moment).timestamp()


async def test_hours_until_full_come_from_the_growth_of_the_last_hours(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await here.board.sample()
        for n in range(4):
            big = "x" * 200_000
            await put(here.store, fix(n, location_description=big), raw=True)
            await trio.sleep(1200)
            await here.board.sample()
        growing = (await here.status())["log"]["full_in_hours"]
        await here.board.keep()
    async with desk(tmp_path, world) as here:
        again = (await here.status())["log"]["full_in_hours"]

    assert growing is not None
    assert growing > 0
    assert again == pytest.approx(growing, rel=0.2), "a restart knows it at once"


async def test_a_full_disk_is_full_now_whatever_grew_before(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        here.store.space.drop_ballast()
        before = (await here.status())["log"]["full_in_hours"]
        here.board.refusing = lambda: "the disk is full"
        await trio.sleep(2)
        full = await here.status()

    assert before is None
    assert full["log"]["full_in_hours"] == 0
    assert full["state"] == "unhealthy"


# the port


@pytest.mark.parametrize("path", ["/healthz", "/live", "/readyz", "/ready", "/health",
    "/metrics", "/api/status", "/api/events", "/api/dead", "/api/ledger", "/api/jobs"])  # fmt: skip
async def test_every_door_of_the_port_opens(path, tmp_path, world, autojump_clock):
    async with desk(tmp_path, world) as here:
        found = await here.port(path)

    assert found.status == 200


async def test_the_port_changes_nothing(tmp_path, world, autojump_clock):
    async with desk(tmp_path, world) as here:
        assert (await here.port("/control/pause", method="POST")).status == 405
        assert (await here.port("/api/status", method="POST")).status == 405
        assert (await here.port("/control/pause")).status == 404
        assert not here.store.paused("ops")


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:8787", 200), ("localhost", 200), ("[::1]:8787", 200), ("LOCALHOST:1", 200),
     ("evil.example", 421), ("127.0.0.1.evil.example", 421), ("192.0.2.7", 421), ("", 421)],
)  # fmt: skip
async def test_a_page_of_somebody_else_cannot_ask(
    host, status, tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        found = await here.port("/api/status", {"host": host})

    assert found.status == status


def test_bound_everywhere_it_answers_to_addresses_but_not_to_foreign_names():
    hosts = Hosts([Bind("0.0.0.0:8787")])

    def meant(host: str) -> bool:
        return hosts.meant(Request("GET", "/", "", {"host": host}, b"", "192.0.2.9"))

    own = socket.gethostname()
    assert meant("192.0.2.7:8787")
    assert meant(f"{own}:8787")
    assert meant(f"{own.partition('.')[0]}.a-domain-nobody-looks-up.example:8787")
    assert not meant("rebound.example:8787")
    assert not meant("")


async def test_a_token_is_asked_of_everybody(tmp_path, world, autojump_clock):
    async with desk(tmp_path, world, token="t0ken") as here:
        bearer = {"authorization": "Bearer t0ken"}
        assert (await here.port("/healthz")).status == 401
        assert (
            await here.port("/healthz", {"authorization": "Bearer t0kem"})
        ).status == 401
        assert (
            await here.port("/healthz", {"authorization": "Basic t0ken"})
        ).status == 401
        assert (await here.port("/healthz", bearer)).status == 200
        assert (await here.ask("/api/status"))["state"] == "healthy", (
            "the socket needs none"
        )


async def test_a_writer_that_does_not_answer_is_not_healthy(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:

        async def join(_write: object) -> None:
            await trio.sleep_forever()

        here.store.join = join
        found = await here.port("/healthz")
        doc = await here.status()

    assert found.status == 503
    assert doc["state"] == "unhealthy"
    assert "has not answered for 10 s" in doc["reasons"][0]


async def test_no_answer_has_a_secret_in_it(tmp_path, world, autojump_clock):
    secret = "hush-hush-9000"
    MASK.add(secret)
    async with desk(tmp_path, world) as here:
        sink = here.board.healths["sink:ops"] = Health(world.now)
        sink.say("held", f"refused {secret}")
        await put(
            here.store, fix(1, location_description=secret), b"bad " + secret.encode()
        )
        answers = [
            (await here.port(path)).body
            for path in ("/health", "/api/events", "/api/dead", "/metrics")
        ]
        answers.append((await here.port("/api/show", query="seq=1")).body)
        answers.append((await here.say("pause", name=secret)).body)

    assert not [one for one in answers if secret.encode() in one]
    assert all(answers)


async def test_a_question_that_makes_no_sense_is_answered_with_what_would(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        found = await here.port("/api/events", query="kind=safty")
        many = await here.port(
            "/api/events", query="&".join(f"a{n}=1" for n in range(99))
        )
        number = await here.port("/api/events", query="n=%C2%B2")

    assert found.status == 400
    assert "there are: position" in found.json["error"]
    assert many.status == 400
    assert number.status == 400


async def test_a_long_poll_is_answered_as_soon_as_something_arrives(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await put(here.store, fix(1))
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def later() -> None:
                await trio.sleep(7)
                await here.store.append(appended(here.store, fix(2)))

            began = trio.current_time()
            found = await here.ask("/api/events", after="1", wait="30")
            waited = trio.current_time() - began

    assert [one["seq"] for one in found["events"]] == [2]
    assert waited == pytest.approx(7)


async def test_a_long_poll_ends_empty_when_nothing_arrives(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        began = trio.current_time()
        found = await here.ask("/api/events", after="0", wait="30")

        assert found["events"] == []
        assert trio.current_time() - began == pytest.approx(30)


async def test_a_long_poll_is_answered_when_the_daemon_stops_or_reloads(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def later() -> None:
                await trio.sleep(7)
                here.board.end()

            began = trio.current_time()
            found = await here.ask("/api/events", after="0", wait="30")
            waited = trio.current_time() - began
        again = await here.ask("/api/events", after="0", wait="30")

        assert found["events"] == again["events"] == []
        assert waited == pytest.approx(7)
        assert trio.current_time() - began == pytest.approx(7)


async def test_unproven_secrets_are_said_where_bodies_wait_for_them(
    tmp_path, world, autojump_clock
):
    from fleetd.store.small import Unverified

    async with desk(tmp_path, world) as here:
        await here.store.join(Unverified("north", 1, "192.0.2.1", "no", "{}", b"x"))
        found = await here.status()

    north = found["sources"]["north"]
    assert north["unverified"] == 1
    assert "fleetd dead retry --unverified north" in north["why"]
    assert found["state"] == "degraded"


async def test_a_secret_changed_for_a_wrong_one_is_said_though_another_was_proven(
    tmp_path, world, autojump_clock
):
    from fleetd.store.small import Unverified
    from fleetd.tasks.listen import mark_of

    changed = HOUSE.replace("north-secret", "another-secret")
    async with desk(tmp_path, world) as here:
        right = {"mark": mark_of(["north-secret"])}
        await here.store.remember("verified:north", right)
        await put(here.store, fix(1))
        await here.store.join(Unverified("north", 1, "192.0.2.1", "no", "{}", b"x"))
        before = await here.status()
    async with desk(tmp_path, world, changed) as here:
        found = await here.status()

    assert before["sources"]["north"]["state"] == "ok", "strangers alone alarm nobody"
    assert found["sources"]["north"]["state"] == "waiting"
    assert "Fix sources.north.webhook_secret" in found["sources"]["north"]["why"]
    assert found["state"] == "degraded"


async def test_types_that_a_vendor_did_not_have_before_are_shown_as_drift(
    tmp_path, world, autojump_clock
):
    import msgspec

    from fleetd.cli.status import rest
    from fleetd.event import Other
    from fleetd.tasks.report import Document
    from tests.desk import HOOKED

    async with desk(tmp_path, world) as here:
        here.board.providers["south"] = msgspec.structs.replace(HOOKED, typed=False)
        await put(here.store, fix(1), Other(id="a", type="new"), Other(id="b"))
        await put(here.store, Other(id="c"), source="south")
        found = await here.status()
    said = "\n".join(rest(msgspec.convert(found, Document)))

    assert found["sources"]["north"]["drift"] == 2
    assert found["sources"]["south"]["drift"] == 0, "all it sends is `other`"
    assert "north 2: of types that this fleetd does not know" in said


async def test_too_many_dead_letters_and_what_is_about_to_expire_are_said(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        here.store.crowded = {("source", "north")}
        here.store.warnings = ["ops has let events wait for 12 days"]
        found = await here.status()

    assert found["sources"]["north"]["state"] == "held"
    assert "fleetd dead list north" in found["sources"]["north"]["why"]
    assert found["state"] == "degraded"
    assert "ops has let events wait for 12 days" in found["reasons"]


async def test_the_status_of_a_source_without_any_half_is_off(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world, HOUSE) as here:
        found = await here.status()

    assert found["sources"]["south"]["state"] == "off"
    assert json.dumps(found)


async def test_a_year_of_hours_is_not_read_to_say_how_it_is(
    tmp_path, world, autojump_clock
):
    from fleetd.store import stats

    async with desk(tmp_path, world) as here:
        await put(here.store, fix(1))
        plan = list(
            here.store.log.db.execute("EXPLAIN QUERY PLAN " + stats.HOURS, (1, 2, 3))
        )
        first = list(
            here.store.log.db.execute("EXPLAIN QUERY PLAN " + stats.HEARD, (1, 2))
        )

    for ((*_, detail),) in (plan, first):
        assert detail.startswith("SEARCH totals USING PRIMARY KEY (scope=? AND hour>?")
