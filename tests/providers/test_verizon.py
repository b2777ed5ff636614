"""What Reveal may answer and push beyond its samples, and that both roads meet."""

from __future__ import annotations

import base64
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.errors import (
    AbsentError,
    ConfigError,
    FleetdError,
    HeldError,
    PayloadError,
    TransientError,
)
from fleetd.event import SAFETY, Position, has_fix, lane_of, merged
from fleetd.providers.contract import Answer, Ask, Feed, Grant, Page, Provider, Turn
from fleetd.providers.verizon import PROVIDER, Settings, configured
from fleetd.providers.verizon.feeds import of_vehicle
from fleetd.web import Request
from tests.test_every_provider import ANY, sound, told

HERE = Path(__file__).parent / "verizon"
NOW = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
FEEDS = {feed.name: feed for feed in PROVIDER.feeds}
BY_LENGTH = sorted(FEEDS, key=len, reverse=True)
FLEET = ("TX-104", "TX-105", "unnumbered/1FUJHHDR3MLMT2199")
SAMPLES = sorted(
    path
    for path in HERE.glob("*.json")
    if not path.name.startswith("webhook_") and not path.name.endswith(".events.json")
)
few = settings(max_examples=150, deadline=None)


def feed_of(path: Path) -> str:
    return next(one for one in BY_LENGTH if path.stem.startswith(one))


def turn_of(feed: Feed, **more: Any) -> Turn:
    part = "TX-104" if feed.parts else ""
    since = NOW - (feed.begins or timedelta(0))
    return Turn(NOW, **{"since": since, "part": part, "vehicles": FLEET, **more})


def polled(name: str, body: bytes, **more: Any) -> Page:
    feed = FEEDS[name]
    turn = turn_of(feed, **more)
    ask = feed.ask(turn)
    assert ask is not None
    return feed.unpack(ask, body, turn)


def events(page: Page, provider: Provider = PROVIDER) -> list[Any]:
    return [
        one for rec in page.records for one in provider.normalize[rec.feed](rec.body)
    ]


def pushed(body: Any, provider: Provider = PROVIDER) -> list[Any]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert provider.webhook
    split = provider.webhook.unpack(Request("POST", "/webhooks/x", "", {}, raw, "::1"))
    return [
        one for rec in split.records for one in provider.normalize[rec.feed](rec.body)
    ]


def sample(name: str) -> Any:
    return json.loads((HERE / name).read_bytes())


def meaning(name: str, body: bytes) -> dict[str, Any]:
    """What an answer holds, its records one by one."""
    try:
        page = polled(name, body)
    except (PayloadError, HeldError, TransientError) as bad:
        return {type(bad).__name__: str(bad)}
    read: list[Any] = []
    for record in page.records:
        try:
            found = list(PROVIDER.normalize[record.feed](record.body))
            read += [told(one) for one in found] or [{"nothing": True}]
        except PayloadError as bad:
            read.append({"dead": str(bad)})
    return {
        "bookmark": page.bookmark, "more": page.more, "complete": page.complete,
        "events": read,
    }  # fmt: skip


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_an_answer_means_what_its_golden_file_says(path):
    golden = path.with_suffix(".events.json")
    found = meaning(feed_of(path), path.read_bytes())
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")

    assert found == json.loads(golden.read_text())


def test_every_feed_has_a_sample_and_every_golden_file_its_own():
    goldens = {
        one for one in HERE.glob("*.events.json") if not one.name.startswith("webhook_")
    }

    assert {feed_of(one) for one in SAMPLES} == set(FEEDS)
    assert goldens == {one.with_suffix(".events.json") for one in SAMPLES}
