"""A daemon's desk without its loops: a real log, what it knows of itself, and both handlers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from msgspec.structs import replace

from fleetd import config
from fleetd.clock import Clock
from fleetd.config import House
from fleetd.event import Record
from fleetd.providers.contract import Provider, Unpacked, Webhook
from fleetd.providers.signing import check_hmac, from_hex
from fleetd.store import SinkPlace, Store, open_store
from fleetd.tasks import control, report
from fleetd.tasks.board import Board
from fleetd.web import Request
from fleetd.world import World
from tests.store.deeds import ACME

HOUSE = """
[daemon]
data = "data"
timezone = "UTC"
[sources.north]
provider = "acme"
webhook_secret = "plain:north-secret"
[sources.south]
provider = "acme"
[sinks.ops]
kind = "http"
url = "http://127.0.0.1:1/"
[sinks.pager]
kind = "http"
url = "http://127.0.0.1:1/"
takes = ["safety"]
"""


def verify(request: Request, secrets: Any) -> None:
    claimed = from_hex(request.header("x-signature"))
    check_hmac([one.encode() for one in secrets], request.body, claimed)


def unpack(request: Request) -> Unpacked:
    return Unpacked([Record("e", one) for one in request.body.split(b"\n") if one])


HOOKED = replace(
    ACME,
    webhook=Webhook(verify, unpack, lambda _body, _secret, _now: {"x-signed": "1"}),
)


class Answer(NamedTuple):
    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Desk:
    """What an operator's commands talk to."""

    def __init__(self, board: Board, token: str | None = None) -> None:
        self.board = board
        self.store: Store = board.store
        self.house: House = board.house
        self._report = report.handler(board, token, board.house.status.bind)
        self._control = control.handler(board)

    async def ask(self, path: str, **params: str) -> Any:
        """A question to the control socket that has to be answered."""
        target = urlencode(params)
        found = await self._control(Request("GET", path, target, {}, b"", "unix"))
        assert found.status == 200, found
        return json.loads(found.body)

    async def port(
        self, path: str, headers: Mapping[str, str] | None = None, query: str = "",
        method: str = "GET",
    ) -> Answer:  # fmt: skip
        """A request to the status port, as it is answered."""
        given = {"host": "127.0.0.1:8787", **(headers or {})}
        found = await self._report(
            Request(method, path, query, given, b"", "127.0.0.1")
        )
        return Answer(found.status, found.body)

    async def say(self, verb: str, **values: Any) -> Answer:
        """Ask for something to be done."""
        body = json.dumps(values).encode()
        found = await self._control(
            Request("POST", f"/control/{verb}", "", {}, body, "unix")
        )
        return Answer(found.status, found.body)

    async def do(self, verb: str, **values: Any) -> Any:
        """Have something done that has to work."""
        found = await self.say(verb, **values)
        assert found.status == 200, found
        return found.json

    async def status(self) -> Any:
        """The state of everything, looked at now."""
        import trio

        await trio.sleep(1.1)  # it is looked at once a second
        return await self.ask("/api/status")


def house_of(text: str, folder: Path) -> House:
    found = config.parse(text, folder / "fleetd.toml")
    for source in found.sources.values():
        for secret in source.webhook_secret or ():
            secret.settle(secret.reveal())
    return found


@asynccontextmanager
async def desk(
    folder: Path, world: World, text: str = HOUSE, *, token: str | None = None,
    notifies: tuple[str, ...] = ("pager",),
) -> AsyncIterator[Desk]:  # fmt: skip
    """One run of it over a folder; open it again and it is a restart."""
    house = house_of(text, folder)
    async with open_store(house.daemon.data, world) as store:
        await store.register_sources(
            {name: one.provider for name, one in house.sources.items()}
        )
        places = {
            name: SinkPlace(table.taking(("position", "safety", "vehicle")))
            for name, table in house.sinks.items()
        }
        await store.register_sinks(places)
        providers: dict[str, Provider] = dict.fromkeys(house.sources, HOOKED)
        board = Board(
            house,
            store,
            world,
            clock=Clock(world),
            providers=providers,
            notifies=notifies,
        )
        await board.begin()
        try:
            yield Desk(board, token)
        finally:
            await board.keep()
