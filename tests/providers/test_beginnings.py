"""`since = "all"`: every feed of every vendor begins somewhere that a vendor knows of."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec
import pytest

from fleetd import providers
from fleetd.providers.contract import Feed, Turn
from fleetd.tasks.poll.plan import DAWN

NOW = datetime(2026, 5, 13, 6, tzinfo=UTC)
FEEDS = [
    pytest.param(feed, id=f"{name}-{feed.name}")
    for name in providers.names()
    for feed in providers.load(name).feeds
]
YEAR = re.compile(r"(?<![0-9])([0-9]{4})-[0-9]{2}-[0-9]{2}")
EPOCH = re.compile(r'"(?:start|end)[A-Za-z]*":"(-?[0-9]+)"')


@pytest.mark.parametrize("feed", FEEDS)
def test_all_there_is_begins_no_earlier_than_there_were_any(feed: Feed):
    ask = feed.ask(Turn(NOW, since=DAWN, part="1", vehicles=("1",)))
    said = "" if ask is None else msgspec.json.encode((ask.params, ask.json)).decode()

    assert [year for year in YEAR.findall(said) if int(year) < 2009] == []
    assert [at for at in EPOCH.findall(said) if int(at) < 1_230_000_000] == []
