"""Samsara's pages in tests: a sample, the feed that asks for it, and what it means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fleetd.errors import PayloadError
from fleetd.event import AnyEvent
from fleetd.providers.contract import Ask, Feed, Page, Turn
from fleetd.providers.samsara import Settings, configured
from tests.test_every_provider import told

HERE = Path(__file__).parent / "samsara"
NOW = datetime(2026, 5, 13, 6, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ALERTS = ("d6110b60-04ee-5879-bd0b-be580c5651ef",)
PROVIDER = configured(Settings(alert_configurations=ALERTS))
FEEDS = {feed.name: feed for feed in PROVIDER.feeds}
ASIDE = ("webhook", "signatures", "hooks", "error")
SAMPLES = sorted(
    path
    for path in HERE.glob("*.json")
    if not path.name.startswith(ASIDE) and not path.name.endswith(".events.json")
)


def sample(name: str) -> bytes:
    return (HERE / f"{name}.json").read_bytes()


def feed_of(path: Path) -> Feed:
    return FEEDS[path.stem.split("_")[0]]


def asked(feed: Feed, turn: Turn) -> Ask:
    ask = feed.ask(turn)
    assert ask is not None
    return ask


def turned(feed: Feed, body: bytes, turn: Turn | None = None) -> Page:
    """What a feed makes of a body that answers its next request."""
    turn = turn or Turn(NOW)
    return feed.unpack(asked(feed, turn), body, turn)


def normal(feed: str, body: bytes) -> list[AnyEvent]:
    return list(PROVIDER.normalize[feed](body))


def events(name: str, body: bytes, turn: Turn | None = None) -> list[AnyEvent]:
    """Every event of a page all of whose records can be read."""
    page = turned(FEEDS[name], body, turn)
    return [one for record in page.records for one in normal(record.feed, record.body)]


def read(path: Path) -> dict[str, Any]:
    """A page as its golden file tells it."""
    feed, turn = feed_of(path), Turn(NOW)
    if "history" in path.stem:
        assert feed.past is not None
        turn = Turn(NOW, since=NOW - DAY, until=NOW)
        ask = feed.past.ask(turn)
        assert ask is not None
        page = feed.past.unpack(ask, path.read_bytes(), turn)
    else:
        page = turned(feed, path.read_bytes(), turn)
    found: dict[str, Any] = {
        "bookmark": page.bookmark,
        "more": page.more,
        "complete": page.complete,
        "records": len(page.records),
        "events": [],
        "dead": [],
    }
    for record in page.records:
        try:
            found["events"] += [told(one) for one in normal(record.feed, record.body)]
        except PayloadError as bad:
            found["dead"].append(str(bad))
    return found
