"""Dead letters of both sides: tried again, given up, and counted where they came."""

from __future__ import annotations

import hmac

import pytest
import trio
from msgspec.structs import replace

from fleetd.errors import PayloadError
from fleetd.event import Record, pack
from fleetd.providers.contract import Ask, Feed, Page, Turn, Webhook
from fleetd.store import Append, Burial, DeadRecord, Raw
from fleetd.store.small import Unverified
from tests.desk import HOOKED, HOUSE, desk
from tests.store.deeds import counted, crash, drain, fix, imbalances, put

HOUR = 3600


def mended(body: bytes) -> list:
    """A normalizer that learned to read what was bad."""
    return [fix(7)] if body == b"bad" else HOOKED.normalize["e"](body)


async def letters(here) -> list:
    return (await here.ask("/api/dead"))["dead"]


async def hourly(here, name: str, side: str) -> set:
    number = here.store.log.names[side, name]
    rows = here.store.log.db.execute(
        "SELECT hour - (SELECT min(hour) FROM totals), outcome, n FROM totals"
        " WHERE scope = ? AND n != 0 AND outcome IN"
        " ('received', 'normalized', 'dead', 'dropped', 'delivered', 'skipped')", (number,)
    )  # fmt: skip
    return set(rows)


async def test_a_record_is_shown_with_its_bytes_and_its_reason(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await put(here.store, b"bad", fix(1))
        (one,) = await letters(here)
        found = await here.ask("/api/letter", id=str(one["id"]))

    assert (one["side"], one["name"], one["why"]) == ("source", "north", "it is bad")
    assert found["body"] == "bad"


async def test_a_record_read_with_newer_code_leaves_the_hour_it_came_in(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await put(here.store, b"bad")
        await trio.sleep(2 * HOUR)
        here.board.providers["north"] = replace(HOOKED, normalize={"e": mended})
        found = await here.do("dead", action="retry", name="north")

        assert (found["taken"], found["still_dead"]) == (1, 0)
        assert await letters(here) == []
        assert await hourly(here, "north", "source") == {
            (0, "received", 1), (0, "normalized", 1),
        }  # fmt: skip
        assert await imbalances(here.store) == []
        assert (await here.ask("/api/show", seq="1"))["event"]["origin"] == "recovered"


async def test_a_record_that_still_cannot_be_read_stays_with_its_new_reason(
    tmp_path, world, autojump_clock
):
    def worse(_body: bytes) -> list:
        raise PayloadError("now for another reason")

    async with desk(tmp_path, world) as here:
        await put(here.store, b"bad")
        here.board.providers["north"] = replace(HOOKED, normalize={"e": worse})
        found = await here.do("dead", action="retry", all=True)

        assert (found["taken"], found["still_dead"]) == (0, 1)
        assert [one["why"] for one in await letters(here)] == ["now for another reason"]
        assert await imbalances(here.store) == []


async def test_a_whole_body_that_can_now_be_split_balances_too(
    tmp_path, world, autojump_clock
):
    body = pack(fix(1)) + b"\nbad\n" + pack(fix(2))
    async with desk(tmp_path, world) as here:
        dead = [DeadRecord("webhook", b"d" * 16, "not JSON", body)]
        received = here.store.next_received_ms()
        await here.store.append(
            Append(
                "north", received, "push", Raw("webhook", body), dead=dead, received=1
            )
        )
        await trio.sleep(HOUR)
        found = await here.do("dead", action="retry", all=True)

        assert found["taken"] == 1
        assert [one["why"] for one in await letters(here)] == ["it is bad"], (
            "one of three"
        )
        assert await hourly(here, "north", "source") == {
            (0, "received", 3), (0, "normalized", 2), (0, "dead", 1),
        }  # fmt: skip
        assert await imbalances(here.store) == []


async def test_dropping_is_counted_in_the_hour_they_came(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await put(here.store, b"bad", b"bad one")
        await bury(here, fix(3))
        await trio.sleep(HOUR)
        found = await here.do("dead", action="drop", all=True)

        assert found == {"dropped": 3, "of": 3, "more": False}
        assert await letters(here) == []
        assert (0, "dropped", 2) in await hourly(here, "north", "source")
        assert (0, "dropped", 1) in await hourly(here, "ops", "sink")
        assert await imbalances(here.store) == []


async def bury(here, event) -> None:
    """An event that the far side of `ops` will never take."""
    await put(here.store, event)
    while True:
        read = await here.store.next_batch("ops", 0, limit=10)
        if read.entries or read.upto <= read.after:
            break
        await here.store.advance(read)
    buried = [Burial(one, "too long", 422, b"no") for one in read.entries]
    await here.store.advance(read, buried=buried)


async def test_an_event_sent_again_moves_from_dead_to_delivered_in_its_hour(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await bury(here, fix(1))
        await put(here.store, *[fix(n) for n in range(2, 9)])
        await drain(here.store)
        await trio.sleep(HOUR)
        found = await here.do("dead", action="retry", name="ops")
        (job,) = found["jobs"]
        read = await here.store.next_batch("ops", 0, limit=100, job=job["job"])

        assert [one.seq for one in read.entries] == [1], "just the letter"
        assert read.upto == 1
        assert await here.store.advance(read, delivered=read.entries)
        assert await letters(here) == []
        assert await hourly(here, "ops", "sink") == {(0, "delivered", 8)}
        assert await imbalances(here.store) == []
        (done,) = (await here.ask("/api/jobs"))["jobs"]
        assert (done["state"], done["done"], done["total"]) == ("done", 1, 1)


async def test_an_event_refused_again_stays_dead_with_the_new_answer(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await bury(here, fix(1))
        found = await here.do("dead", action="retry", name="ops")
        job = found["jobs"][0]["job"]
        read = await here.store.next_batch("ops", 0, limit=100, job=job)
        again = [Burial(one, "still too long", 400, b"NO") for one in read.entries]
        await here.store.advance(read, buried=again)

        (one,) = await letters(here)
        assert (one["why"], one["status"], one["answer"]) == (
            "still too long",
            400,
            "NO",
        )
        assert counted(here.store, "ops") == {"dead": 1}
        (done,) = (await here.ask("/api/jobs"))["jobs"]
        assert (done["state"], done["why"]) == (
            "done",
            "refused, the last: still too long",
        )


PAGER, SOUTH = (
    HOUSE[HOUSE.index("[sinks.pager]") :],
    '[sources.south]\nprovider = "acme"\n',
)


@pytest.mark.parametrize("gone", [PAGER, SOUTH], ids=["sink", "source"])
async def test_with_a_name_gone_from_the_file_nothing_is_retried_at_all(
    tmp_path, world, autojump_clock, gone
):
    async with desk(tmp_path, world) as here:
        await put(here.store, crash(1), b"bad")
        await put(here.store, b"bad", source="south")
        for sink in ("ops", "pager"):
            read = await here.store.next_batch(sink, 1, limit=10)
            buried = [Burial(one, "too long", 422, b"no") for one in read.entries]
            await here.store.advance(read, buried=buried)
    async with desk(tmp_path, world, HOUSE.replace(gone, "")) as here:
        here.board.providers["north"] = replace(HOOKED, normalize={"e": mended})
        before = await letters(here)
        refused = await here.say("dead", action="retry", all=True)

        assert refused.status == 400
        assert len(before) == 4
        assert await letters(here) == before
        assert here.store.jobs() == []


async def test_a_usual_replay_that_delivers_a_dead_letter_clears_it(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await bury(here, fix(1))
        found = await here.do("replay", sink="ops", seq="1:1")
        read = await here.store.next_batch("ops", 0, limit=100, job=found["job"])
        await here.store.advance(read, delivered=read.entries)

        assert await letters(here) == []
        assert counted(here.store, "ops") == {"delivered": 1}


async def test_a_retry_that_is_asked_for_twice_is_one(tmp_path, world, autojump_clock):
    async with desk(tmp_path, world) as here:
        await bury(here, fix(1))
        found = [await here.do("dead", action="retry", name="ops") for _ in range(2)]
        await bury(here, fix(2))
        more = await here.do("dead", action="retry", name="ops")

    assert found[0]["jobs"] == found[1]["jobs"]
    assert found[0]["jobs"][0]["job"] != more["jobs"][0]["job"]
    assert more["jobs"][0]["events"] == 1  # the first is on its way already


async def test_letters_go_in_as_many_batches_as_the_sink_takes(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        for n in range(5):
            await bury(here, fix(n))
        await put(here.store, crash(9))
        job = (await here.do("dead", action="retry", name="ops"))["jobs"][0]["job"]
        sent = []
        while here.store.replays("ops"):
            read = await here.store.next_batch("ops", 0, limit=2, job=job)
            sent.append([one.seq for one in read.entries])
            await here.store.advance(read, delivered=read.entries)

    assert sent == [[1, 2], [3, 4], [5]]


async def test_letters_are_read_no_more_at_a_time_than_there_is_memory_for(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        for n in range(3):
            await bury(here, fix(n))
        job = (await here.do("dead", action="retry", name="ops"))["jobs"][0]["job"]
        read = await here.store.next_batch("ops", 0, limit=9, max_bytes=1, job=job)

    assert ([one.seq for one in read.entries], read.upto) == ([1], 1)


def sign(body: bytes, secret: bytes = b"north-secret") -> str:
    return hmac.digest(secret, body, "sha256").hex()


async def test_bodies_that_fit_the_corrected_secret_are_taken_in(
    tmp_path, world, autojump_clock
):
    good, foreign = pack(fix(1)), pack(fix(2))
    async with desk(tmp_path, world) as here:
        for body, signature in ((good, sign(good)), (foreign, sign(foreign, b"other"))):
            headers = f'{{"x-signature":"{signature}"}}'
            now = here.store.next_received_ms()
            await here.store.join(Unverified("north", now, "peer", "no", headers, body))
        found = await here.do("dead", action="retry", unverified="north")
        again = await here.do("dead", action="retry", unverified="north")
        events = await here.ask("/api/events")

    assert (found["taken"], found["still_unverified"]) == (1, 1)
    assert (again["taken"], again["still_unverified"]) == (0, 1)
    assert [one["id"] for one in events["events"]] == ["p1"]


@pytest.mark.parametrize(
    ("order", "said"),
    [({"action": "retry"}, "say which"), ({"action": "eat", "all": True}, "no action"),
     ({"action": "retry", "ids": [99]}, "no dead letter 99"),
     ({"action": "retry", "name": "pager"}, "pager has no dead letters"),
     ({"action": "retry", "unverified": "nroth"}, "did you mean 'north'"),
     ({"action": "retry", "unverified": "south"}, "no webhook_secret")],
)  # fmt: skip
async def test_what_cannot_be_meant_is_refused(
    order, said, tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        if "unverified" in order:
            await here.store.join(Unverified("south", 1, "p", "no", "{}", b"x"))
        found = await here.say("dead", **order)

    assert found.status == 400
    assert said in found.json["error"]
    assert found.json["exit"] == 2


def test_the_mended_normalizer_is_the_only_difference():
    assert isinstance(HOOKED.webhook, Webhook)
    with pytest.raises(PayloadError):
        HOOKED.normalize["e"](b"bad")


async def bury_page(here, body: bytes) -> None:
    dead = [DeadRecord("page:rows", b"p" * 16, "no page", body)]
    received = here.store.next_received_ms()
    raw = Raw("page:rows", b"")
    await here.store.append(
        Append("north", received, "poll", raw, dead=dead, received=1)
    )


def rows_of(_ask: Ask, body: bytes, turn: Turn) -> Page:
    if not body.startswith(b"rows"):
        raise PayloadError("no rows in it")
    return Page([Record("e", one) for one in body.split(b"\n")[1:]], "elsewhere")


ROWS = Feed("rows", 60.0, lambda _turn: Ask("/rows"), rows_of)


async def test_a_page_that_can_now_be_read_is_taken_in_and_moves_no_bookmark(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await bury_page(here, b"rows\n" + pack(fix(1)) + b"\n" + pack(fix(2)))
        here.board.providers["north"] = replace(HOOKED, feeds=(ROWS,))
        found = await here.do("dead", action="retry", all=True)

        assert (found["taken"], found["still_dead"]) == (1, 0)
        assert await letters(here) == []
        assert here.store.newest == 2
        assert here.store.bookmark("north", "rows") is None
        assert await imbalances(here.store) == []


@pytest.mark.parametrize(
    ("feeds", "body", "why"),
    [
        ((), b"rows", "no feed rows any more: drop this letter"),
        ((ROWS,), b"<html>", "it is a web page"),
        ((ROWS,), b"x" * (1 << 20), "only the first MiB is kept"),
        ((replace(ROWS, parts=True),), b"rows", "a page of one vehicle"),
        ((replace(ROWS, ask=lambda _turn: None),), b"rows", "nothing to ask just now"),
    ],
)
async def test_a_page_that_cannot_be_read_again_says_why_and_what_to_do(
    feeds, body, why, tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await bury_page(here, body)
        here.board.providers["north"] = replace(HOOKED, feeds=feeds)
        found = await here.do("dead", action="retry", all=True)

        assert (found["taken"], found["still_dead"]) == (0, 1)
        assert why in found["still"][0]["why"]
        assert "drop this letter" in found["still"][0]["why"]
        assert await imbalances(here.store) == []
