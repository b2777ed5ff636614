"""One daemon, one fleet, every sink, everything going wrong: in the end all of them have it.

`--minutes 10` is the long form, at the rates that the far sides really allow; the short
form hurries. The daemon is killed, PostgreSQL restarted, its connections cut, people sort
tabs as they are written, tokens end, servers are too busy or take a request and say they
did not. Then what each place holds is held against the log, the ledger says that it
balances, and an hour is replayed to every sink.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from fleetd.cli._client import Remote
from tests.postgres import Postgres
from tests.proofs import destinations
from tests.proofs.destinations import (
    Event,
    lines_in,
    messages,
    snapshot,
    taken,
    told_by,
)
from tests.proofs.everywhere import RINGS, Everywhere
from tests.proofs.house import House
from tests.proofs.troubles import Pushing, Troubles, Watch
from tests.proofs.worst import Hub
from tests.sinks.sheeted import rows

SHORT = 7.0  # seconds of trouble
UNDER_WAY = 4  # requests that a kill may repeat: one unanswered, three not yet noted
PASSED = ("delivered", "skipped", "dead", "dropped", "not_taken")
DRAIN_S = {False: 120.0, True: 900.0}


@pytest.fixture
def patient(request: pytest.FixtureRequest) -> bool:
    """Whether there is the time that real limits take."""
    return bool(request.config.getoption("minutes", None))


@pytest.fixture
def everywhere(
    make: Callable[..., House], postgres: Postgres, stack: ExitStack, seed: int, *,
    patient: bool,
) -> Everywhere:  # fmt: skip
    return Everywhere(make, postgres, stack, random.Random(seed), patient=patient)


def test_every_sink_has_everything_once_the_troubles_are_over(
    everywhere: Everywhere, patient: bool, seconds: float, seed: int
) -> None:
    of, daemon = everywhere, everywhere.daemon.begin()
    troubles = Troubles(of, random.Random(seed + 1))
    pushing = Pushing(daemon.port, *((0.5, 30) if patient else (0.15, 8)), seed)
    watch = Watch(of)
    try:
        troubles.go_on(seconds if patient else SHORT)
    finally:
        troubles.over()
        pushing.end()
    if not patient:  # what waits for minutes goes on at once
        troubles.kill()
    daemon.until(lambda: jobs_done(of), "the past to be there", DRAIN_S[of.patient])
    daemon.run("pause", "fleet")
    drained(of)
    watch.end()
    log = daemon.all()

    print(f"{len(log)} events, {pushing.sent} pushed; {dict(troubles.done)}")
    assert [*destinations.wrong(of, log)] == []
    assert watch.wrong == []
    assert watch.looks > 3
    print(f"{watch.looks} looks at where vehicles are; {of.breaches()} limits broken")
    repeats(of, log, troubles)
    balanced(of, log)
    replayed(of, log)
    assert of.breaches() == [0, 0, 0]


def jobs_done(of: Everywhere) -> bool:
    return all(one["state"] == "done" for one in of.daemon.status()["jobs"])


def drained(of: Everywhere) -> None:
    """Wait until no sink waits for anything, and no job goes on."""
    of.daemon.run("resume", "bot")

    def done() -> bool:
        found = of.daemon.status()
        waiting = any(one["waiting"] for one in found["sinks"].values())
        behind = {one["cursor"] for one in found["sinks"].values()} != {
            found["log"]["newest_seq"]
        }
        return not (waiting or behind) and all(
            one["state"] == "done" for one in found["jobs"]
        )

    of.daemon.until(done, "the sinks to have everything", DRAIN_S[of.patient])


def repeats(of: Everywhere, log: list[Event], troubles: Troubles) -> None:
    """Only as often as the docstrings say: where the answer was lost, or in a crash."""
    again, fresh_keys = of_hub(of.hub, log)
    print(
        f"hub: {len(of.hub.got)} requests, {again} again, {fresh_keys} cut otherwise;"
        f" {of.hub.unclear} unclear answers"
    )
    assert again <= of.hub.unclear + UNDER_WAY * troubles.kills
    for name, texts in messages(of).items():
        said, again = told_by(texts, log, name)
        assert set(said) == {one["seq"] for one in taken(log, name)}, name
        unclear = troubles.lost_mails if name == "mail" else getattr(of, name).unclear
        print(
            f"{name}: {len(texts)} messages, {again} again; {unclear} unclear answers"
        )
        assert again <= unclear + troubles.kills, name


def of_hub(hub: Hub, log: list[Event]) -> tuple[int, int]:
    """How many requests brought anything again, and how many of those under a new key."""
    bodies: dict[str, bytes] = {}
    seen: dict[int, Event] = {}
    again = fresh_keys = 0
    for key, body in hub.got:
        assert bodies.setdefault(key, body) == body  # one key, one body
    bodies.clear()
    for key, body in hub.got:
        events = {one["seq"]: one for one in json.loads(body)}
        if events.keys() & seen.keys():
            again += 1
            fresh_keys += key not in bodies
        bodies[key] = body
        seen |= events
    assert seen == {one["seq"]: one for one in log}
    return again, fresh_keys


def balanced(of: Everywhere, log: list[Event]) -> None:
    """The ledger says so of each sink, and its numbers are those of the log."""
    found = ledger(of)
    said = {one["name"]: one for one in found["findings"]}
    for name in of.sinks():
        n = counts(found, name)
        print(said[name]["sentence"])
        assert said[name]["verdict"] == "complete"
        assert n["delivered"] + n["skipped"] == len(taken(log, name)), (name, n)
        assert sum(n[one] for one in PASSED) == len(log), (name, n)
        assert n["dead"] + n["dropped"] == 0, (name, n)
        assert delivered(of, found, name) == [one["seq"] for one in taken(log, name)]
    assert counts(found, "fleet")["stored"] == len(log)
    done = of.daemon.run("ledger")
    assert all(f"{name}: complete: " in done.stdout for name in of.sinks())


def ledger(of: Everywhere) -> Any:
    return of.daemon.asked("ledger", code=0)


def counts(found: Any, name: str) -> Counter[str]:
    n: Counter[str] = Counter()
    for row in found["rows"]:
        if row["name"] == name:
            n.update(
                {key: value for key, value in row.items() if isinstance(value, int)}
            )
    return n


def delivered(of: Everywhere, found: Any, name: str) -> list[int]:
    """The seqs behind its numbers, hour by hour."""
    daemon = Remote(of.daemon.folder / "data" / "control.sock")
    seqs: list[int] = []
    for hour in [one["from"] for one in found["rows"] if one["name"] == name]:
        asked = {"ids": hour.replace(" ", "T"), "outcome": "delivered", "n": "1000"}
        after: int | None = 0
        while after is not None:
            page = daemon.get(
                "/api/ledger", {**asked, "name": name, "after": str(after)}
            )
            seqs += [one["seq"] for one in page["ids"]]
            after = page["high"]
    return seqs


# replay


def replayed(of: Everywhere, log: list[Event]) -> None:
    """An hour to each sink again: first asked what would go, then done."""
    before, counted = snapshot(of), ledger(of)["rows"]
    sent = {name: len(texts) for name, texts in messages(of).items()}
    posted = len(of.hub.got)
    names = of.sinks()
    for name, plan in [
        *map(partial(planned, of), names),
        *ordered(of, ["base"], "--dry-run"),
    ]:
        assert plan["job"] is None
        assert plan["count"] == len(taken(log, name)), name
    assert not changed(of, before)
    assert sent == {name: len(texts) for name, texts in messages(of).items()}
    assert posted == len(of.hub.got)

    jobs = {name: plan["job"] for name, plan in ordered(of, names, "--yes")}
    ((_, in_place),) = ordered(of, ["log"], "--in-place", "--yes")
    drained(of)
    assert not changed(of, before)
    assert ledger(of)["rows"] == counted
    told = {job["id"]: job for job in of.daemon.asked_lines("jobs")}
    for name, number in [*jobs.items(), ("log", in_place["job"])]:
        job = told[number]
        assert (job["done"], job["total"]) == (len(taken(log, name)),) * 2, job
    apart(of, log, jobs)
    for name in RINGS:
        said, again = told_by(messages(of)[name][sent[name] :], log, name)
        assert set(said) == {one["seq"] for one in taken(log, name)}
        assert again == 0, name
    resent = [one["seq"] for events in of.hub.events()[posted:] for one in events]
    assert Counter(resent) == Counter(one["seq"] for one in log)


def planned(of: Everywhere, name: str) -> tuple[str, Any]:
    """What a dry run says, asked as the command asks it."""
    daemon = Remote(of.daemon.folder / "data" / "control.sock")
    return name, daemon.post("replay", sink=name, since="1h", dry_run=True)


def ordered(of: Everywhere, names: list[str], *words: str) -> list[tuple[str, Any]]:
    """What each sink's replay of an hour comes to; a few commands at a time."""

    def order(name: str) -> tuple[str, Any]:
        return name, of.daemon.asked("replay", name, "--since", "1h", *words)

    with ThreadPoolExecutor(3) as hands:
        return [*hands.map(order, names)]


def changed(of: Everywhere, before: dict[str, Any]) -> list[str]:
    after = snapshot(of)
    return [name for name in before if before[name] != after[name]]


def apart(of: Everywhere, log: list[Event], jobs: dict[str, int]) -> None:
    """What a replay puts into a place of its own is what it was asked for."""
    files = of.daemon.folder / "files"
    assert lines_in(files, f"replay-{jobs['files']}-") == lines_in(files)
    tab = f"log replay {jobs['log']}"
    assert [row["seq"] for row in rows(of.book, tab)] == [
        one["seq"] for one in taken(log, "log")
    ]
