"""What a simulator says was driven, and what a real daemon's log says of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tests.harness import Fleetd
from tests.vendors.running import Running

Track = dict[tuple[str, str], Any]


def sources_at(far: Running, source: str, said: Mapping[str, Sequence[str]]) -> str:
    """The tables of several sources of one simulator, `%s` by `%s`."""
    return "".join(
        (source % tuple(words)).replace("$name", name).replace("$far", far.url)
        for name, words in said.items()
    )


def all_of(daemon: Fleetd, *words: str) -> list[dict[str, Any]]:
    """Every event that fits, oldest first."""
    done = daemon.run("events", "--json", "-n", "0", *words)
    return [json.loads(one) for one in done.stdout.splitlines()]


def source(daemon: Fleetd, name: str) -> Any:
    return daemon.status()["sources"][name]


def stamp(at: int) -> str:
    """A time as the log prints it."""
    return datetime.fromtimestamp(at, UTC).isoformat()[:19] + ".000Z"


def driven(far: Running, since: int, until: int) -> Track:
    """Every fix of a window, by vehicle and time, as it was."""
    rows = far.truth(since, until)
    return {(one["provider_vehicle_id"], one["timestamp"]): one for one in rows}


def track(daemon: Fleetd, since: int, until: int, *words: str) -> Track:
    """Every fix of a window, none of them twice but for what was filled in later."""
    found: Track = {}
    for one in all_of(daemon, "--kind", "position", *words):
        row = one["data"]
        key = (row["provider_vehicle_id"], row["timestamp"])
        assert key not in found or one["revision"] > 0
        if stamp(since) <= row["timestamp"] < stamp(until):
            found[key] = row
    return found
