"""Everything that asks a source's vendor: its feeds, past windows, what was missed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from fleetd.event import millis
from fleetd.providers.contract import Feed
from fleetd.tasks.backfill import backfills
from fleetd.tasks.control.backfill import add_job
from fleetd.tasks.coverage import coverage, covers, kept
from fleetd.tasks.poll import Credential, Plan, plans_of, poll
from fleetd.tasks.reconcile import note_outages, reconcile
from fleetd.tasks.registration import asks, watch_registration
from fleetd.tasks.supervise import Health

if TYPE_CHECKING:
    from fleetd.tasks.board import Board

Loop: TypeAlias = "Callable[[Health], Awaitable[None]]"
Recover: TypeAlias = "Callable[[datetime], Awaitable[None]]"


async def asking(
    board: Board, credentials: Mapping[str, Credential]
) -> list[tuple[str, Loop]]:
    """The tasks of every source, by name; what makes up for its gaps is noted first."""
    await note_outages(board.store, board.world.now())
    found: list[tuple[str, Loop]] = []
    for source, table in board.house.sources.items():
        credential, provider = credentials.get(source), board.providers[source]
        plans = list(plans_of(board.house, credential.account)) if credential else []
        cover = coverage(
            provider, [plan.feed.name for plan in plans], receives=table.receives,
            asks=credential is not None,
        )  # fmt: skip
        await board.store.remember(covers(source), kept(cover))
        if credential is None:
            continue
        for plan in plans:
            name = f"feed:{source}/{plan.feed.name}"
            found.append((name, polling(board, plan, credential)))
        if any(feed.past for feed in provider.feeds):
            found.append((f"backfill:{source}", filling(board, credential)))
            found.append((f"repair:{source}", filling(board, credential, repairs=True)))
        if asks(board, source):
            found.append((f"webhook:{source}", registered(board, source)))
        again = [feed for feed in provider.feeds if feed.name in cover.compared]
        if again:
            every = float(table.reconcile)
            loop = comparing(board, credential, again, every)
            found.append((f"reconcile:{source}", loop))
    return found


def polling(board: Board, plan: Plan, credential: Credential) -> Loop:
    async def run(health: Health) -> None:
        await poll(
            plan, credential, store=board.store, world=board.world, health=health,
            clock=board.clock, recover=recovery(board, plan),
        )  # fmt: skip

    return run


def recovery(board: Board, plan: Plan) -> Recover:
    """What fetches the time since a bookmark that the vendor forgot, where it can."""

    async def recover(since: datetime) -> None:
        past, now, store = plan.feed.past, board.world.now(), board.store
        if past is None:
            return
        parts = store.directory.ids(plan.source, "vehicle") if past.parts else ()
        window = (max(since, now - past.within), now)
        await store.add_job(add_job(plan.source, plan.feed, window, parts, millis(now)))

    return recover


def filling(board: Board, credential: Credential, *, repairs: bool = False) -> Loop:
    feeds = {feed.name: feed for feed in credential.account.provider.feeds}

    async def run(health: Health) -> None:
        await backfills(
            credential, feeds, store=board.store, world=board.world, health=health,
            clock=board.clock, repairs=repairs,
        )  # fmt: skip

    return run


def registered(board: Board, source: str) -> Loop:
    async def run(health: Health) -> None:
        await watch_registration(board, source, health)

    return run


def comparing(
    board: Board, credential: Credential, feeds: list[Feed], every: float
) -> Loop:
    async def run(health: Health) -> None:
        await reconcile(
            credential, feeds, every, store=board.store, world=board.world,
            health=health,
        )  # fmt: skip

    return run
