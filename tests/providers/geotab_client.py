"""Geotab as the tests of its file ask it: a source, its feeds, pages and answers."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import settings

from fleetd.errors import (
    PayloadError,
)
from fleetd.providers.contract import Ask, Feed, Turn
from fleetd.providers.geotab import Settings, configured
from tests.test_every_provider import told
from tests.tries import tries

HERE = Path(__file__).parent / "geotab"
SAMPLES = sorted(
    path for path in HERE.glob("*.json") if not path.name.endswith(".events.json")
)
NAMES = [path.stem for path in SAMPLES]
READABLE = [
    path for path in SAMPLES if path.stem not in {"positions_html", "positions_half"}
]
NOW = datetime(2026, 11, 20, 15, tzinfo=UTC)
LIVE = Turn(NOW, "00000000000a41c7")
FIRST = Turn(NOW)
SOURCE = Settings(database="acme_haul", user="fleetd-service@acme.test")
GEOTAB = configured(SOURCE)
FEEDS = {feed.name: feed for feed in GEOTAB.feeds}
few = settings(max_examples=tries(200), deadline=None)


def asked(feed: Feed, turn: Turn) -> Ask:
    ask = feed.ask(turn)
    assert ask is not None
    return ask


def params(ask: Ask | None) -> dict[str, Any]:
    assert ask is not None
    assert (ask.method, ask.path) == ("POST", "/apiv1")
    return dict(ask.json["params"])


def page(name: str, body: bytes, turn: Turn) -> Any:
    feed = FEEDS[name]
    return feed.unpack(asked(feed, turn), body, turn)


def turn_of(name: str) -> Turn:
    return FIRST if FEEDS[name].listing else LIVE


def meaning(name: str, body: bytes) -> dict[str, Any]:
    try:
        found = page(name, body, turn_of(name))
    except PayloadError as bad:
        return {"unreadable": str(bad)}
    records = []
    for record in found.records:
        try:
            events = list(GEOTAB.normalize[record.feed](record.body))
            records.append([told(one) for one in events])
        except PayloadError as bad:
            records.append(f"dead: {bad}")
    where = {"bookmark": found.bookmark, "more": found.more, "complete": found.complete}
    return where | {"records": records}
