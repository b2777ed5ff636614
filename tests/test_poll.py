"""Feeds in: pages and bookmarks, refusals and holds, and far sides that lie."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from datetime import datetime, timedelta

import httpx
import msgspec
import pytest
import trio
from msgspec.structs import replace

from fleetd.directory import Directory
from fleetd.event import Record, millis
from fleetd.providers.contract import Page, Past, Turn
from fleetd.tasks.coverage import caught
from fleetd.tasks.intake import Arrival, take_in_turns
from fleetd.tasks.poll.page import Sheet, portions
from fleetd.tasks.poll.trail import Trail
from tests.conftest import MORNING
from tests.polling import (
    ACME,
    FIXES,
    PEOPLE,
    UNITS,
    Asked,
    Far,
    feed,
    fix,
    page,
    polled,
)


def three_pages(asked: Asked):
    at = int(asked.params["at"] or 0)
    return page(fix(at), next=str(min(at + 1, 3)), more=at + 1 < 3)


async def test_pages_come_at_once_until_the_vendor_says_that_no_more_waits(
    autojump_clock, tmp_path
):
    far = Far(three_pages)
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: len(far.asked) >= 5)

        assert source.ids()[:3] == ["p0", "p1", "p2"]
        assert [one.params["at"] for one in far.asked[:4]] == ["", "1", "2", "3"]
        assert far.asked[2].at < 1
        assert far.asked[3].at >= 30
        assert source.states() == {"fixes": "waiting"}
        assert source.balanced()


async def test_a_run_that_ends_between_pages_goes_on_with_the_very_next_one(
    autojump_clock, tmp_path
):
    far = Far(three_pages)
    far.script = [three_pages, httpx.ConnectError("gone")]
    far.script[0] = page(fix(0), next="1", more=True)
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: len(far.asked) >= 2)
    before = len(far.asked)

    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: source.store.bookmark("north", "fixes") == "3")

        assert far.asked[before].params["at"] == "1"
        assert sorted(source.ids()) == ["p0", "p1", "p2"]


async def test_a_new_feed_is_told_where_to_begin_and_an_old_one_is_not(
    autojump_clock, tmp_path
):
    far = Far(lambda _asked: page(next="b"))
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: len(far.asked) >= 2)

    assert far.asked[0].params["since"].startswith("2026-11-21T06:00")
    assert far.asked[1].params["since"] == ""


async def test_how_things_stand_says_nothing_of_what_came_between(
    autojump_clock, tmp_path
):
    past = Past(FIXES.ask, FIXES.unpack, within=timedelta(days=9))
    shown = replace(FIXES, name="shown", snapshot=True, past=past)
    far = Far(lambda _asked: page(fix(1)))
    async with polled(tmp_path, far, FIXES, shown) as source:
        await trio.sleep(100)

        assert source.store.recall(caught("north", "fixes"))["ms"] > millis(MORNING)
        assert source.store.recall(caught("north", "shown")) == {}, "that is compared"


async def test_a_feed_that_was_not_answered_yet_begins_there_also_after_a_restart(
    autojump_clock, tmp_path
):
    far = Far(lambda _asked: 503)
    async with polled(tmp_path, far, FIXES) as source:
        await trio.sleep(3600)
    far.answer = lambda _asked: page(next="b")

    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: source.store.bookmark("north", "fixes") == "b")

    first = [one for one in far.asked if not one.params["at"]]
    assert {one.params["since"][:16] for one in first} == {"2026-11-21T06:00"}


@pytest.mark.parametrize(
    "body",
    [b"<html>maintenance</html>", b'{"items": [', b'{"error": 1}', b"", b"[]"],
)
async def test_a_page_that_cannot_be_read_is_kept_once_and_holds_its_feed(
    body, autojump_clock, tmp_path
):
    far = Far(lambda _asked: body)
    far.first = {"/fixes": [page(fix(1), next="1")]}
    async with polled(tmp_path, far, FIXES, PEOPLE) as source:
        await source.until(lambda: len(far.paths()) > 20 and far.asked[-1].at > 3600)

        pages = [one for one in source.dead() if one[0] == "page:fixes"]
        assert [one[2] for one in pages] == [body]
        assert source.states()["fixes"] == "held"
        assert "/fixes" in source.healths["fixes"].why
        assert source.alerts().count(("feed_held", "fixes")) == 1
        assert source.store.bookmark("north", "fixes") == "1"
        assert source.balanced()

        far.answer = lambda _asked: page(fix(2), next="2", whole=True)
        await source.until(lambda: source.states()["fixes"] == "waiting")

        assert source.alerts().count(("feed_resumed", "fixes")) == 1
        assert far.asked[-1].params["at"] in {"1", "", "2"}
        assert "p2" in source.ids()
        assert source.balanced()


async def test_what_is_held_is_told_once_over_restarts(autojump_clock, tmp_path):
    far = Far(lambda _asked: b"<html>")
    for _ in range(3):
        async with polled(tmp_path, far, FIXES) as source:
            await source.until(lambda: source.states() == {"fixes": "held"})
            await trio.sleep(700)
            assert source.alerts() == [("feed_held", "fixes")]
            assert len(source.dead()) == 1

    far.answer = lambda _asked: page(next="1")
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: len(source.alerts()) == 2)
        assert source.alerts()[1] == ("feed_resumed", "fixes")


async def test_a_refused_token_holds_the_polling_and_one_question_tries_it(
    autojump_clock, tmp_path
):
    far = Far(lambda _asked: 401)
    async with polled(
        tmp_path, far, FIXES, PEOPLE, feed("more"), receives=True
    ) as source:
        await source.until(lambda: set(source.states().values()) == {"held"})
        first = len(far.asked)
        await trio.sleep(3000)

        assert first <= 3
        assert 9 <= len(far.asked) - first <= 11
        assert source.healths["fixes"].why in {
            f"north: Acme refused the token (401 on {path}). Wrong token, or an account of "
            "another region? Webhooks still arrive. Fix sources.north.token."
            for path in ("/fixes", "/people", "/more")
        }
        assert source.alerts() == [("polling_held", "")]

        far.answer = lambda _asked: page(next="1", whole=True)
        await source.until(lambda: set(source.states().values()) == {"waiting"}, 400)

        assert source.alerts() == [("polling_held", ""), ("polling_resumed", "")]
        assert source.balanced()


async def test_a_token_refused_to_one_feed_alone_holds_up_no_other(
    autojump_clock, tmp_path
):
    far = Far(
        lambda asked: 401 if asked.path == "/people" else page(next="1", whole=True)
    )
    async with polled(tmp_path, far, UNITS, PEOPLE, FIXES) as source:
        await trio.sleep(6 * 3600)

        assert source.states()["people"] == "held"
        assert "Other calls are answered" in source.healths["people"].why
        assert far.paths().count("/fixes") > 600
        assert source.alerts()[-1] == ("feed_held", "people")
        assert len(source.alerts()) == 3

        far.answer = lambda _asked: page(next="1", whole=True)
        await source.until(lambda: source.states()["people"] == "waiting", 400)
        far.answer = lambda _asked: 401
        await source.until(lambda: source.states()["people"] == "held", 4000)

        assert source.alerts()[-1] == ("polling_held", "")


async def test_whose_call_was_not_refused_tries_a_refused_token_first(
    autojump_clock, tmp_path
):
    far = Far(lambda asked: 401 if asked.path == "/people" else page(next="1"))
    slow = feed("slow", every=900.0)
    for run in range(10):  # whoever wakes first would try it
        async with polled(tmp_path / str(run), far, PEOPLE, FIXES) as source:
            await trio.sleep(340)

            assert source.states()["fixes"] == "waiting"
            assert source.states()["people"] == "held"
    async with polled(tmp_path, far, PEOPLE, slow) as source:
        await trio.sleep(6 * 3600)

        assert source.alerts().count(("polling_held", "")) == 1


async def test_an_operator_who_resumes_has_a_refused_token_tried_at_once(
    autojump_clock, tmp_path
):
    far = Far(lambda _asked: 401)
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: source.states() == {"fixes": "held"})
        far.answer = lambda _asked: page(next="1")
        await source.store.pause("north", paused=False)
        source.store.nudge("north")
        await source.until(lambda: source.states() == {"fixes": "waiting"}, 10)


async def test_a_missing_permission_holds_that_feed_alone_and_names_it(
    autojump_clock, tmp_path
):
    far = Far(
        lambda asked: 403 if asked.path == "/fixes" else page(next="1", whole=True)
    )
    async with polled(tmp_path, far, FIXES, PEOPLE) as source:
        await source.until(lambda: source.states()["fixes"] == "held")
        await trio.sleep(900)

        assert "(403); it needs Read Fixes" in source.healths["fixes"].why
        assert source.states()["people"] == "waiting"
        assert 3 <= far.paths().count("/fixes") <= 5
        assert source.alerts() == [("feed_held", "fixes")]


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 410, 422])
async def test_what_can_not_come_right_by_itself_is_tried_every_few_minutes(
    status, autojump_clock, tmp_path
):
    headers = {"location": "http://elsewhere.example/"}
    far = Far(lambda _asked: httpx.Response(status, headers=headers))
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: source.states() == {"fixes": "held"})
        await trio.sleep(1000)

        assert str(status) in source.healths["fixes"].why
        assert {one.host for one in far.asked} == {"acme.example"}
        assert 3 <= len(far.asked) <= 5


async def test_a_vendor_that_says_no_in_its_own_way_holds_the_feed(
    autojump_clock, tmp_path
):
    far = Far(lambda _asked: {"error": "not yours"})
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: source.states() == {"fixes": "held"})

        assert source.healths["fixes"].why == "this account has no such product"
        assert source.dead() == []


@pytest.mark.parametrize(
    "trouble",
    [500, 502, 503, 408, 204, 206, httpx.ConnectError("no"), httpx.ReadTimeout("slow")],
)
async def test_a_vendor_that_is_unwell_is_asked_the_same_again_ever_more_slowly(
    trouble, autojump_clock, tmp_path
):
    far = Far(lambda _asked: trouble)
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: len(far.asked) >= 8)

        times = [one.at for one in far.asked]
        assert times[-1] - times[0] > 60
        assert source.states() == {"fixes": "failing"}
        assert source.dead() == source.alerts() == []

        far.answer = three_pages
        await source.until(lambda: source.states() == {"fixes": "waiting"})
        assert source.store.bookmark("north", "fixes") == "3"


async def test_it_waits_as_long_as_it_is_asked_to(autojump_clock, tmp_path):
    far = Far(lambda _asked: page(next="1"))
    far.script = [httpx.Response(429, headers={"retry-after": "90.5"})]
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: len(far.asked) == 2)

    assert far.asked[1].at - far.asked[0].at >= 90.5


async def test_a_pause_stops_the_questions_and_resuming_begins_them_again(
    autojump_clock, tmp_path
):
    far = Far(lambda _asked: page(next="1"))
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: len(far.asked) >= 2)
        await source.store.pause("north", paused=True)
        await trio.sleep(100)
        before = len(far.asked)
        await trio.sleep(1000)

        assert len(far.asked) == before
        assert source.states() == {"fixes": "paused"}

        await source.store.pause("north", paused=False)
        await source.until(lambda: len(far.asked) > before, 60)


async def test_a_bookmark_that_the_vendor_forgot_is_dropped_and_made_up_for_once(
    autojump_clock, tmp_path
):
    def answer(asked: Asked):
        if asked.params["at"] == "old":
            return {"error": "expired"}
        return page(fix(2), next="new")

    far = Far(answer)
    far.script = [page(fix(1), next="old")]
    async with polled(tmp_path, far, FIXES, every=600) as source:
        await source.until(lambda: source.store.bookmark("north", "fixes") == "new")
        again = far.asked[2]
        assert again.params["at"] == ""
        assert again.params["since"].startswith("2026-11-21T05:55")  # an overlap
        assert [one.isoformat()[:16] for one in source.recovered] == [
            "2026-11-21T05:55"
        ]
        await source.until(lambda: len(far.asked) >= 5)
        assert len(source.recovered) == 1


async def test_a_bookmark_forgotten_while_the_vendor_is_unwell_is_made_up_for_once(
    autojump_clock, tmp_path
):
    far = Far(lambda _asked: page(fix(2), next="new"))
    expired, down = {"error": "expired"}, 503
    far.script = [page(next="old"), expired, down, expired, down, expired]
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: source.store.bookmark("north", "fixes") == "new")

        assert len(source.recovered) == 1


async def test_a_vendor_that_forgets_even_what_nobody_told_it_is_held(
    autojump_clock, tmp_path
):
    far = Far(lambda _asked: {"error": "expired"})
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: source.states() == {"fixes": "held"})

        assert "though we gave it none" in source.healths["fixes"].why


async def test_one_bad_record_does_not_spoil_its_page(autojump_clock, tmp_path):
    bad = {"n": 2, "v": "v7", "bad": True}
    far = Far(lambda _asked: page(next="9"))
    far.script = [page(fix(1), bad, fix(3), next="9")]
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: len(far.asked) >= 2)

        assert source.ids() == ["p1", "p3"]
        assert [(feed, why) for feed, why, _ in source.dead()] == [
            ("fixes", "v7: it is bad")
        ]
        assert source.store.bookmark("north", "fixes") == "9"
        assert source.balanced()


# far sides that lie


@pytest.mark.parametrize("circle", [1, 2, 7])
async def test_pages_in_a_circle_hold_the_feed(circle, autojump_clock, tmp_path):
    def answer(asked: Asked):
        at = int(asked.params["at"] or 0)
        return page(fix(at), next=str((at + 1) % circle), more=True)

    far = Far(answer)
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: source.states() == {"fixes": "held"})
        await trio.sleep(1000)

        assert "circle" in source.healths["fixes"].why
        assert len(far.asked) < 10 * (circle + 1)


async def test_empty_pages_without_end_are_asked_for_ever_more_slowly(
    autojump_clock, tmp_path
):
    def answer(asked: Asked):
        return page(next=str(int(asked.params["at"] or 0) + 1), more=True)

    far = Far(answer)
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: far.asked and far.asked[-1].at > 600)

        assert len(far.asked) < 750


def test_after_very_many_empty_pages_the_feed_keeps_its_own_pace():
    trail = Trail(None)
    rests = [trail.step(as_page(n), 30.0) for n in range(10_100)]

    assert rests[99] == 0
    assert rests[200] == 1
    assert rests[-1] == 30


def test_so_it_does_after_very_many_pages_that_bring_nothing_new():
    trail, pages = Trail(None), iter(range(40_000))
    fresh, stale, again = (
        [trail.step(as_page(next(pages), ONE), 30.0, news) for _ in range(10_100)]
        for news in (1, 0, 1)
    )

    assert set(fresh) == set(again) == {0}
    assert (stale[9_000], stale[-1]) == (0, 30)


ONE = (Record("fixes", b"{}"),)


def as_page(number: int, records: Sequence[Record] = ()):
    return Page(records, str(number), more=True)


async def test_a_page_of_very_many_goes_in_slices_and_its_bookmark_with_the_last(
    autojump_clock, tmp_path
):
    many = [fix(n) if n != 4321 else {**fix(n), "bad": True} for n in range(5001)]
    far = Far(lambda _asked: page(next="9"))
    far.script = [page(*many[:5000], next="1"), page(*many, next="2")]
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: source.store.bookmark("north", "fixes") == "1")
        whole = source.rows("SELECT count(*) FROM raw")
        await source.until(lambda: len(far.asked) >= 3)

        assert whole == [(1,)]
        assert [one.params["at"] for one in far.asked[:3]] == ["", "1", "2"]
        assert len(source.ids()) == 5000
        assert [body for _, _, body in source.dead()] == [
            json.dumps(many[4321], separators=(",", ":")).encode()
        ]
        assert source.balanced()


@pytest.mark.parametrize("clean", [True, False])
def test_slices_hold_every_record_once_and_only_the_last_moves_the_bookmark(clean):
    records = [Record("fixes", b'{"n":%d}' % n) for n in range(4001)]
    records[10] = Record("fixes", b'"%b"' % (b"x" * (5 << 20)))
    sheet = Sheet(Page(records, "new"), None, clean)
    found = list(portions(sheet, "fixes", "old", ACME))

    assert [one for some, _, _ in found for one in some] == records
    assert [len(some) for some, _, _ in found] == [10, 1, 2000, 1990]
    assert [
        msgspec.json.decode(raw, type=list[msgspec.Raw]) for _, raw, _ in found
    ] == [[msgspec.Raw(one.body) for one in some] for some, _, _ in found]
    assert [mark for _, _, mark in found] == [("fixes", "old")] * 3 + [("fixes", "new")]


async def test_a_page_beyond_64_mib_is_not_taken(autojump_clock, tmp_path):
    far = Far(lambda _asked: b" " * ((64 << 20) + 1))
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: source.states() == {"fixes": "held"})

        assert "64 MiB" in source.healths["fixes"].why


async def test_a_small_answer_that_inflates_to_a_huge_one_is_not_taken(
    autojump_clock, tmp_path
):
    bomb = gzip.compress(b" " * (80 << 20))
    packed = {"content-encoding": "gzip"}
    far = Far(lambda _asked: httpx.Response(200, content=b"", headers={}))
    far.answer = lambda _asked: Packed(bomb, packed)
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: source.states() == {"fixes": "held"})

        assert "64 MiB" in source.healths["fixes"].why


class Packed(httpx.Response):
    """An answer whose bytes are sent as they are, whatever its headers say."""

    def __init__(self, body: bytes, headers: dict[str, str]) -> None:
        super().__init__(200, headers=headers, stream=httpx.ByteStream(body))
        self._body = body

    @property
    def content(self) -> bytes:
        return self._body


@pytest.mark.parametrize("coding", ["gzip, gzip", "br", "zstd"])
async def test_an_encoding_that_nobody_asked_for_is_not_read(
    coding, autojump_clock, tmp_path
):
    far = Far(lambda _asked: Packed(b"x", {"content-encoding": coding}))
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: source.states() == {"fixes": "failing"})

        assert coding in source.healths["fixes"].why
        assert far.asked[0].headers["accept-encoding"] == "gzip"


async def test_the_token_is_sent_and_never_told(autojump_clock, tmp_path):
    far = Far(lambda _asked: b"<html>a-token-of-acme</html>")
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(source.dead)

        assert far.asked[0].headers["authorization"] == "Bearer a-token-of-acme"
        assert b"a-token-of-acme" not in b"".join(one[2] for one in source.dead())


def test_acme_is_what_these_tests_think_it_is():
    assert ACME.limits.per_second == 50


# what comes and goes


async def test_a_feed_that_comes_and_goes_is_told_once(autojump_clock, tmp_path):
    far = Far(
        lambda asked: page(next="1") if len(far.asked) % 2 else b"<html>%d" % asked.at
    )
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: far.asked and far.asked[-1].at > 2 * 3600)

        assert len(far.asked) > 200
        assert len(source.alerts()) <= 2 * 3
        assert len(source.dead()) <= 3
        assert source.balanced()


async def test_a_feed_held_again_is_told_once_it_stays_so(autojump_clock, tmp_path):
    far = Far(lambda _asked: 404)
    far.script = [404, page(next="1")]
    async with polled(tmp_path, far, FIXES) as source:
        await trio.sleep(500)
        assert [one for one, _ in source.alerts()] == ["feed_held", "feed_resumed"]

        await trio.sleep(1800)
        assert [one for one, _ in source.alerts()] == [
            "feed_held", "feed_resumed", "feed_held",
        ]  # fmt: skip


async def test_a_clock_that_lost_the_time_leads_no_bookmark_back(
    autojump_clock, tmp_path
):
    far = Far(lambda _asked: page(fix(1), next="1"))
    asked_at: list[datetime] = []

    def ask(turn: Turn):
        asked_at.append(turn.now)
        return FIXES.ask(turn)

    watched = replace(FIXES, ask=ask)
    async with polled(tmp_path, far, watched) as source:
        await source.until(source.ids)
    last = asked_at[-1]
    yesterday = {
        "now": lambda: MORNING - timedelta(days=400),
        "synchronised": lambda: False,
    }
    async with polled(tmp_path, far, watched, **yesterday) as source:
        await source.until(lambda: asked_at[-1] is not last)

        assert asked_at[-1] >= last


async def test_a_source_that_was_renamed_keeps_what_is_held_and_is_told_nothing_twice(
    autojump_clock, tmp_path
):
    far = Far(lambda _asked: 404)
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(source.alerts)
        await source.store.register_sources({"south": "acme"}, {"south": "north"})

        assert source.store.recall("held:south/fixes")["why"]
        assert source.store.recall("held:north/fixes") == {}


async def test_what_fleetd_says_of_a_source_is_no_word_from_it(
    autojump_clock, tmp_path
):
    far = Far(lambda _asked: 404)
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(source.alerts)

        assert source.store.heard == {}
        assert source.rows("SELECT name FROM kept WHERE name GLOB 'heard:*'") == []


async def test_a_big_page_lets_others_have_their_turn():
    records = [Record("fixes", b'{"n":%d,"v":"v1"}' % n) for n in range(3000)]
    arrival = Arrival("north", ACME, millis(MORNING), "poll")
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        append = await take_in_turns(
            arrival, records, Directory(), raw=None, bookmark=("fixes", "1")
        )
        nursery.cancel_scope.cancel()

    assert [made.part for made in append.made] == list(range(3000))
    assert append.received == append.normalized == 3000
    assert turns >= 3000 // 256 / 2  # whoever is ready goes in any order


async def test_a_held_feed_is_not_hurried_by_jobs_that_get_on(autojump_clock, tmp_path):
    far = Far(lambda _asked: 404)
    async with polled(tmp_path, far, FIXES, feed("more")) as source:
        await source.until(lambda: set(source.states().values()) == {"held"})
        for _ in range(200):
            source.store.ring("north")
            await trio.sleep(1)
        assert len(far.asked) == 2

        source.store.nudge("north")
        await trio.sleep(1)
        assert sorted(far.paths()) == ["/fixes", "/fixes", "/more", "/more"]
