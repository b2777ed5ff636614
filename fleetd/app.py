"""Opens, starts and ends everything: nesting is the order of the house."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

import structlog
import trio

from fleetd import config, providers, sinks, systemd
from fleetd.clock import Clock
from fleetd.config import House
from fleetd.directory import Unit
from fleetd.errors import ConfigError
from fleetd.event import millis
from fleetd.metrics import Metrics
from fleetd.pace import Breaker
from fleetd.providers.contract import Provider
from fleetd.reach import Proxies
from fleetd.store import Rules, SinkPlace, Store, open_store
from fleetd.store.units import ROSTER
from fleetd.tasks import control, report
from fleetd.tasks.asking import Loop, asking
from fleetd.tasks.board import Board, close, watch
from fleetd.tasks.budget import Budgets
from fleetd.tasks.deliver import Accounts, deliver, plan_of
from fleetd.tasks.heartbeat import heartbeat, keep_time, sweep
from fleetd.tasks.listen import Gate, Reception
from fleetd.tasks.poll import Credential, accounts_of, open_credential, way_of
from fleetd.tasks.prune import prune
from fleetd.tasks.registration import recall_of, secrets_beside
from fleetd.tasks.silence import watch_silence
from fleetd.tasks.supervise import Health, keep_alive
from fleetd.web import TLS, Door, Limits, Listener, open_listeners, twins
from fleetd.world import World

CLOSE_WITHIN = 5.0
logger = structlog.get_logger()


class Daemon:
    """One running fleetd: one log, and one life after another as the config changes."""

    def __init__(self, house: House, world: World) -> None:
        self._house = house
        self._world = world
        self._sockets = Sockets(world.environ)
        self._next: House | None = house
        self._metrics = Metrics()  # of the process: a reload changes no count
        self._started_ms = millis(world.now())
        self._changed = trio.Event()
        self._board: Board | None = None
        self.ready = trio.Event()

    async def run(self) -> None:
        """Serve until told to stop."""
        world, data = self._world, self._house.daemon.data
        prove(self._house, self._world.environ)
        async with open_store(data, world, rules_of(self._house)) as store:
            if store.aside:
                logger.error("log_set_aside", why=store.aside)
            clock = Clock(world)
            world.on_date, world.trusted = clock.heard, lambda: clock.trusted
            budgets = Budgets(world, store)
            try:
                await self._sockets.need(self._house)
                while self._next is not None:
                    self._house, self._next = self._next, None
                    self._changed = trio.Event()
                    store.adopt(rules_of(self._house))
                    budgets.renew()
                    life = Life(
                        self._house, store, world, clock, self._started_ms,
                        self._metrics, budgets,
                    )  # fmt: skip
                    self._board = life.board
                    await life.live(
                        self._sockets, self._changed, self.ready,
                        stops=lambda: self._next is None,
                    )  # fmt: skip
            finally:
                await self._sockets.close()

    async def reload(self, house: House) -> None:
        """Go on under another config, or raise `ConfigError` and go on as before."""
        if house.daemon.data != self._house.daemon.data:
            why = "daemon.data: cannot change while fleetd runs; restart it"
            raise ConfigError(config.placed(house, why))
        prove(house, self._world.environ)
        await self._sockets.need(house)
        self._next = house
        self._changed.set()

    def refused(self, why: str) -> None:
        """Say in status what is wrong with the file, until a better one is taken."""
        if self._board is not None:
            self._board.refused_config = why

    def stop(self) -> None:
        """Stop accepting, answer what is in flight, finish held batches, end."""
        systemd.notify("STOPPING=1")  # never at a reload: systemd would end us for it
        logger.info("stopping")
        self._next = None
        self._changed.set()


class Sockets:
    """The places where fleetd listens; those that stay the same outlive a reload."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._open: dict[tuple[str, str], list[Listener]] = {}

    async def need(self, house: House) -> None:
        """Listen wherever this config says, or raise `ConfigError` and change nothing."""
        wanted = [
            *(("webhooks", bind) for bind in house.webhooks.bind),
            *(("status", bind) for bind in house.status.bind),
            ("control", f"unix:{house.daemon.data / 'control.sock'}"),
        ]
        fresh: dict[tuple[str, str], list[Listener]] = {}
        try:
            for room, bind in wanted:
                if (room, bind) not in self._open:
                    fresh[room, bind] = await self._listen(house, room, bind)
        except ConfigError:
            await _close(fresh)
            raise
        gone = {key: self._open.pop(key) for key in set(self._open) - set(wanted)}
        self._open |= fresh
        await _close(gone)

    async def _listen(self, house: House, room: str, bind: str) -> list[Listener]:
        try:
            return await open_listeners([bind], name=room, environ=self._environ)
        except ConfigError as bad:
            key = "daemon.data" if room == "control" else f"{room}.bind"
            raise type(bad)(config.placed(house, f"{key}: {bad}")) from bad

    def of(self, room: str) -> list[Listener]:
        """The listeners of one door."""
        return [
            one for (of, _), many in self._open.items() if of == room for one in many
        ]

    async def close(self) -> None:
        """Listen nowhere."""
        await _close(self._open)
        self._open = {}


async def _close(sockets: Mapping[tuple[str, str], Sequence[Listener]]) -> None:
    for many in sockets.values():
        for one in many:
            await trio.aclose_forcefully(one)


class Life:
    """Everything that one config starts, ended inside out."""

    def __init__(
        self, house: House, store: Store, world: World, clock: Clock,
        started_ms: int, metrics: Metrics, budgets: Budgets,
    ) -> None:  # fmt: skip
        self.house = house
        self.budgets = budgets
        self.accounts = Accounts()
        self.store = store
        self.world = world
        self.clock = clock
        tables = house.sinks.items()
        self.board = Board(
            house, store, world, clock=clock, providers=providers_of(house),
            notifies=[name for name, one in tables if sinks.load(one.kind).notifies],
            started_ms=started_ms, metrics=metrics,
        )  # fmt: skip
        store.writer.commit_times = self.board.metrics.committed

    async def live(
        self, sockets: Sockets, changed: trio.Event, ready: trio.Event,
        stops: Callable[[], bool],
    ) -> None:  # fmt: skip
        """Run until the config changes or the daemon stops.

        A stop closes the doors first, a reload last: no webhook waits for a slow sink.
        """
        await self._register()
        await self.board.begin()
        reception = self._reception()
        self.board.freshen = reception.flush
        self.board.gates = reception.gates
        async with trio.open_nursery() as around:
            self._keep_house(around, reception)
            async with trio.open_nursery() as outbound:
                for name in self.house.sinks:
                    self._start(outbound, f"sink:{name}", self._delivery(name))
                async with self._credentials() as credentials:
                    loops = await self._askers(credentials)
                    doors = await self._open_doors(around, sockets, reception)
                    async with trio.open_nursery() as inbound:
                        for name, loop in loops:
                            self._start(inbound, name, loop)
                        systemd.notify("READY=1")
                        ready.set()
                        await changed.wait()
                        if stops():
                            await self._shut(doors, CLOSE_WITHIN)
                        inbound.cancel_scope.cancel()
                outbound.cancel_scope.cancel()
            await self._shut(doors, float(self.house.webhooks.answer_within))
            await reception.flush()
            around.cancel_scope.cancel()
        await close(self.board)

    async def _shut(self, doors: Sequence[Door], within: float) -> None:
        self.board.end()
        for door in doors:
            await door.close(within)

    async def _register(self) -> None:
        house = self.house
        await keep_roster(house, self.store)
        sources = {name: one.provider for name, one in house.sources.items()}
        was = {name: one.was for name, one in house.sources.items() if one.was}
        await self.store.register_sources(sources, was)
        places = {}
        for name, table in house.sinks.items():
            sink = sinks.load(table.kind)
            start = table.start or ("now" if sink.notifies else "oldest")
            places[name] = SinkPlace(table.taking(sink.takes), start)
        kinds = {name: table.kind for name, table in house.sinks.items()}
        was = {name: table.was for name, table in house.sinks.items() if table.was}
        await self.store.register_sinks(places, kinds, was)
        await self.world.in_thread(partial(keep_notes, house, was))

    def _reception(self) -> Reception:
        gates = {}
        for name, source in self.house.sources.items():
            provider = self.board.providers[name]
            if source.receives and provider.webhook is not None:
                gate = Gate(name, source, provider, verified=False)
                known = self.store.recall(f"verified:{name}").get("mark")
                gate.verified = known == gate.mark
                gate.beside = secrets_beside(recall_of(self.board, name))
                gates[name] = gate
        webhooks = self.house.webhooks
        return Reception(
            gates, self.store, self.clock, trusted=webhooks.trusted_proxies,
            within=float(webhooks.answer_within), tell=self.board.metrics.answered,
            probes=self.board.probes,
        )  # fmt: skip

    def _keep_house(self, around: trio.Nursery, reception: Reception) -> None:
        store, board, clock = self.store, self.board, self.clock
        self._start(around, "prune", lambda health: prune(board, health))
        self._start(around, "heartbeat", partial(heartbeat, board, reception))
        self._start(around, "sweep", lambda health: sweep(store, health))
        self._start(around, "clock", lambda health: keep_time(clock, health))
        self._start(around, "silence", lambda health: watch_silence(board, health))
        self._start(around, "board", lambda health: watch(board, health))

    async def _open_doors(
        self, around: trio.Nursery, sockets: Sockets, reception: Reception
    ) -> list[Door]:
        webhooks, board = self.house.webhooks, self.board
        tls = tls_of(self.house)
        limits = Limits(
            max_body=int(webhooks.max_body),
            max_in_flight=int(webhooks.max_in_flight),
            admits=reception.admits,
        )
        status = self.house.status
        token = status.token.reveal() if status.token else None
        said = report.handler(board, token, status.bind)
        rooms = {  # as they close: while a command is answered, webhooks are taken in
            "control": Door(control.handler(board)),
            "status": Door(said),
            "webhooks": Door(reception.receive, limits),
        }
        for room, door in rooms.items():
            listeners = twins(sockets.of(room), tls if room == "webhooks" else None)
            await around.start(door.serve, listeners)
        return list(rooms.values())

    def _delivery(self, name: str) -> Loop:
        table = self.house.sinks[name]
        sink = sinks.load(table.kind)
        place = str(self.house.daemon.data / "sinks" / name)
        account = self.accounts.of(table.kind, sink, table.settings)

        async def run(health: Health) -> None:
            await deliver(
                name, sink, plan_of(sink, table), config=table.settings,
                store=self.store, world=self.world, health=health, place=place,
                account=account, metrics=self.board.metrics,
            )  # fmt: skip

        return run

    @asynccontextmanager
    async def _credentials(self) -> AsyncIterator[dict[str, Credential]]:
        """One credential for every source that polls, open while it does."""
        async with AsyncExitStack() as open_ones:
            yield {
                account.source: await open_ones.enter_async_context(
                    open_credential(account, self.budgets, self.store, self.world)
                )
                for account in accounts_of(self.house, self.board.providers)
            }

    async def _askers(
        self, credentials: Mapping[str, Credential]
    ) -> list[tuple[str, Loop]]:
        """What asks vendors; status knows all of it before anybody can ask for status."""
        self.board.credentials = credentials
        self.board.budgets = {
            name: one.budget.use
            for name, one in credentials.items()
            if one.account.provider.answer is None
        }
        loops = await asking(self.board, credentials)
        for name, _ in loops:
            self.board.healths[name] = Health(self.world.now)
        return loops

    def _start(self, nursery: trio.Nursery, name: str, loop: Loop) -> None:
        health = self.board.healths.setdefault(name, Health(self.world.now))
        task = partial(loop, health)
        breaker = Breaker(self.world.chance)
        nursery.start_soon(keep_alive, name, task, health, breaker, name=name)


async def keep_roster(house: House, store: Store) -> None:
    """Go by the fleet's own list of vehicles, and keep it for whoever reads the log."""
    roster = {
        (name, row.id): Unit(row.fleet_number, row.vin, row.plate)
        for row in house.roster
        for name, source in house.sources.items()
        if source.provider == row.provider
    }
    store.directory.adopt(roster)
    units = [[*key, one.number, one.vin, one.plate] for key, one in roster.items()]
    if units != store.recall(ROSTER).get("units", []):
        await store.remember(ROSTER, {"units": units} if units else None)


def keep_notes(house: House, was: Mapping[str, str]) -> None:
    """Let a renamed sink find what it noted for itself under its old name."""
    place = house.daemon.data / "sinks"
    for name, before in was.items():
        here, there = place / name, place / before
        if before not in house.sinks and there.is_dir() and not here.exists():
            with suppress(OSError):
                there.rename(here)


def rules_of(house: House) -> Rules:
    """What the log may hold, as the config says."""
    keep = house.store.keep
    return Rules(
        max_disk=int(house.store.max_disk) or None,
        keep=keep.of("default"),
        keep_kinds={kind: float(span) for kind, span in keep.items()},
        keep_raw=float(house.store.keep_raw),
        dedupe_window=float(house.store.dedupe_window),
        keep_ledger=float(house.store.keep_ledger),
    )


def prove(house: House, environ: Mapping[str, str]) -> None:
    """Raise now what would end a life as it begins: certificates, proxies that cannot be used."""
    try:
        tls_of(house)
    except ConfigError as bad:
        raise ConfigError(config.placed(house, f"webhooks.tls_cert: {bad}")) from bad
    if house.sinks:
        Proxies("", environ)
    for name, source in house.sources.items():
        try:
            way_of(source).options(environ)
        except ConfigError as bad:
            raise ConfigError(config.placed(house, f"sources.{name}.{bad}")) from bad


def tls_of(house: House) -> TLS | None:
    """The certificate that the webhook door shows, if it speaks TLS."""
    door = house.webhooks
    if door.tls_cert and door.tls_key:
        return TLS(door.tls_cert, door.tls_key)
    return None


def providers_of(house: House) -> dict[str, Provider]:
    """Each source's provider, as the source's own keys shape it."""
    return {
        name: config.configured(source, providers.load)
        for name, source in house.sources.items()
    }
