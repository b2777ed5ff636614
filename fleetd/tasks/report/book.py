"""One sentence a source and sink: complete, lost, or nobody can know, and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from fleetd.event import moment_of, stamp
from fleetd.store.balance import Gap
from fleetd.store.stats import Hourly, Outage, Scope
from fleetd.store.totals import HOUR_MS
from fleetd.tasks.report.asked import Asked

MINUTE_MS = 60_000
COVERS, CAUGHT = "covers:", "caught:"
LOST = ("expired", "damaged")


class Finding(Struct, frozen=True):
    """What can be said of one source or sink."""

    name: str
    verdict: str
    sentence: str


class Missed(Struct, frozen=True):
    """One time in which nobody listened; `sure` that nothing of it is missing now."""

    said: str
    sure: bool


class Known(Struct, frozen=True):
    """By source, what makes up for a gap; by source and feed, how far it has told all."""

    covers: Mapping[str, Mapping[str, Any]]
    caught: Mapping[str, Mapping[str, Any]]

    def upto(self, source: str, feed: str) -> int:
        """In ms; 0 where it never did."""
        return int(self.caught.get(f"{source}/{feed}", {}).get("ms", 0))

    def absent(self, source: str, feed: str) -> int:
        """Of how many vehicles the vendor had nothing to tell when it was last asked."""
        return int(self.caught.get(f"{source}/{feed}", {}).get("absent", 0))


class Book:
    """One window of the ledger, and what can be said about it."""

    def __init__(
        self, asked: Asked, rows: Sequence[Hourly], gaps: Sequence[Gap],
        outages: Sequence[Outage], known: Known,
    ) -> None:  # fmt: skip
        self._asked = asked
        self._gaps = gaps
        self._outages = outages
        self._known = known
        self._of: dict[int, Counter[str]] = defaultdict(Counter)
        self._why: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
        for row in rows:
            if row.outcome != "refused" or row.why != "unverified":
                self._of[row.scope][row.outcome] += row.n
            self._why[row.scope, row.outcome][row.why] += row.n

    def sources(self, scopes: Sequence[Scope]) -> Iterator[Finding]:
        """One sentence a source: what nobody heard, what was fetched of it, the counts."""
        for scope in scopes:
            n = self._of.get(scope.id, Counter())
            if not n and scope.name not in self._asked.house.sources:
                continue
            gaps = [
                _told(one)
                for one in self._gaps
                if (one.side, one.name) == ("source", scope.name)
            ]
            missed = list(self._missed(scope, n["recovered"]))
            unsure = any(not one.sure for one in missed)
            verdict = "lost" if gaps else ("unknown" if unsure else "complete")
            counts = (
                f"{_n(n['received'], 'record')} came, {_n(n['stored'], 'event')} stored, "
                f"{n['duplicate']} duplicate, {n['filtered']} filtered"
            )
            heads = [*(one.said for one in missed), verdict + self._upto(scope.name)]
            parts = [", ".join(heads), counts, *gaps, *self._dead(n, "record")]
            said = f"{scope.name}: {'; '.join(parts)}."
            yield Finding(scope.name, verdict, said)

    def sinks(
        self, scopes: Sequence[Scope], waiting: Mapping[int, int]
    ) -> Iterator[Finding]:
        """One sentence a sink: what it has, what was lost to it, what it waits for now."""
        for scope in scopes:
            n = self._of.get(scope.id, Counter())
            gaps = [
                one
                for one in self._gaps
                if (one.side, one.name) == ("sink", scope.name)
            ]
            whys = self._why.get((scope.id, "skipped"), Counter())
            lost = [
                f"{whys[why]} {why} before they could go" for why in LOST if whys[why]
            ]
            verdict = "lost" if gaps or lost else "complete"
            parts = [*map(_told, gaps), *lost, *self._dead(n, "event")]
            said = f"{_n(n['delivered'], 'event')} delivered, {n['skipped']} skipped"
            if waiting.get(scope.id, 0) > 0:
                said += f", {waiting[scope.id]} waiting now"
            yield Finding(
                scope.name, verdict, _sentence(scope.name, verdict, said, parts)
            )

    def _dead(self, n: Mapping[str, int], what: str) -> Iterator[str]:
        if n["dead"] > 0:
            yield f"{_n(n['dead'], what)} set aside: fleetd dead"
        if n["dropped"] > 0:
            yield f"{_n(n['dropped'], what)} dropped by hand"

    def _missed(self, scope: Scope, recovered: int) -> Iterator[Missed]:
        """Times in which this source spoke unheard, and whether that was made up for."""
        if scope.name not in self._asked.house.sources:
            return
        cover = self._known.covers.get(scope.name)
        ours = [one for one in self._outages if one.state != "offline"]
        for number, one in enumerate(ours):
            spelled = self._spell(one)
            if cover is None:
                yield Missed(f"{spelled}: what came then may be missing", sure=False)
                continue
            back = one.until - 1  # the minute fleetd came back in has no row either
            late = sorted(self._late(scope.name, cover, back * MINUTE_MS))
            if late:
                what = ", ".join(late)
                yield Missed(f"{spelled}, {what} still to be fetched", sure=False)
            if unlisted := cover.get("unlisted"):
                yield Missed(f"{spelled}, {_unlisted(cover, unlisted)}", sure=False)
            if not late and not unlisted:
                last = number == len(ours) - 1
                found = f", {recovered} recovered" if recovered and last else ""
                yield Missed(f"{spelled}{found}", sure=True)

    def _late(
        self, source: str, cover: Mapping[str, Any], until_ms: int
    ) -> Iterator[str]:
        """The kinds of which not every feed has told everything up to then."""
        for kind, feeds in cover["kinds"].items():
            if any(self._known.upto(source, feed) < until_ms for feed in feeds):
                yield str(kind)

    def _upto(self, source: str) -> str:
        """Up to when the vendor itself was asked, if it was."""
        cover = self._known.covers.get(source)
        if not cover or not cover["kinds"]:
            return ""
        upto = min(
            self._known.upto(source, feed)
            for feeds in cover["kinds"].values()
            for feed in feeds
        )
        if not upto:
            return f" (not yet compared with {cover['title']})"
        zone = self._asked.house.daemon.timezone.info
        at = moment_of(upto).astimezone(zone)
        today = self._asked.now.astimezone(zone).date()
        when_ = f"{at:%H:%M}" if at.date() == today else f"{at:%d %b %H:%M}"
        feeds = {feed for feeds in cover["kinds"].values() for feed in feeds}
        absent = max((self._known.absent(source, feed) for feed in feeds), default=0)
        less = f", less {_n(absent, 'vehicle')} that it has not" if absent else ""
        return f" (compared with {cover['title']} to {when_}{less})"

    def _spell(self, one: Outage) -> str:
        zone = self._asked.house.daemon.timezone.info
        since, until = (
            moment_of(minute * MINUTE_MS).astimezone(zone)
            for minute in (one.since, one.until)
        )
        end = (
            f"{until:%H:%M}" if since.date() == until.date() else f"{until:%d %b %H:%M}"
        )
        return f"{one.state} {since:%d %b %H:%M}\N{EN DASH}{end}"


def _told(gap: Gap) -> str:
    hour = stamp(moment_of(gap.hour * HOUR_MS))
    return f"out of balance in the hour of {hour}: {gap.wants} {gap.what} came, {gap.has} counted"


def _sentence(name: str, verdict: str, said: str, parts: Sequence[str]) -> str:
    return f"{name}: {verdict}: {'; '.join([said, *parts])}."


def _n(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _unlisted(cover: Mapping[str, Any], kinds: Sequence[str]) -> str:
    """What of a gap nobody can say, by kinds where it is not everything."""
    all_of_it = not cover["kinds"]
    what = "" if all_of_it else f" of {', '.join(kinds)}"
    if cover["receives"]:
        return f"pushes{what} cannot be listed again"
    return f"what came then{what} is in no answer of {cover['title']}"
