"""What LocoNav may answer and push beyond the samples, and that both roads meet."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.config import Zone
from fleetd.errors import (
    ConfigError,
    HeldError,
    PayloadError,
    SignatureError,
    TransientError,
)
from fleetd.event import CLASSES, NORMAL, SAFETY, Position, lane_of, pack, tag_of, unpack
from fleetd.providers.contract import Answer, Ask, Feed, Page, Turn
from fleetd.providers.loconav import PROVIDER, Settings, configured, judge, owner
from fleetd.providers.loconav import unpack as split
from fleetd.web import Request
from tests.test_every_provider import told

HERE = Path(__file__).parent / "loconav"
NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
FEEDS = {feed.name: feed for feed in PROVIDER.feeds}
SAMPLES = sorted(
    path
    for path in HERE.glob("*.json")
    if not path.name.startswith("webhook_") and not path.name.endswith(".events.json")
)
LAGOS = configured(Settings(zone=Zone("Africa/Lagos")))
few = settings(max_examples=150, deadline=None)


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


def meaning(name: str, body: bytes) -> dict[str, Any]:
    """What an answer holds, its records one by one."""
    try:
        page = polled(name, body)
    except PayloadError as bad:
        return {"page": str(bad)}
    read = []
    for record in page.records:
        try:
            read += [told(one) for one in PROVIDER.normalize[record.feed](record.body)]
        except PayloadError as bad:
            read.append({"dead": str(bad)})
    return {
        "bookmark": page.bookmark, "more": page.more, "complete": page.complete,
        "events": read,
    }  # fmt: skip


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_an_answer_means_what_its_golden_file_says(sample):
    golden = sample.with_suffix(".events.json")
    found = meaning(sample.stem.split("_")[0], sample.read_bytes())
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")

    assert found == json.loads(golden.read_text())


def test_every_feed_has_a_sample():
    assert {one.stem.split("_")[0] for one in SAMPLES} == set(FEEDS) - {"late_alerts"}
