"""What the tests of LocoNav share: its words through its own file, and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import settings

from fleetd.providers.contract import Page, Turn
from fleetd.providers.loconav import PROVIDER, Settings, configured
from fleetd.providers.loconav import unpack as split
from fleetd.web import Request
from fleetd.when import Zone
from tests.tries import tries

HERE = Path(__file__).parent / "loconav"
NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
FEEDS = {feed.name: feed for feed in PROVIDER.feeds}
LAGOS = configured(Settings(zone=Zone("Africa/Lagos")))
few = settings(max_examples=tries(150), deadline=None)


def post(body: bytes) -> Request:
    return Request("POST", "/webhooks/lagos", "", {}, body, "127.0.0.1")


def pushed(value: Any, provider=PROVIDER) -> list[Any]:
    """The events of a pushed body."""
    records = split(post(json.dumps(value).encode())).records
    return [one for rec in records for one in provider.normalize[rec.feed](rec.body)]


def polled(name: str, body: bytes, turn: Turn | None = None) -> Page:
    feed = FEEDS[name]
    turn = turn or Turn(NOW, since=NOW - timedelta(hours=6))
    ask = feed.ask(turn)
    assert ask is not None
    return feed.unpack(ask, body, turn)


def events(page: Page, provider=PROVIDER) -> list[Any]:
    found = []
    for record in page.records:
        found += list(provider.normalize[record.feed](record.body))
    return found
