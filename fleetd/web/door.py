"""One set of listeners behind one handler, one budget of bytes and one sweeper."""

from __future__ import annotations

import errno
import math
from collections.abc import Sequence
from typing import Final

import structlog
import trio

from fleetd.errors import StoreError, leaves
from fleetd.web.messages import Handler, Limits, complaint
from fleetd.web.peer import IDLE, TICK, Peer, Shared
from fleetd.web.wire import wire_of

PAUSE: Final = 0.1
QUIET: Final = 60.0
GRACE: Final = 0.25  # seconds in which a request on its way to us still arrives
PARTING: Final = 128
SHORTAGES: Final = frozenset(
    (
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOBUFS,
        errno.ECONNABORTED,
        errno.EPROTO,
        errno.EPERM,
        errno.ENETDOWN,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
    )
)
CROWDED: Final = complaint(
    503, "too many connections, come back soon", (("Retry-After", "1"),)
)

logger = structlog.get_logger()


class Door:
    """Listeners behind one handler.

    No request has a time-out of its own: one sweeper looks at every peer twice a second
    and ends those whose phase has lasted too long (so up to a second late).
    """

    def __init__(self, handler: Handler, limits: Limits = Limits()) -> None:  # noqa: B008
        self.limits = limits
        self._shared = Shared(handler, limits)
        self._peers: set[Peer] = set()
        self._listening: set[trio.CancelScope] = set()
        self._changed = trio.lowlevel.ParkingLot()
        self._complained = -math.inf

    @property
    def connections(self) -> int:
        return len(self._peers)

    @property
    def in_flight(self) -> int:
        return self._shared.in_flight

    async def serve(
        self,
        listeners: Sequence[trio.abc.Listener[trio.abc.Stream]],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Answer whoever comes, until cancelled; then the listeners are closed."""
        async with trio.open_nursery() as peers:
            peers.start_soon(self.sweep)
            async with trio.open_nursery() as accepting:
                self._listening.add(accepting.cancel_scope)
                for listener in listeners:
                    accepting.start_soon(self._accept, listener, peers)
                task_status.started()
            self._listening.discard(accepting.cancel_scope)
            await trio.sleep_forever()

    async def close(self, within: float = 5.0) -> None:
        """Take nothing new, answer what is in flight for so long, then hang up."""
        self._shared.closing = True
        for scope in self._listening:
            scope.cancel()
        with trio.move_on_after(min(GRACE, within)):
            await self._gone()
        for peer in self._peers:
            if peer.phase == IDLE:
                peer.scope.cancel()
        with trio.move_on_after(max(within - GRACE, 0)):
            await self._gone()
        for peer in self._peers:
            peer.scope.cancel()

    async def _gone(self) -> None:
        while self._peers:
            await self._changed.park()

    async def welcome(self, stream: trio.abc.Stream) -> None:
        """Serve one peer to its end; nothing it does reaches the others."""
        if not self._peers:
            self._shared.tick()
        try:
            wire = wire_of(stream)
        except OSError:
            await trio.aclose_forcefully(stream)
            return
        peer = Peer(wire, self._shared)
        crowded = len(self._peers) >= self.limits.connections
        self._peers.add(peer)
        self._changed.unpark_all()
        try:
            await (peer.part(CROWDED) if crowded else peer.run())
        except Exception as fault:
            if any(isinstance(one, StoreError) for one in leaves(fault)):
                raise
            logger.exception("peer_failed", peer=wire.peer)
        finally:
            self._peers.discard(peer)
            self._changed.unpark_all()
            await wire.close()

    async def sweep(self) -> None:
        """End every peer whose phase has lasted too long, until cancelled."""
        shared = self._shared
        while True:
            if not self._peers:
                await self._changed.park()
            shared.tick()
            for peer in self._peers:
                if shared.now - peer.since > shared.allowed[peer.phase]:
                    peer.expire()
            await trio.sleep(TICK)

    async def _accept(
        self, listener: trio.abc.Listener[trio.abc.Stream], peers: trio.Nursery
    ) -> None:
        async with listener:
            while True:
                try:
                    stream = await listener.accept()
                except OSError as fault:
                    if fault.errno not in SHORTAGES:
                        raise
                    self._complain(fault)
                    await trio.sleep(PAUSE)
                    continue
                if self.connections < self.limits.connections + PARTING:
                    peers.start_soon(self.welcome, stream)
                else:
                    await trio.aclose_forcefully(stream)

    def _complain(self, fault: OSError) -> None:
        now = trio.current_time()
        if now - self._complained >= QUIET:
            self._complained = now
            logger.warning(
                "accept_paused", why=fault.strerror, connections=self.connections
            )


async def serve_stream(stream: trio.abc.Stream, door: Door | Handler) -> None:
    """Serve one peer to its end, with a door of its own when given a bare handler."""
    if not isinstance(door, Door):
        door = Door(door)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(door.sweep)
        await door.welcome(stream)
        nursery.cancel_scope.cancel()
