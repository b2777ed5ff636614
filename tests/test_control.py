"""What an operator may change through the control socket, and how it is refused."""

from __future__ import annotations

import base64

import pytest
import trio
from msgspec.structs import replace

from fleetd.cli.replay import once
from fleetd.errors import UsageError
from fleetd.store import SinkPlace
from fleetd.taking import Taking
from fleetd.tasks.control.order import Order
from tests.desk import HOOKED, HOUSE, desk
from tests.store.deeds import counted, crash, drain, fix, imbalances, put, truck

HOUR = 3600


async def sent(here, job: int, sink: str = "ops", limit: int = 100) -> list[int]:
    """What a replay sends until it is done."""
    seqs: list[int] = []
    while any(one.id == job for one in here.store.replays(sink)):
        read = await here.store.next_batch(sink, 0, limit=limit, job=job)
        seqs += [one.seq for one in read.entries]
        await here.store.advance(read, delivered=read.entries)
    return seqs


async def test_a_pause_outlives_a_restart(tmp_path, world, autojump_clock):
    async with desk(tmp_path, world) as here:
        first = await here.do("pause", name="ops")
        again = await here.do("pause", name="ops")
    async with desk(tmp_path, world) as here:
        assert here.store.paused("ops")
        await here.do("resume", name="ops")
        assert not here.store.paused("ops")

    assert (first["changed"], again["changed"]) == (True, False)


async def test_a_name_that_is_not_there_gets_the_nearest_one(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        found = await here.say("pause", name="opz")
        none = await here.say("pause")

    assert found.status == 400
    assert "did you mean 'ops'" in found.json["error"]
    assert "'name' is missing" in none.json["error"]


async def test_skipping_counts_what_would_have_gone(tmp_path, world, autojump_clock):
    async with desk(tmp_path, world) as here:
        await put(here.store, fix(1), crash(2), truck("T-1"))
        await trio.sleep(HOUR)
        await put(here.store, fix(3), crash(4))
        plan = await here.do("skip", sink="pager", until="30m", dry_run=True)
        assert here.store.waiting("pager", 1) == 2
        done = await here.do("skip", sink="pager", until="30m")

        assert (plan["skipped"], done["skipped"], done["upto"]) == (1, 1, 3)
        assert here.store.waiting("pager", 1) == 1
        assert counted(here.store, "pager")["skipped:by_hand"] == 1
        assert await imbalances(here.store) == []
        nothing = await here.do("skip", sink="pager", until="2d")
        assert nothing["skipped"] == 0


async def test_forgetting_is_for_what_is_gone_from_the_file(
    tmp_path, world, autojump_clock
):
    gone = HOUSE.replace("[sinks.pager]", "[sinks.other]")
    async with desk(tmp_path, world) as here:
        await put(here.store, crash(1))
        await drain(here.store, "pager")
        refused = await here.say("forget", name="pager")
        job = (await here.do("replay", sink="pager", seq="1:", yes=True))["job"]
        place = here.store.folder / "sinks" / "pager"
        place.mkdir(parents=True)
        (place / "told.json").write_text("{}")
    async with desk(tmp_path, world, gone) as here:
        typo = await here.say("forget", name="pagr")
        none = await here.say("forget", name="nobody")
        done = await here.do("forget", name="pager")
        (ended,) = [one for one in here.store.jobs() if one.id == job]
        again = await here.say("forget", name="pager")
    async with desk(tmp_path, world) as here:
        assert here.store.waiting("pager", 1) == 1, "it begins as new"
        await drain(here.store, "pager")
        assert await imbalances(here.store) == [], "and so do its counts"
        assert counted(here.store, "pager")["delivered"] == 1
        assert counted(here.store, "pager (forgotten)")["delivered"] == 1

    assert none.json["error"].endswith("'nobody'; there are: pager")
    assert not place.exists()
    assert (ended.state, ended.why) == ("cancelled", "pager was forgotten")
    assert "pager (forgotten)" in again.json["error"]
    assert "take it out first" in refused.json["error"]
    assert "did you mean 'pager'" in typo.json["error"]
    assert done["cursors"] == 2


async def test_a_replay_sends_exactly_what_was_asked_for(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await put(here.store, truck("T-1", plate="8ABC"), fix(1), crash(2))
        await put(here.store, fix(3, vehicle="v2"), fix(4), source="south")
        await drain(here.store)

        async def replayed(**how: object) -> list[int]:
            found = await here.do("replay", sink="ops", **how)
            got = await sent(here, found["job"], limit=2)
            assert found["count"] == len(got)
            return got

        assert await replayed(seq="2:4") == [2, 3, 4]
        assert await replayed(seq="1:", kind="position") == [2, 4, 5]
        assert await replayed(seq="1:", source="south") == [4, 5]
        assert await replayed(seq="1:", vehicle="8abc") == [1, 2, 3], (
            "another source's v1 is another vehicle"
        )
        assert await replayed(last=2) == [4, 5]
        assert await replayed(last=2, kind="safety,vehicle") == [1, 3]
        assert await replayed(since="1h") == [1, 2, 3, 4, 5]
        assert counted(here.store, "ops") == {"delivered": 5}, (
            "once, however often sent"
        )


async def test_a_replay_gets_only_what_its_sink_takes(tmp_path, world, autojump_clock):
    async with desk(tmp_path, world) as here:
        await put(here.store, fix(1), crash(2), crash(3, vehicle="v2"))
        found = await here.do("replay", sink="pager", seq="1:3", yes=True)
        assert await sent(here, found["job"], "pager") == [2, 3]

        narrow = Taking(frozenset({"safety"}), frozenset({"north"}), ("v1",))
        await here.store.register_sinks({"pager": SinkPlace(narrow)})
        found = await here.do("replay", sink="pager", seq="1:3", vehicle="v*", yes=True)
        assert found["count"] == 1
        assert await sent(here, found["job"], "pager") == [2]
        none = await here.do(
            "replay", sink="pager", seq="1:3", source="south", yes=True
        )
        assert (none["count"], none["job"]) == (0, None)


async def test_a_dry_run_says_what_would_go_and_sends_nothing(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await put(here.store, fix(1), crash(2))
        found = await here.do("replay", sink="ops", since="1h", dry_run=True)

        assert (found["count"], found["first"], found["last"]) == (2, 1, 2)
        assert found["job"] is None
        assert "up to now" in found["window"]
        assert here.store.jobs() == []


async def test_it_asks_where_it_rings_and_where_it_is_much(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await put(here.store, crash(1))
        rings = await here.say("replay", sink="pager", seq="1:")
        for n in range(0, 10_001, 1000):
            await put(here.store, *[fix(n + k) for k in range(1000)])
        much = await here.say("replay", sink="ops", seq="1:")
        agreed = await here.do("replay", sink="ops", seq="1:", yes=True)

    assert rings.status == 400
    assert "would post 1 messages to pager" in rings.json["error"]
    assert "would send 11 001 events to ops again" in much.json["error"]
    assert agreed["job"] == 1


async def test_a_window_past_what_is_kept_fails_and_says_what_would_fetch_it(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await put(here.store, fix(1), crash(2))
        await trio.sleep(2 * HOUR)
        await put(here.store, fix(3))
        here.store.log.db.execute("DELETE FROM events WHERE seq = 1")  # retention

        far = await here.say("replay", sink="ops", since="3h")
        assert far.status == 400
        assert (
            "position events from 2026-11-21T06:00:00.000Z on are no longer kept"
            in (far.json["error"])
        )
        assert "fleetd backfill" in far.json["error"]
        assert (await here.say("replay", sink="ops", seq="1:3")).status == 400
        kept = await here.do("replay", sink="ops", since="3h", kind="safety")
        assert await sent(here, kept["job"]) == [2]
        near = await here.do("replay", sink="ops", since="1h")
        assert await sent(here, near["job"]) == [3]


@pytest.mark.parametrize(
    ("window", "is_there"),
    [
        ({"seq": "2:11"}, False),
        ({"seq": "6:11"}, False),
        ({"since": "1h"}, False),
        ({"seq": "7:11"}, True),
        ({"seq": "2:11", "kind": "safety"}, True),
        ({"last": 9}, True),  # fewer are there, and no window was asked for
    ],
)
async def test_a_part_of_an_hour_that_is_gone_is_missed_where_it_was_asked_for(
    tmp_path, world, autojump_clock, window, is_there
):
    async with desk(tmp_path, world) as here:
        await put(here.store, crash(1), *(fix(n) for n in range(2, 12)))
        here.store.log.db.execute("DELETE FROM events WHERE seq BETWEEN 2 AND 6")

        said = await here.say("replay", sink="ops", dry_run=True, **window)
        if is_there:
            agreed = once({"sink": "ops", **window}, said.json)
            assert (await here.do("replay", **agreed))["count"] == said.json["count"]

    assert said.status == (200 if is_there else 400)
    assert ("no longer kept" in said.json.get("error", "")) is not is_there


async def test_jobs_are_paused_resumed_and_cancelled(tmp_path, world, autojump_clock):
    async with desk(tmp_path, world) as here:
        await put(here.store, *[fix(n) for n in range(10)])
        job = (await here.do("replay", sink="ops", seq="1:", rate=0.5))["job"]
        assert here.store.jobs()[0].rate == 0.5
        read = await here.store.next_batch("ops", 0, limit=4, job=job)
        await here.store.advance(read, delivered=read.entries)
        assert (await here.do("jobs", action="pause", id=job))["state"] == "paused"
        assert here.store.replays("ops") == []
    async with desk(tmp_path, world) as here:
        assert here.store.jobs()[0].why == "by hand"
        assert (await here.do("jobs", action="resume", id=job))["done"] == 4
        assert here.store.jobs()[0].why == ""
        read = await here.store.next_batch("ops", 0, limit=4, job=job)
        assert [one.seq for one in read.entries] == [5, 6, 7, 8]
        assert (await here.do("jobs", action="cancel", id=job))["state"] == "cancelled"
        again = await here.say("jobs", action="resume", id=job)
        none = await here.say("jobs", action="pause", id=99)

    assert "cancelled already" in again.json["error"]
    assert "there is no job 99" in none.json["error"]


async def test_a_feed_without_a_past_says_so(tmp_path, world, autojump_clock):
    from fleetd.providers.contract import Feed

    feed = Feed("positions", 30.0, lambda *_: None, lambda *_: None)
    async with desk(tmp_path, world) as here:
        here.board.providers["north"] = replace(HOOKED, feeds=(feed,))
        typo = await here.say("backfill", source="north", feed="position", since="1d")
        found = await here.say("backfill", source="north", feed="positions", since="1d")

    assert "did you mean 'positions'" in typo.json["error"]
    assert "cannot be asked for a past window of positions" in found.json["error"]


async def test_a_sample_is_signed_for_who_may_not_see_the_secret(
    tmp_path, world, autojump_clock
):
    body = base64.b64encode(b"{}").decode()
    async with desk(tmp_path, world) as here:
        signed = await here.do("sign", source="north", body=body)
        refused = await here.say("sign", source="south", body=body)

    assert signed == {"headers": {"x-signed": "1"}}
    assert "receives no webhooks" in refused.json["error"]


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"a":' * 5000, b"\xff"])
async def test_an_order_that_nobody_can_read_is_refused(body):
    with pytest.raises(UsageError, match="not a JSON object"):
        Order.read(body)


@pytest.mark.parametrize("verb", ["eat", "", "../x"])
async def test_what_cannot_be_done_is_refused(verb, tmp_path, world, autojump_clock):
    async with desk(tmp_path, world) as here:
        found = await here.say(verb)

    assert found.status == 404
    assert "pause" in found.json["error"]


async def test_a_full_disk_is_told_and_not_taken_for_done(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        here.store.log.broken = "the log cannot be written"
        found = await here.say("pause", name="ops")
        here.store.log.broken = ""

    assert found.status == 503
    assert found.json["exit"] == 74


async def test_a_log_set_aside_alarms_over_restarts_until_an_operator_has_seen_it(
    tmp_path, world, autojump_clock
):
    folder = tmp_path / "data"
    async with desk(tmp_path, world) as here:
        await put(here.store, fix(1))
    (folder / "log.sqlite").write_bytes(b"no log at all " * 1000)
    for suffix in ("-wal", "-shm"):
        (folder / f"log.sqlite{suffix}").unlink(missing_ok=True)
    async with desk(tmp_path, world) as here:
        assert (await here.status())["state"] == "unhealthy"
    async with desk(tmp_path, world) as here:
        alarmed = await here.status()
        done = await here.do("resume", name="log")
        after = await here.status()
        again = await here.say("resume", name="log")
    async with desk(tmp_path, world) as here:
        restarted = await here.status()

    (aside,) = folder.glob("aside-*")
    assert alarmed["state"] == "unhealthy"
    assert "fleetd resume log" in alarmed["reasons"][0]
    assert "stays where it is" in done["told"]
    assert not any("set aside" in one for one in after["reasons"])
    assert again.status == 400
    assert not any("set aside" in one for one in restarted["reasons"])
    assert (aside / "log.sqlite").read_bytes().startswith(b"no log at all")
