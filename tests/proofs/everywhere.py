"""One fleet, one fleetd.toml, and every sink there is, each before a far side of its own."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from tests.clouds.book import Book
from tests.clouds.sheets import Cloud
from tests.clouds.slack import CHANNEL, HOOK, TOKEN
from tests.clouds.smtp import PASSWORD, USER, Smtp
from tests.clouds.teams import HOOK as FLOW
from tests.faults.cutting import Cutter
from tests.postgres import Postgres
from tests.proofs.house import House
from tests.proofs.worst import Hub, Slack, Teams
from tests.sinks.sheeted import BOOK

SECRET = "known-to-the-demo-fleet"
RINGS = ("bot", "hook", "flow", "mail")
KINDS = ("position", "trip", "safety", "fault", "engine", "geofence", "duty")
TAKES: dict[str, tuple[str, ...]] = {
    "log": ("position", "trip", "safety"), "latest": ("position",), "trips": ("trip",),
    "lake": KINDS, "base": KINDS, **dict.fromkeys(RINGS, ("safety", "fault")),
}  # fmt: skip
FAULTS = ("reset", "reset after", "503", "503 after", "500 after", "429", "late")
CONFIG = """
[sources.fleet]
provider = "demo"
webhook_secret = "env:DEMO"
since = "5m"

[sinks.files]
kind = "file"
path = "./files"

[sinks.hub]
kind = "http"
url = "http://127.0.0.1:$hub/ingest"
batch = 200
linger = "100ms"

[sinks.log]
kind = "sheets"
spreadsheet = "$book"
account = "env:ACCOUNT"
base_url = "$sheets"
tab = "log"
takes = $log
batch = $rows
columns = ["seq", "id", "kind", "at", "vehicle", "latitude", "speed_mph", "location_description"]

[sinks.latest]
kind = "sheets"
mode = "upsert"
spreadsheet = "$book"
account = "env:ACCOUNT"
base_url = "$sheets"
tab = "latest"
takes = $latest
every = "$every"
key = ["vehicle"]
columns = { truck = "vehicle", seq = "seq", seen = "at", lat = "latitude", mph = "speed_mph" }

[sinks.trips]
kind = "sheets"
mode = "upsert"
spreadsheet = "$book"
account = "env:ACCOUNT"
base_url = "$sheets"
tab = "trips"
takes = $trips
every = "$every"
audit = "audit"
key = ["source", "id"]
columns = ["source", "id", "seq", "revision", "distance_miles"]

[sinks.lake]
kind = "parquet"
path = "./lake"
takes = $lake
linger = "200ms"

[sinks.base]
kind = "postgres"
url = "env:BASE"
schema = "$schema"
takes = $base
batch = 200

[sinks.bot]
kind = "slack"
token = "env:BOT"
channel = "$channel"
base_url = "http://127.0.0.1:$bot/api"
takes = $rings
linger = "$linger"
max_age = "1d"

[sinks.hook]
kind = "slack"
webhook_url = "env:HOOK"
takes = $rings
linger = "$linger"
max_age = "1d"

[sinks.flow]
kind = "teams"
webhook_url = "env:FLOW"
takes = $rings
linger = "$linger"
max_age = "1d"

[sinks.mail]
kind = "email"
host = "127.0.0.1"
port = $mail
user = "$user"
password = "env:MAIL"
from = "fleetd@example.com"
to = ["ops@example.com"]
ca = "$folder/ca.pem"
takes = $rings
linger = "$linger"
max_age = "1d"
"""

PATIENT = {"every": "20s", "linger": "10s", "rows": "1500"}
HURRIED = {"every": "1s", "linger": "500ms", "rows": "600"}


class Everywhere:
    """The daemon and its far sides; `patient` is for as long as real limits take."""

    def __init__(
        self, make: Callable[..., House], server: Postgres, stack: ExitStack,
        chance: random.Random, *, patient: bool,
    ) -> None:  # fmt: skip
        self.server, self.schema = server, f"e_{uuid.uuid4().hex[:12]}"
        self.patient = patient
        self.hub, self.bot, self.hook = (of(chance, 0.2) for of in (Hub, Slack, Slack))
        if patient:  # Slack minds more than a message a second
            self.bot.now = self.hook.now = time.monotonic
        self.flow, self.mail = Teams(chance, 0.2), Smtp()
        self.cloud = Cloud(per_minute=60 if patient else 10_000)
        self.cloud.late = 0.3
        self.cloud._server.handle_error = lambda *_: None  # daemons are killed
        self.book: Book = self.cloud.book(BOOK)
        self.road = stack.enter_context(Cutter(server.port, chance, every=12))
        for one in (*self.posts, self.mail, self.cloud):
            stack.callback(one.close)
        self.ports = {name: getattr(self, name).serve() for name in POSTS}
        self.daemon = self._daemon(make)

    @property
    def posts(self) -> tuple[Hub, Slack, Slack, Teams]:
        return self.hub, self.bot, self.hook, self.flow

    def _daemon(self, make: Callable[..., House]) -> House:
        daemon = make()
        daemon.program = "fleetd" if self.patient else "tests.proofs.hurried"
        at = "http://127.0.0.1:{}{}".format
        daemon.environ |= {
            "DEMO": SECRET, "ACCOUNT": json.dumps(self.cloud.account()), "BOT": TOKEN,
            "HOOK": at(self.ports["hook"], HOOK), "FLOW": at(self.ports["flow"], FLOW),
            "MAIL": PASSWORD, "BASE": self.server.url(port=self.road.port),
        }  # fmt: skip
        self.mail.ca.cert_pem.write_to_path(str(daemon.folder / "ca.pem"))
        words: dict[str, Any] = {name: json.dumps(TAKES[name]) for name in TAKES}
        words |= {"rings": json.dumps(TAKES["bot"]), "book": BOOK, "user": USER}
        words |= {name: str(self.ports[name]) for name in ("hub", "bot")}
        words |= {"sheets": self.cloud.url, "mail": str(self.mail.port)}
        words |= {"schema": self.schema, "channel": CHANNEL}
        words |= PATIENT if self.patient else HURRIED
        daemon.configure(CONFIG, **words)
        return daemon

    def breaches(self) -> list[int]:
        """How often a limit was broken: Google's quota, and Slack's, twice."""
        quota = self.cloud.refused.count(429)
        return [quota, self.bot.breaches, self.hook.breaches]

    def sinks(self) -> list[str]:
        return [*self.daemon.status()["sinks"]]


POSTS = ("hub", "bot", "hook", "flow")
