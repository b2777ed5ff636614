"""What befalls a daemon with every sink: kills, restarts, cuts, people; and a fleet that goes on."""

from __future__ import annotations

import hmac
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier

from fleetd.providers.demo.far import track
from tests.bench.proc import family
from tests.clouds.book import Book
from tests.clouds.sheets import Call
from tests.postgres import USER
from tests.proofs.everywhere import FAULTS, SECRET, Everywhere

Note = dict[str, Any]
PATIENCE_S = 150.0
TRUCKS = tuple(f"demo-{4101 + number * 7}" for number in range(25))


class Pushing:
    """The fleet's other half: webhooks until each is taken, of now and of long ago.

    Fixes of now say less than what is polled of them, so that the rest is filled in
    later; those of long ago come late. Alarms, harsh driving and faults are made up.
    """

    def __init__(self, port: int, rest: float, alarms: int, seed: int) -> None:
        self.sent = 0
        self._url = f"http://127.0.0.1:{port}/webhooks/fleet"
        self._rest, self._alarms = rest, alarms
        self._chance, self._name = random.Random(seed), f"{seed:x}"
        self._faults: list[Note] = []
        self._over = threading.Event()
        self._lost = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Everything sent was taken when this returns."""
        self._over.set()
        self._thread.join()
        assert not self._lost

    def _run(self) -> None:
        upto, number = int(time.time()) - 2, 0
        with httpx.Client(timeout=10) as http:
            while not self._over.wait(self._rest):
                number, now = number + 1, int(time.time())
                self._post(
                    http, "positions", [plainer(one) for one in track(upto, now)]
                )
                ago = now - self._chance.randrange(7200, 36_000)
                self._post(
                    http, "positions", [json.loads(one) for one in track(ago, ago + 1)]
                )
                self._post(http, "activity", self._notes(number))
                upto = now

    def _notes(self, number: int) -> list[Note]:
        notes = []
        if number % self._alarms == 0:
            notes.append(self._safety(number, "sos", "severe"))
        if number % 3 == 0:
            notes.append(self._safety(number, "harshBrake", "medium"))
        if number % 6 == 0:
            notes.append(self._fault(number))
            self._faults.append(notes[-1])
        if number % 6 == 3 and self._faults:
            old = self._faults.pop(self._chance.randrange(len(self._faults)))
            notes.append({**old, "state": "cleared", "time": moment(time.time())})
        return notes

    def _about(self, number: int, what: str) -> Note:
        truck = self._chance.randrange(25)
        return {
            "id": f"{what}-{self._name}-{number}", "time": moment(time.time()),
            "vehicleId": TRUCKS[truck], "unit": f"T-{101 + truck}",
        }  # fmt: skip

    def _safety(self, number: int, event: str, severity: str) -> Note:
        about = self._about(number, event)
        return about | {
            "type": "safety", "event": event, "severity": severity, "place": "I-5 N",
            "since": about["time"], "speedKph": 88.5, "lat": 37.5, "lon": -121.2,
        }  # fmt: skip

    def _fault(self, number: int) -> Note:
        return self._about(number, "fault") | {
            "type": "fault", "state": "active", "spn": 100 + number, "fmi": 1,
            "text": "Engine oil pressure low",
        }  # fmt: skip

    def _post(self, http: httpx.Client, feed: str, items: list[Note]) -> None:
        if not items:
            return
        body = json.dumps({"feed": feed, "items": items}).encode()
        signed = hmac.digest(SECRET.encode(), body, "sha256").hex()
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            with suppress(httpx.HTTPError):
                headers = {"x-demo-signature": signed}
                answer = http.post(self._url, content=body, headers=headers)
                if answer.status_code == 200:
                    self.sent += len(items)
                    return
            time.sleep(0.05)
        self._lost += 1


def plainer(fix: bytes) -> Note:
    """A fix that does not say yet where that is, nor who drives."""
    hidden = {"place", "driverId", "driverName"}
    return {name: one for name, one in json.loads(fix).items() if name not in hidden}


def moment(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


class Watch:
    """Looks at where vehicles are, in the database, all the time: never back."""

    def __init__(self, all_of: Everywhere) -> None:
        self.looks, self.wrong = 0, list[str]()
        self._all_of, self._over = all_of, threading.Event()
        self._last: dict[str, tuple[Any, ...]] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.2):
            with suppress(psycopg.Error):
                self._look()

    def _look(self) -> None:
        query = SQL("SELECT * FROM {}.latest_positions")
        with psycopg.connect(self._all_of.server.url(), row_factory=dict_row) as one:
            rows = one.execute(query.format(Identifier(self._all_of.schema))).fetchall()
        self.looks += 1
        for row in rows:
            truck = row["provider_vehicle_id"]
            stamp = row["timestamp"], row["revision"], row["seq"]
            if stamp < self._last.get(truck, stamp):
                self.wrong.append(f"{truck}: {stamp} after {self._last[truck]}")
            self._last[truck] = stamp


class Troubles:
    """One after the other, each kind of trouble, for as long as it goes on."""

    def __init__(self, all_of: Everywhere, chance: random.Random) -> None:
        self.of, self._chance = all_of, chance
        self.done: Counter[str] = Counter()
        self.lost_mails = 0  # taken, and hung up
        all_of.cloud.fault = self._fault
        all_of.cloud.before_write = self._person

    KINDS = (
        "kill", "kill", "cut_backends", "restart_postgres", "kill_encoder", "end_tokens",
        "mail", "mail", "refuse_bot", "ask_the_past", "replay", "kill_at_start",
    )  # fmt: skip

    def go_on(self, seconds: float) -> None:
        """All kinds, in any order, again and again; the pauses grow with the time there is."""
        end = time.monotonic() + seconds
        pause = min(max(seconds / len(self.KINDS) / 1.6, 0.3), 10.0)
        while time.monotonic() < end:
            for kind in self._chance.sample(self.KINDS, len(self.KINDS)):
                time.sleep(self._chance.uniform(0, 2 * pause))
                getattr(self, f"_{kind}")()
                self.done[kind] += 1

    def over(self) -> None:
        """Everybody is well from now on."""
        of = self.of
        of.cloud.fault, of.cloud.before_write = (lambda call: ""), None
        of.mail.says.clear()
        of.road.calm()
        for one in of.posts:
            one.calm()

    @property
    def kills(self) -> int:
        return self.done["kill"] + 2 * self.done["kill_at_start"]

    # the daemon

    def kill(self) -> None:
        """Once more."""
        self._kill()
        self.done["kill"] += 1

    def _kill(self) -> None:
        self.of.daemon.kill()
        self.of.daemon.begin()

    def _kill_at_start(self) -> None:
        self.of.daemon.kill()
        self.of.daemon.start()
        time.sleep(self._chance.uniform(0, 0.8))
        self._kill()

    def _kill_encoder(self) -> None:
        child = self.of.daemon.child
        assert child is not None
        for pid in family([child.pid]) - {child.pid}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # what an operator does meanwhile

    def _ask_the_past(self) -> None:
        ago = self._chance.randrange(3, 20) * 60
        since, until = (moment(time.time() - 60 * one) for one in (ago + 5, ago))
        self.of.daemon.run(
            "backfill", "fleet", "positions", "--since", since, "--until", until
        )

    def _replay(self) -> None:
        for sink in ("base", "latest", "lake"):
            words = ("replay", sink, "--last", str(self._chance.randrange(1, 400)))
            self.of.daemon.run(*words, "--yes")

    # PostgreSQL

    def _restart_postgres(self) -> None:
        server = self.of.server
        server.stop()
        try:
            time.sleep(self._chance.uniform(0, 1))
        finally:
            server.start()

    def _cut_backends(self) -> None:
        query = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"
            " AND application_name <> '' "
        )
        with suppress(psycopg.Error):
            self.of.server.rows(query, USER)

    # the others

    def _end_tokens(self) -> None:
        self.of.cloud.end_tokens()

    def _refuse_bot(self) -> None:
        """The bot's token is revoked until somebody sees to it."""
        bot, daemon = self.of.bot, self.of.daemon
        bot.error = "token_revoked"
        with suppress(AssertionError):  # perhaps there is nothing to tell
            daemon.until(lambda: self._state("bot") == "held", "it to be held", 1.5)
        bot.error = ""
        daemon.run("resume", "bot")

    def _state(self, sink: str) -> str:
        return str(self.of.daemon.status()["sinks"][sink]["state"])

    def _mail(self) -> None:
        """The next mail is put off, or taken without a word, in either case once."""
        verb, said = self._chance.choice([
            ("end", ""), ("end", "451 4.3.0 try again later"), ("MAIL", "421 busy"),
            ("RCPT", "450 4.2.1 later"), ("DATA", ""), ("hello", ""), ("end", ""),
        ])  # fmt: skip
        self.of.mail.says[verb] = [said]
        self.lost_mails += (verb, said) == ("end", "")

    def _fault(self, call: Call) -> str:
        return self._chance.choice(FAULTS) if self._chance.random() < 0.06 else ""

    def _person(self, book: Book) -> None:
        """Somebody sorts a tab, or inserts rows, just as it is written to."""
        chance = self._chance
        tab = chance.choice(book.tabs)
        if tab.title not in ("log", "latest", "trips") or chance.random() < 0.5:
            return
        self.done["person"] += 1
        if chance.random() < 0.7:
            tab.sort(chance.randrange(2), reverse=chance.random() < 0.5)
        else:
            tab.rows[1:1] = [{} for _ in range(chance.randrange(1, 4))]
