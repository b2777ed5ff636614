"""How each vendor is set up before its simulator: polled, pushed to, or both."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from tests.vendors.base import Simulator
from tests.vendors.verizon import APP, USER

SECRET = "c2VjcmV0LW9mLXRoZS1zaW11bGF0b3I="  # base64, so that every vendor takes it
PAIR = "pusher:long-enough-a-password"


class Road(Struct, frozen=True):
    """One vendor. `feeds` are those that its directory and positions need.

    `past` says that a day is fetched with `fleetd backfill` of this feed, where the live
    feed begins now and cannot be told otherwise.
    """

    vendor: str
    feeds: tuple[str, ...]
    since: str = "1d"
    past: str = ""
    pushes: bool = True
    keys: str = ""  # more lines of its table
    receives: str = 'webhook_secret = "env:SIM_SECRET"'
    path: str = ""  # behind /webhooks/<source>
    token: str = 'token = "env:SIM_TOKEN"'
    key: str = "key"  # the credential as its simulator knows it
    secret: str = SECRET
    wishes: Mapping[str, Any] = {}

    def source(
        self, name: str, *, poll: bool = True, push: bool = False, url: str = "",
        feeds: str = "", since: str = "",
    ) -> str:  # fmt: skip
        """The table of a source."""
        listed = ", ".join(f'"{one}"' for one in self.feeds)
        lines = [f"[sources.{name}]", f'provider = "{self.vendor}"', self.keys]
        if poll:
            lines += [self.token, f'base_url = "{url}"']
            lines += [f"feeds = {feeds or f'[{listed}]'}"]
            lines += [f'since = "{since or self.since}"']
        if push:
            lines.append(self.receives)
        return "\n".join(lines) + "\n"

    def simulator(self) -> type[Simulator]:
        module = importlib.import_module(f"tests.vendors.{self.vendor}")
        found = [
            one
            for one in vars(module).values()
            if isinstance(one, type) and issubclass(one, Simulator)
            if one.__module__ == module.__name__ and one.vendor == self.vendor
        ]
        return found[0]


ROADS = {
    "example": Road("example", ("vehicles", "positions")),
    "samsara": Road(
        "samsara", ("vehicles", "drivers"), since="5m", past="positions", pushes=False
    ),
    "motive": Road("motive", ("vehicles", "drivers", "positions")),
    "geotab": Road(
        "geotab",
        ("vehicles", "positions"),
        pushes=False,
        keys='database = "acme_haul"\nuser = "fleetd-service@acme.test"',
    ),
    "verizon": Road(
        "verizon",
        ("vehicles", "drivers", "track"),
        keys=f'user = "{USER}"\napp_id = "{APP}"',
        receives='webhook_secret = "env:SIM_PAIR"',
        secret=PAIR,
    ),
}
