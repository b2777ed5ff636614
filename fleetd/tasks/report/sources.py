"""What there is to say of each source: its counts, its feeds, and why it is as it is."""

from __future__ import annotations

from collections.abc import Mapping

from fleetd.config import House
from fleetd.event import CODES, millis, moment_of, stamp
from fleetd.store.dead import crowded
from fleetd.store.stats import Snapshot
from fleetd.store.totals import HOUR_MS
from fleetd.tasks.report.rows import Live, Rows
from fleetd.tasks.report.shape import FeedDoc, SourceDoc

LONG_AGO_H = 24
TROUBLED = frozenset({"held", "failing"})
JOBS = "job:"  # where backfills keep how far they are


def source_of(house: House, live: Live, rows: Rows, name: str) -> SourceDoc:
    source, snap = house.sources[name], rows.snap
    number = snap.scope("source", name)
    feeds = _feeds(live, snap, name, number)
    last = live.received.get(name)
    state, why = _source_state(live, rows, name, feeds, last, receives=source.receives)
    of = snap.sums.of
    drift = snap.sums.of_kind(number, "stored", CODES["other"])
    return SourceDoc(
        source.provider, state, why, of(number, "received"), of(number, "stored"),
        of(number, "duplicate"), of(number, "filtered"), of(number, "dead"),
        snap.sums.refused(number), snap.unverified.get(number, 0),
        0 if name in live.untyped else drift, printed(last), source.receives, feeds,
        live.silent.get(name, 0), live.budgets.get(name),
    )  # fmt: skip


def _feeds(live: Live, snap: Snapshot, name: str, number: int) -> dict[str, FeedDoc]:
    kept = _successes(live, snap, name, number)
    mine = f"feed:{name}/"
    runs = {key.removeprefix(mine) for key in live.pulses if key.startswith(mine)}
    counts, now = snap.sums.whys(number, "polled"), millis(live.now)
    found = {}
    for feed in sorted(runs or ({*kept} if not live.running else ())):
        state, why = _feed_state(live, name, feed)
        newest, oldest = kept.get(feed, (None, None))
        age = None if oldest is None else max(0.0, (now - oldest) / 1000)
        found[feed] = FeedDoc(state, why, printed(newest), counts.get(feed, 0), age)
    return found


def _feed_state(live: Live, name: str, feed: str) -> tuple[str, str]:
    pulse = live.pulses.get(f"feed:{name}/{feed}")
    if name in live.paused:
        return "paused", pulse.why if pulse else ""
    if pulse is None:
        return "off", ""
    resting = pulse.state == "waiting" and not pulse.why  # between two questions
    return "ok" if resting else pulse.state, pulse.why


def _successes(
    live: Live, snap: Snapshot, name: str, number: int
) -> dict[str, tuple[int, int]]:
    """The newest and the oldest success of each feed, in ms.

    They differ where a feed is asked vehicle by vehicle: the one that waits longest is
    how far behind it is. Vehicles that are gone are waited for no more.
    """
    found: dict[str, tuple[int, int]] = {}
    for (of, place), ms in snap.bookmarks.items():
        feed, _, part = place.partition("/")
        if of != number or feed.startswith(JOBS) or (part and live.gone(name, part)):
            continue
        newest, oldest = found.get(feed, (ms, ms))
        found[feed] = max(newest, ms), min(oldest, ms)
    return found


def _source_state(
    live: Live,
    rows: Rows,
    name: str,
    feeds: Mapping[str, FeedDoc],
    last: int | None,
    *,
    receives: bool,
) -> tuple[str, str]:
    """The first thing that an operator should know of a source."""
    if name in live.paused:
        rest = "; webhooks still arrive" if receives else ""
        return "paused", f"polling is paused{rest}: fleetd resume {name}"
    if not live.running:
        return "off", "fleetd is stopped"
    if not receives and not feeds:
        return "off", "neither webhooks nor feeds: give it webhook_secret or token"
    if ("source", name) in live.crowded:
        return "held", crowded(name)
    if sick := next((one for one in feeds.items() if one[1].state in TROUBLED), None):
        feed, doc = sick
        why = doc.why if doc.why.startswith(f"{name}: ") else f"{feed}: {doc.why}"
        return ("held", why) if doc.state == "held" else ("waiting", why)
    quiet = _quiet(live, rows, name, last)
    return quiet or ("ok", "")


def _quiet(
    live: Live, rows: Rows, name: str, last: int | None
) -> tuple[str, str] | None:
    """What there is to say of a source that says nothing."""
    if why := live.unregistered.get(name):
        return "silent", why
    doubted = rows.snap.unverified.get(rows.snap.scope("source", name), 0)
    if name in live.unproven and (doubted or last is None):
        return "waiting", _unproven(name, doubted)
    if last is None:
        return "waiting", "nothing has arrived yet"
    silent = _silent(live, rows, name, last)
    return ("silent", silent) if silent else None


def _unproven(name: str, n: int) -> str:
    if not n:
        return "no webhook has come yet"
    return (
        f"{n} came whose signature fits no secret here. Fix sources.{name}."
        f"webhook_secret, then: fleetd dead retry --unverified {name}"
    )


def _silent(live: Live, rows: Rows, name: str, last: int) -> str:
    """What is unusual about a silence, judged by the longest one of two weeks."""
    hours = (millis(live.now) - last) / HOUR_MS
    usual = rows.silence.get(name)
    limit = LONG_AGO_H if usual is None else max(2, 2 * usual)
    if hours < limit:
        return ""
    told = "" if usual is None else f"; the longest silence in two weeks was {usual} h"
    return f"nothing has arrived for {hours:.0f} h{told}"


def printed(ms: int | None) -> str | None:
    """A moment as every document has it."""
    return None if ms is None else stamp(moment_of(ms))
