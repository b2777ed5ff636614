"""SIGKILL in the very moment of a notification: nothing is untold, and a repeat is one a kill at most."""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clouds.posts import HANG_UP, Asked, Reply
from tests.clouds.slack import CHANNEL, HOOK, TOKEN, Slack
from tests.clouds.smtp import PASSWORD, USER, Smtp
from tests.clouds.teams import HOOK as FLOW
from tests.clouds.teams import Teams
from tests.faults.daemon import Daemon
from tests.faults.load import page, send, violation
from tests.faults.oracle import look

SINKS = """
[sinks.bot]
kind = "slack"
token = "env:BOT"
channel = "{channel}"
base_url = "http://127.0.0.1:{bot}/api"
takes = ["position", "duty"]
linger = "100ms"

[sinks.hook]
kind = "slack"
webhook_url = "env:HOOK"
takes = ["position", "duty"]
linger = "100ms"

[sinks.flow]
kind = "teams"
webhook_url = "env:FLOW"
takes = ["position", "duty"]
linger = "100ms"

[sinks.mail]
kind = "email"
host = "127.0.0.1"
port = {mail}
user = "{user}"
password = "env:MAIL"
from = "fleetd@example.com"
to = ["ops@example.com"]
ca = "{ca}"
takes = ["position", "duty"]
linger = "100ms"
"""
FOOT = re.compile(r"events (\d+) to (\d+)|fleetd show (\d+)")
MOMENTS = ("before", "after", "answered")


class Trap:
    """Kills once, in the moment it is set for, from within the far side."""

    def __init__(self, chance: random.Random) -> None:
        self.kill: Callable[[], None] = lambda: None
        self.moment = ""
        self.sprung = threading.Event()
        self._chance = chance

    def set(self, moment: str, kill: Callable[[], None]) -> None:
        self.sprung.clear()
        self.moment, self.kill = moment, kill

    def at(self, moment: str) -> bool:
        """Whether this is the moment; then it has killed, or is about to."""
        if self.moment != moment:
            return False
        self.moment = ""
        if moment == "answered":
            rest = self._chance.uniform(0, 0.02)
            threading.Timer(rest, self._spring).start()
        else:
            self._spring()
        return True

    def _spring(self) -> None:
        self.kill()
        self.sprung.set()


class DeadlySlack(Slack):
    trap: Trap

    def answer(self, asked: Asked) -> Reply:
        return deadly(self.trap, super().answer, asked)


class DeadlyTeams(Teams):
    trap: Trap

    def answer(self, asked: Asked) -> Reply:
        return deadly(self.trap, super().answer, asked)


def deadly(trap: Trap, answer: Callable[[Asked], Reply], asked: Asked) -> Reply:
    if trap.at("before"):
        return HANG_UP
    reply = answer(asked)
    if trap.at("after"):
        return HANG_UP
    trap.at("answered")
    return reply


class DeadlyMails(list[Any]):
    """Where a mail server puts what it took: the moments of a mail are about that."""

    trap: Trap

    def append(self, got: Any) -> None:
        if self.trap.at("before"):
            raise ConnectionResetError
        super().append(got)
        if self.trap.at("after"):
            raise ConnectionResetError
        self.trap.at("answered")


@pytest.fixture
def clouds(seed: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(seed)
    found: dict[str, Any] = {"bot": DeadlySlack(), "hook": DeadlySlack()}
    found |= {"flow": DeadlyTeams(), "mail": Smtp()}
    mails = DeadlyMails()
    found["mail"].got = mails
    for one in (found["bot"], found["hook"], found["flow"], mails):
        one.trap = Trap(chance)
    yield found
    for one in found.values():
        one.close()


def trap_of(cloud: Any) -> Trap:
    found = cloud.got.trap if isinstance(cloud, Smtp) else cloud.trap
    assert isinstance(found, Trap)
    return found


def test_a_kill_in_the_moment_of_a_notification_repeats_that_one_at_most(
    tmp_path: Path,
    make_daemon: Callable[..., Daemon],
    clouds: dict[str, Any],
    rounds: Callable[[int], int],
    seed: int,
) -> None:
    chance = random.Random(seed)
    ports = {name: clouds[name].serve() for name in ("bot", "hook", "flow")}
    ca = tmp_path / "ca.pem"
    clouds["mail"].ca.cert_pem.write_to_path(str(ca))
    sinks = SINKS.format(
        channel=CHANNEL, bot=ports["bot"], mail=clouds["mail"].port, user=USER, ca=ca
    )
    daemon = make_daemon(
        sinks=sinks,
        environ={
            "BOT": TOKEN,
            "HOOK": f"http://127.0.0.1:{ports['hook']}{HOOK}",
            "FLOW": f"http://127.0.0.1:{ports['flow']}{FLOW}",
            "MAIL": PASSWORD,
        },
    )
    kills: Counter[tuple[str, str]] = Counter()
    first = seed % 1000 * 10_000
    for number in range(rounds(4)):
        name = ("bot", "hook", "flow", "mail")[number % 4]
        moment = MOMENTS[(number + number // 4) % 3]
        print(f"round {number}: {name}, {moment}")
        daemon.begin()
        trap = trap_of(clouds[name])
        trap.set(moment, daemon.kill)
        assert send(daemon.port, page(first + number)) == 200
        if chance.random() < 0.5:
            assert send(daemon.port, violation(first + number)) == 200
        assert trap.sprung.wait(30), daemon.told()
        kills[name, moment] += 1
        time.sleep(0.05)
    daemon.begin()
    daemon.until(lambda: daemon.waiting() == 0, "all to be told", within=120)
    daemon.stop()

    seen = look(daemon.data, tmp_path / "copy")
    for name, cloud in clouds.items():
        told, repeats = of_messages(seen.lanes, cloud.texts())
        assert set(told) == set(seen.lanes), name
        print(f"{name}: {len(cloud.texts())} messages, {repeats} repeated")
        assert repeats <= kills.total()  # a kill may catch each sink with one message
        assert repeats >= kills[name, "after"]  # what it took was told, and again
    assert b"very" not in daemon.output.read_bytes()


def of_messages(lanes: dict[int, int], texts: list[str]) -> tuple[Counter[int], int]:
    """How often each event was told of, and how many messages told of any again.

    A message about alarms is about one; any other is about all of its stretch but those.
    """
    told: Counter[int] = Counter()
    repeats = 0
    for text in texts:
        *_, found = FOOT.finditer(text)
        if found[3]:
            seqs = [int(found[3])]
        else:
            span = range(int(found[1]), int(found[2]) + 1)
            seqs = [seq for seq in span if lanes[seq] == 0]
        repeats += any(told[seq] for seq in seqs)
        told.update(seqs)
    return told, repeats
