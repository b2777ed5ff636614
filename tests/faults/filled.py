"""A log that is full before its daemon begins, and what it then says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import trio

from fleetd.event import AnyEvent
from fleetd.store import Append, SinkPlace, open_store
from fleetd.taking import Taking
from fleetd.world import World
from tests.far_side import made
from tests.faults.daemon import Daemon


def fill(
    daemon: Daemon, events: Sequence[AnyEvent], takes: Mapping[str, Sequence[str]],
    chunk: int,
) -> None:  # fmt: skip
    """Put events into the log of a daemon that does not run; `takes`: of each sink."""
    assert daemon.child is None
    trio.run(_appending, daemon, events, takes, chunk)


async def _appending(
    daemon: Daemon, events: Sequence[AnyEvent], takes: Mapping[str, Sequence[str]],
    chunk: int,
) -> None:  # fmt: skip
    async with open_store(daemon.data, World()) as store:
        await store.register_sources({"north": "motive"})
        places = {
            name: SinkPlace(Taking(kinds=frozenset(kinds)))
            for name, kinds in takes.items()
        }
        await store.register_sinks(places)
        for at in range(0, len(events), chunk):
            some = [made(one) for one in events[at : at + chunk]]
            received = store.next_received_ms()
            await store.append(Append("north", received, "push", made=some))


def log_of(daemon: Daemon) -> list[dict[str, Any]]:
    """Every event of the log, as the command prints it."""
    done = daemon.command("events", "--json", "-n", "0")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def settle(daemon: Daemon, within: float) -> None:
    """Wait until nothing waits for a sink."""

    def is_idle() -> bool:
        with suppress(ConnectionRefusedError, KeyError):  # it says so a bit later
            return daemon.waiting() == 0
        return False

    daemon.until(is_idle, "the sinks to have everything", within)


def are_jobs_done(daemon: Daemon) -> bool:
    with suppress(ConnectionRefusedError):
        return all(job["state"] == "done" for job in daemon.status()["jobs"])
    return False


def last(log: Sequence[dict[str, Any]]) -> dict[str, int]:
    """The seq of each vehicle's last fix, by when it was, then by revision and seq."""
    found: dict[str, tuple[str, int, int]] = {}
    for one in log:
        if one["kind"] == "position":
            stamp = one["at"], one["revision"], one["seq"]
            truck = one["vehicle"]["id"]
            found[truck] = max(found.get(truck, stamp), stamp)
    return {truck: seq for truck, (_, _, seq) in found.items()}
