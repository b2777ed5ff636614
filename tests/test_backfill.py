"""Past windows: cut in pieces, asked for under one budget, whole after any stop; what was missed is found."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

import httpx
import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from fleetd import config
from fleetd.clock import Clock
from fleetd.errors import AbsentError, ExpiredError, PayloadError
from fleetd.event import AnyEvent, Position, Record, millis, moment_of
from fleetd.pace import Breaker
from fleetd.providers.contract import (
    Ask,
    Feed,
    Limits,
    Page,
    Past,
    Provider,
    Turn,
)
from fleetd.providers.windows import EARLIEST, Window, went_on, window
from fleetd.store import Store, open_store
from fleetd.tasks.backfill import backfills, pieces
from fleetd.tasks.budget import Budgets
from fleetd.tasks.control.backfill import add_job
from fleetd.tasks.coverage import caught, coverage
from fleetd.tasks.poll import Account, Credential, open_credential
from fleetd.tasks.reconcile import reconcile
from fleetd.tasks.report.jobs import jobs_of
from fleetd.tasks.supervise import Health, keep_alive
from fleetd.world import World
from tests.conftest import MORNING, virtual_world

EVERY = timedelta(minutes=10)
EARLY, LATE = (moment.replace(tzinfo=None) for moment in (EARLIEST, MORNING))
SIX_DAYS = (MORNING - timedelta(days=6), MORNING)
PAGE = 50


class Far:
    """A vendor with a fix every ten minutes, page by page; it can be unwell."""

    def __init__(self) -> None:
        self.asked: list[httpx.Request] = []
        self.script: list[httpx.Response | Exception] = []
        self.news = trio.Event()

    async def was_asked(self, times: int) -> None:
        while len(self.asked) < times:
            self.news = trio.Event()
            await self.news.wait()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        self.asked.append(request)
        self.news.set()
        if self.script:
            found = self.script.pop(0)
            if isinstance(found, Exception):
                raise found
            return fresh(found)
        return fresh(httpx.Response(200, content=self.page(dict(request.url.params))))

    def page(self, asked: dict[str, str]) -> bytes:
        since, until = int(asked["since"]), int(asked["until"])
        part, at = asked.get("part", "v1"), int(asked.get("page") or 0)
        fixes = [{"t": ms, "v": part} for ms in times(since, until)]
        rest = len(fixes) > at + PAGE
        body = {"items": fixes[at : at + PAGE], "next": str(at + PAGE) if rest else ""}
        return msgspec.json.encode(body)


def fresh(response: httpx.Response) -> httpx.Response:
    """As it comes from a socket: nobody has read it yet."""
    body = httpx.ByteStream(response.content)
    return httpx.Response(response.status_code, headers=response.headers, stream=body)


def times(since: int, until: int) -> range:
    step = int(EVERY.total_seconds() * 1000)
    return range(-(-since // step) * step, until, step)


def ask(turn: Turn, longest: timedelta = timedelta(days=1)) -> Ask | None:
    found = window(turn, longest=longest)
    if found is None:
        return None
    span = {"since": str(millis(found.since)), "until": str(millis(found.until))}
    more = {"page": found.page or "", "part": turn.part or "v1"}
    return Ask("/fixes", params={**span, **more})


def unpack(asked: Ask, body: bytes, turn: Turn) -> Page:
    try:
        page = msgspec.json.decode(body)
        items, after = page["items"], page["next"]
    except (msgspec.DecodeError, KeyError, TypeError) as bad:
        raise PayloadError(f"not a page: {bad}") from bad
    if "expired" in page:
        raise ExpiredError("it forgot where we were")
    if "absent" in page:
        raise AbsentError("it is switched off")
    spans = (moment_of(int(str(asked.params[one]))) for one in ("since", "until"))
    bookmark, more = went_on(Window(*spans), after or None, turn)
    records = [Record("fixes", msgspec.json.encode(one)) for one in items]
    return Page(records, bookmark, more)


def normalize(body: bytes) -> Iterator[AnyEvent]:
    one = msgspec.json.decode(body)
    yield Position(
        id=f"{one['v']}@{one['t']}", at=moment_of(one["t"]), vehicle=one["v"],
        latitude=1.0, longitude=2.0,
    )  # fmt: skip


def vendor(*, parts: bool = False, per_second: float = 50.0) -> Provider:
    past = Past(ask, unpack, within=timedelta(days=90), call="GET /fixes", parts=parts)
    feed = Feed("fixes", 60.0, ask, unpack, kinds=("position",), past=past)
    limits = Limits(per_second=per_second)
    return Provider(
        "acme", {"fixes": normalize}, title="Acme", base_url="https://acme.example",
        feeds=(feed,), limits=limits,
    )  # fmt: skip


class House:
    """One source with its backfills running."""

    def __init__(self, store: Store, credential: Credential, world: World) -> None:
        self.store, self.credential, self.world = store, credential, world
        self.feed = credential.account.provider.feeds[0]
        self.config = config.House(
            config.Daemon(data=Path()), sources={"north": config.Source("acme")}
        )

    async def ask_for(
        self, since: datetime, until: datetime, parts: tuple[str, ...] = ()
    ) -> int:
        now = millis(self.world.now())
        add = add_job("north", self.feed, (since, until), parts, now)
        return (await self.store.add_job(add)).id

    async def ended(self, job: int) -> str:
        while True:
            found = next(one for one in self.store.jobs() if one.id == job)
            if found.state not in {"running", "paused"}:
                return found.state
            await trio.sleep(1)

    def fixes(self) -> list[int]:
        query = "SELECT at_ms FROM events WHERE kind = 1 ORDER BY at_ms"
        return [ms for (ms,) in self.store.log.db.execute(query)]

    def origins(self) -> set[int]:
        query = "SELECT DISTINCT origin FROM events WHERE kind = 1"
        return {one for (one,) in self.store.log.db.execute(query)}

    def places(self) -> int:
        query = "SELECT count(*) FROM bookmarks WHERE feed LIKE 'job:%'"
        return int(self.store.log.db.execute(query).get)


@asynccontextmanager
async def house(
    folder: Path, far: Far, provider: Provider | None = None
) -> AsyncIterator[House]:
    world = virtual_world()
    world = World(
        now=world.now, steady=trio.current_time, synchronised=lambda: True,
        chance=world.chance, in_thread=world.in_thread, environ={}, threads=False,
        transport=httpx.MockTransport(far),
    )  # fmt: skip
    account = Account(
        "north", provider or vendor(), "https://acme.example", lambda: "t"
    )
    async with (
        open_store(folder, world) as store,
        open_credential(account, Budgets(world, store), store, world) as credential,
        trio.open_nursery() as nursery,
    ):
        await store.register_sources({"north": "acme"})
        feeds = {one.name: one for one in account.provider.feeds}
        for repairs in (False, True):
            health = Health(world.now)
            run = partial(
                backfills, credential, feeds, store=store, world=world, health=health,
                clock=Clock(world), repairs=repairs,
            )  # fmt: skip
            name, breaker = f"backfill{repairs}", Breaker(world.chance)
            nursery.start_soon(keep_alive, name, run, health, breaker)
        yield House(store, credential, world)
        nursery.cancel_scope.cancel()


def wanted(since: datetime, until: datetime) -> list[int]:
    return list(times(millis(since), millis(until)))


async def test_a_window_of_days_comes_whole_and_its_job_ends(tmp_path, autojump_clock):
    async with house(tmp_path, Far()) as here:
        job = await here.ask_for(*SIX_DAYS)
        state = await here.ended(job)

        assert state == "done"
        assert here.fixes() == wanted(*SIX_DAYS)
        assert here.origins() == {2}, "backfill"
        assert here.places() == 0, "what its pieces noted on the way is gone"
        done = here.store.jobs()[0]
        assert (done.cursor, done.done) == (len(wanted(*SIX_DAYS)), done.total)


async def test_a_backfill_goes_on_after_a_stop_where_it_was(tmp_path, autojump_clock):
    far = Far()
    slow = vendor(per_second=0.5)
    async with house(tmp_path, far, slow) as here:
        job = await here.ask_for(*SIX_DAYS)
        with trio.move_on_after(15):
            await here.ended(job)
        before = here.fixes()
    first = len(far.asked)
    async with house(tmp_path, far, slow) as here:
        assert await here.ended(job) == "done"
        found = here.fixes()

    assert 0 < len(before) < len(found)
    assert found == wanted(*SIX_DAYS)
    assert len(far.asked) - first < 25, "what was whole is not asked for again"


async def test_a_vendor_that_is_unwell_delays_and_loses_nothing(
    tmp_path, autojump_clock
):
    far = Far()
    far.script = [
        httpx.Response(500), httpx.Response(429, headers={"retry-after": "2.5"}),
        httpx.ConnectError("no way"), httpx.Response(200, content=b"<html>"),
        httpx.Response(401), httpx.Response(200, content=b'{"items":'),
    ]  # fmt: skip
    async with house(tmp_path, far) as here:
        job = await here.ask_for(*SIX_DAYS)

        assert await here.ended(job) == "done"
        assert here.fixes() == wanted(*SIX_DAYS)
        pages = here.store.log.db.execute("SELECT DISTINCT feed FROM dead").get
        assert pages == "page:fixes", "what could not be read is kept"


async def test_a_page_that_cannot_be_read_is_kept_once_however_often_it_is_asked_for(
    tmp_path, autojump_clock
):
    far, day = Far(), MORNING.replace(hour=0)
    far.script = [httpx.Response(200, content=b"<html>%d" % n) for n in range(20)]
    async with house(tmp_path, far) as here:
        job = await here.ask_for(day - timedelta(days=1), day)

        assert await here.ended(job) == "done"
        assert len(here.fixes()) == 144
        kept = here.store.log.db.execute("SELECT body FROM dead").get
        assert (kept, len(far.script)) == (b"<html>0", 0)
        assert here.store.log.db.execute("SELECT count(*) FROM dead").get == 1


async def test_a_forgotten_place_begins_that_piece_again(tmp_path, autojump_clock):
    far = Far()
    async with house(tmp_path, far) as here:
        job = await here.ask_for(MORNING - timedelta(days=1), MORNING)
        await far.was_asked(2)
        gone = b'{"items":[],"next":"","expired":1}'
        far.script = [httpx.Response(200, content=gone)]

        with trio.fail_after(60):  # no circle, though it comes by the same places
            assert await here.ended(job) == "done"
        assert here.fixes() == wanted(MORNING - timedelta(days=1), MORNING)


async def test_a_vehicle_that_cannot_be_asked_about_is_left_out(
    tmp_path, autojump_clock
):
    far = Far()
    gone = b'{"items":[],"next":"","absent":1}'
    far.script = [httpx.Response(200, content=gone)]
    day = (MORNING - timedelta(days=1), MORNING)
    async with house(tmp_path, far, vendor(parts=True)) as here:
        job = await here.ask_for(*day, parts=("v1", "v2", "v3"))

        assert await here.ended(job) == "done"
        assert len(here.fixes()) == 2 * len(wanted(*day))
        (told,) = jobs_of(here.store.jobs(), here.config)
        assert (told.state, told.done) == ("done", 3)
        assert told.why[:-1] == "1 of 3 not at the vendor: v"  # whoever came first


async def test_a_job_whose_source_left_the_file_waits_and_says_for_what(
    tmp_path, autojump_clock
):
    async with house(tmp_path, Far(), vendor(per_second=0.5)) as here:
        job = await here.ask_for(*SIX_DAYS)
        gone = msgspec.structs.replace(here.config, sources={})
        (told,) = jobs_of(here.store.jobs(), gone)
        (stays,) = jobs_of(here.store.jobs(), here.config)

        assert (stays.state, stays.why) == ("running", "")
        assert told.state == "waiting"
        assert told.why == (
            f"source north is no longer in fleetd.toml; fleetd jobs cancel {job}"
        )
        assert told.left_s is None


async def test_a_job_that_was_cancelled_or_paused_asks_no_more(
    tmp_path, autojump_clock
):
    far = Far()
    async with house(tmp_path, far, vendor(per_second=0.5)) as here:
        job = await here.ask_for(*SIX_DAYS)
        await trio.sleep(11)
        await here.store.change_job(job, "paused")
        await trio.sleep(10)  # what is under way ends
        asked = len(far.asked)
        await trio.sleep(600)
        assert len(far.asked) == asked
        await here.store.change_job(job, "running")
        await trio.sleep(8)
        assert len(far.asked) > asked
        await here.store.change_job(job, "cancelled")
        await trio.sleep(600)

        assert await here.ended(job) == "cancelled"
        assert here.places() == 0
        assert here.fixes() != wanted(*SIX_DAYS)


async def test_a_paused_source_pauses_its_backfills(tmp_path, autojump_clock):
    far = Far()
    async with house(tmp_path, far, vendor(per_second=0.5)) as here:
        await here.store.pause("north", paused=True)
        job = await here.ask_for(*SIX_DAYS)
        await trio.sleep(600)
        asked = len(far.asked)
        await here.store.pause("north", paused=False)

        assert asked == 0
        assert await here.ended(job) == "done"
        assert here.fixes() == wanted(*SIX_DAYS)


async def test_what_was_missed_is_told_as_recovered_and_a_first_day_as_none(
    tmp_path, autojump_clock
):
    far = Far()
    async with house(tmp_path, far) as here, trio.open_nursery() as nursery:
        store, health = here.store, Health(here.world.now)
        nursery.start_soon(
            partial(
                reconcile,
                here.credential,
                [here.feed],
                3600.0,
                store=store,
                world=here.world,
                health=health,
            )
        )
        await trio.sleep(3 * 3600 + 60)
        upto = store.recall(caught("north", "fixes"))["ms"]
        nursery.cancel_scope.cancel()
        rows = list(
            store.log.db.execute("SELECT at_ms, origin FROM events WHERE kind = 1")
        )
        found = here.fixes()
        left = store.jobs()
        n = store.log.db.execute(
            "SELECT sum(n) FROM totals WHERE outcome = 'recovered'"
        ).get

    assert found == wanted(MORNING - timedelta(days=1), moment_of(upto))
    assert {ms for ms, origin in rows if origin == 2} == set(
        wanted(MORNING - timedelta(days=1), MORNING)
    )
    assert {origin for _, origin in rows} == {2, 3}
    assert n == len(found) - len(wanted(MORNING - timedelta(days=1), MORNING)) > 0
    assert upto > millis(MORNING + timedelta(hours=2))
    assert left == [], "it leaves no jobs behind"


async def test_a_comparison_by_a_clock_that_was_ahead_is_made_again(
    tmp_path, autojump_clock
):
    async with house(tmp_path, Far()) as here, trio.open_nursery() as nursery:
        name = caught("north", "fixes")
        ahead = millis(MORNING + timedelta(days=365))
        await here.store.remember(name, {"ms": ahead})
        run = partial(
            reconcile, here.credential, [here.feed], 3600.0, store=here.store,
            world=here.world, health=Health(here.world.now),
        )  # fmt: skip
        nursery.start_soon(run)
        await trio.sleep(2 * 3600)
        upto = here.store.recall(name)["ms"]
        found = here.fixes()
        nursery.cancel_scope.cancel()

    assert upto <= millis(MORNING + timedelta(hours=2))
    assert found == wanted(MORNING - timedelta(days=1), moment_of(upto))


async def test_what_was_missed_does_not_wait_behind_a_long_past(
    tmp_path, autojump_clock
):
    far = Far()
    async with house(tmp_path, far, vendor(per_second=2.0)) as here:
        now = millis(here.world.now())
        long = await here.ask_for(MORNING - timedelta(days=80), MORNING)
        await trio.sleep(5)
        hour = (MORNING - timedelta(hours=1), MORNING)
        add = add_job("north", here.feed, hour, (), now, origin="recovered")
        missed = (await here.store.add_job(add)).id

        assert await here.ended(missed) == "done"
        assert trio.current_time() < 30
        assert here.store.backfills("north")[0].id == long


class Strict(Far):
    """A vendor that forbids a path, or what is older than a moment, until it does not."""

    def __init__(
        self, path: str = "", before: datetime = EARLIEST, says: int = 403
    ) -> None:
        super().__init__()
        self.path, self.before, self.says = path, millis(before), says

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        asked = request.url
        if asked.path == self.path or int(asked.params["since"]) < self.before:
            self.script.insert(0, httpx.Response(self.says))
        return await super().__call__(request)


@pytest.mark.parametrize("says", [403, 401])
async def test_a_job_that_is_refused_waits_and_the_next_one_goes_on(
    says, tmp_path, autojump_clock
):
    far = Strict(before=SIX_DAYS[0], says=says)
    older = (SIX_DAYS[0] - timedelta(days=1), SIX_DAYS[0])
    async with house(tmp_path, far) as here:
        refused = await here.ask_for(*older)
        job = await here.ask_for(*SIX_DAYS)

        with trio.fail_after(3600):
            assert await here.ended(job) == "done"
        assert here.fixes() == wanted(*SIX_DAYS)
        before = len(far.asked)
        await trio.sleep(3600)
        assert 12 <= len(far.asked) - before <= 60, "now and then, by few"
        far.before = 0
        with trio.fail_after(600):
            assert await here.ended(refused) == "done"
        assert here.fixes() == wanted(older[0], SIX_DAYS[1])


async def test_a_feed_whose_past_is_refused_holds_no_other_comparison_back(
    tmp_path, autojump_clock
):
    far = Strict("/secrets")
    base = vendor()
    replace = msgspec.structs.replace

    def ask_secrets(turn: Turn) -> Ask | None:
        asked = ask(turn)
        return None if asked is None else replace(asked, path="/secrets")

    (fixes,) = base.feeds
    secrets = replace(fixes, name="secrets", past=replace(fixes.past, ask=ask_secrets))
    both = (secrets, fixes)
    async with (
        house(tmp_path, far, replace(base, feeds=both)) as here,
        trio.open_nursery() as nursery,
    ):
        store, health = here.store, Health(here.world.now)
        run = partial(
            reconcile, here.credential, both, 3600.0, store=store, world=here.world,
            health=health,
        )  # fmt: skip
        nursery.start_soon(run)
        await trio.sleep(3 * 3600)
        nursery.cancel_scope.cancel()

        assert store.recall(caught("north", "secrets")) == {}
        upto = store.recall(caught("north", "fixes"))["ms"]
        assert upto > millis(MORNING + timedelta(hours=1))
        assert here.fixes() == wanted(MORNING - timedelta(days=1), moment_of(upto))


def test_only_what_the_live_roads_can_miss_is_compared():
    past = Past(ask, unpack, within=timedelta(days=1))
    kinds = {"a": ("position",), "b": ("safety",), "c": ("trip",), "d": ("vehicle",)}
    shapes = {"a": {}, "b": {"past": past}, "c": {"past": past, "snapshot": True},
              "d": {"listing": "vehicle", "snapshot": True}}  # fmt: skip
    feeds = tuple(
        Feed(name, 1.0, ask, unpack, kinds=kinds[name], **shapes[name])
        for name in kinds
    )
    base = vendor()
    hook = msgspec.structs.replace
    pushed = hook(base, feeds=feeds, webhook=_hook("position", "safety", "geofence"))

    both = coverage(pushed, ["a", "c", "d"], receives=True, asks=True)
    polls = coverage(pushed, ["a", "c", "d"], receives=False, asks=True)
    hears = coverage(pushed, [], receives=True, asks=False)

    assert both.compared == ("b", "c")
    assert both.unlisted == ("geofence",)
    assert both.kinds["safety"] == ("b",)
    assert both.kinds["vehicle"] == ("d",), "how things stand is all there is to know"
    assert polls.compared == ("c",)
    assert polls.unlisted == ()
    assert hears.compared == ()
    assert hears.unlisted == ("position", "safety", "geofence")


def _hook(*kinds: str):
    from fleetd.providers.contract import Unpacked, Webhook

    return Webhook(
        verify=lambda *_: None, unpack=lambda _: Unpacked([]), sign=lambda *_: {},
        kinds=kinds,
    )  # fmt: skip


@given(
    begin=st.datetimes(EARLY, LATE),
    long=st.timedeltas(timedelta(seconds=1), timedelta(days=400)),
    chunk=st.timedeltas(timedelta(minutes=1), timedelta(days=40)),
)
def test_pieces_of_time_cover_the_window_once(begin, long, chunk):
    since = begin.replace(tzinfo=UTC)
    past = Past(ask, unpack, within=timedelta(days=1), chunk=chunk)

    found = pieces(past, since, since + long, ())

    assert found[0].since == since
    assert found[-1].until == since + long
    assert all(a.until == b.since for a, b in pairwise(found))
    assert all(one.since < one.until for one in found)
    assert len({one.name for one in found}) == len(found) <= 20_002


def test_pieces_by_vehicle_are_one_each():
    past = Past(ask, unpack, within=timedelta(days=1), parts=True)

    found = pieces(past, *SIX_DAYS, ("a", "b"))

    assert [(one.part, one.since, one.until) for one in found] == [
        ("a", *SIX_DAYS), ("b", *SIX_DAYS)
    ]  # fmt: skip
