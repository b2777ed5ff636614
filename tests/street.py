"""A daemon's desk and its door, the vendor before it, and the way between: in virtual time."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import trio

from fleetd import config, providers, secrets, sinks
from fleetd.clock import Clock
from fleetd.pace import Breaker
from fleetd.store import open_store
from fleetd.store.look import Filter, oldest
from fleetd.tasks.board import Board
from fleetd.tasks.budget import Budgets
from fleetd.tasks.control import act
from fleetd.tasks.listen import Gate, Reception
from fleetd.tasks.poll import accounts_of, open_credential
from fleetd.tasks.registration import recall_of, secrets_beside, watch_registration
from fleetd.tasks.supervise import Health, keep_alive
from fleetd.web import Request
from fleetd.world import World
from tests.vendors.base import Simulator
from tests.vendors.wire import asked_of

HOST = "fleet.example.com"
HOUSE = """
[daemon]
data = "data"
[webhooks]
public_url = "%s"
%s
[sources.north]
provider = "%s"
token = "plain:key"
%s
"""


class Names(trio.abc.HostnameResolver):
    """What names stand for, as a test says."""

    def __init__(self, street: Street) -> None:
        self.street = street

    async def getaddrinfo(self, host: Any, port: Any, *_rest: Any) -> Any:
        await trio.sleep(self.street.lookup_s)
        if isinstance(self.street.address, OSError):
            raise self.street.address
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.street.address, 0))]

    async def getnameinfo(self, *_given: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "no address here has a name")


class Street:
    """What a test does to the daemon, to the vendor, and to whatever lies between."""

    def __init__(self, board: Board, reception: Reception, sim: Any) -> None:
        self.board, self.reception, self.sim = board, reception, sim
        self.store = board.store
        self.hop: Callable[[httpx.Request], Awaitable[httpx.Response]] = self.straight
        self.lost: Callable[[httpx.Request], bool] = lambda _request: False
        self.asked: list[tuple[str, str]] = []  # of the vendor: method and path
        self.address: Any = "93.184.216.34"
        self.lookup_s = 0.0
        trio.socket.set_custom_hostname_resolver(Names(self))

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == HOST:
            return await self.hop(request)
        self.asked.append((request.method, request.url.path))
        found = self.sim.answer(asked_of(request))
        if found.broken or self.lost(request):
            raise httpx.ReadError("connection reset", request=request)
        return answer(found.status, found.body, dict(found.headers))

    async def straight(self, request: httpx.Request) -> httpx.Response:
        """The way of a webhook with nothing in between, 84 ms long."""
        await trio.sleep(0.084)
        headers = {name.lower(): value for name, value in request.headers.items()}
        path = request.url.path
        here = Request(request.method, path, "", headers, request.content, "10.0.0.2")
        found = await self.reception.receive(here)
        return answer(found.status, found.body)

    async def say(self, **values: Any) -> tuple[int, Any]:
        found = await act(self.board, "webhook", json.dumps(values).encode())
        return found.status, json.loads(found.body)

    async def do(self, action: str, **values: Any) -> Any:
        status, found = await self.say(action=action, source="north", **values)
        assert status == 200, found
        return found

    async def fails(self, action: str, **values: Any) -> str:
        status, found = await self.say(action=action, source="north", **values)
        assert status != 200, found
        return str(found["error"])

    async def test(self) -> Any:
        return (await self.do("test"))["sources"][0]

    async def rows(self) -> Any:
        return (await self.do("list"))["sources"][0]["registered"]

    def alerts(self) -> list[str]:
        with self.store.reader() as reader:
            wanted = Filter(kinds=frozenset({"alert"}))
            found = oldest(reader.db, wanted, 0, 1 << 60, 1000).entries
        return [str(one.event.type) for one in found]  # type: ignore[union-attr]

    @property
    def trouble(self) -> str:
        return self.board.unregistered.get("north", "")

    @property
    def file(self) -> Path:
        return self.board.house.daemon.data / "secrets" / "north.webhook"


def answer(
    status: int, body: bytes = b"", headers: dict[str, str] | None = None
) -> httpx.Response:
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body))


@asynccontextmanager
async def street(
    folder: Path, world: World, sim: Simulator | None, table: str = "", *,
    provider: str = "", url: str = f"https://{HOST}", watched: bool = False,
    rooms: str = "",
) -> AsyncIterator[Street]:  # fmt: skip
    """One run of it over a folder; open it again and it is a restart."""
    kind = provider or (sim.vendor if sim else "motive")
    text = HOUSE % (url, rooms, kind, table)
    house = config.fitted(
        config.parse(text, folder / "fleetd.toml"), providers.load, sinks.load
    )
    secrets.resolve(house, {})
    vendors = {"north": config.configured(house.sources["north"], providers.load)}
    async with open_store(house.daemon.data, world) as store:
        await store.register_sources({"north": kind})
        board = Board(house, store, world, clock=Clock(world), providers=vendors)
        source = house.sources["north"]
        gate = Gate("north", source, vendors["north"], verified=False)
        gate.beside = secrets_beside(recall_of(board, "north"))
        reception = Reception(
            {"north": gate} if source.receives else {}, store, Clock(world),
            probes=board.probes, trusted=house.webhooks.trusted_proxies,
        )  # fmt: skip
        board.gates = reception.gates
        here = Street(board, reception, sim)
        world._transport = httpx.MockTransport(here)
        budgets = Budgets(world, store)
        (account,) = accounts_of(house, vendors)
        async with (
            open_credential(account, budgets, store, world) as credential,
            trio.open_nursery() as nursery,
        ):
            board.credentials = {"north": credential}
            if watched:
                start(nursery, board, world)
            yield here
            nursery.cancel_scope.cancel()


def start(nursery: trio.Nursery, board: Board, world: World) -> None:
    health = board.healths["webhook:north"] = Health(world.now)

    async def run() -> None:
        await watch_registration(board, "north", health)

    nursery.start_soon(keep_alive, "watch", run, health, Breaker(world.chance))
