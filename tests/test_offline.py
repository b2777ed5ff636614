"""Minutes in which nobody outside answers us are told from those in which all is well."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from types import SimpleNamespace

import httpx
import trio

from fleetd.store import Rules, open_store
from fleetd.tasks.heartbeat import heartbeat
from fleetd.tasks.supervise import Health
from fleetd.world import World, inline
from tests.conftest import MORNING


async def states(folder, answer, *, asks: int, every: float) -> list[str]:
    """What the minutes say of a run that asks so many times, and ends with the last."""
    begun = trio.current_time()
    world = World(
        now=lambda: MORNING + timedelta(seconds=trio.current_time() - begun),
        steady=trio.current_time,
        transport=httpx.MockTransport(lambda _: answer(trio.current_time() - begun)),
        in_thread=inline,
        threads=False,
    )
    reception = SimpleNamespace(flush=trio.lowlevel.checkpoint)
    async with open_store(folder, world, Rules(max_disk=1 << 30)) as store:
        board = SimpleNamespace(store=store, refusing=lambda: "")
        async with trio.open_nursery() as nursery, world.client() as http:
            nursery.start_soon(heartbeat, board, reception, Health(world.now), {})
            for _ in range(asks):
                with suppress(httpx.ConnectError):
                    await http.get("https://hub.example/")
                await trio.sleep(every)
            nursery.cancel_scope.cancel()
        found = store.log.db.execute("SELECT state FROM minutes ORDER BY minute")
        return [state for (state,) in found]


def unreachable(_: float) -> httpx.Response:
    raise httpx.ConnectError("no route to host")


async def test_minutes_in_which_nobody_answers_are_offline_until_somebody_does(
    tmp_path, autojump_clock
):
    def answer(seconds: float) -> httpx.Response:
        return unreachable(seconds) if 100 < seconds < 400 else httpx.Response(500)

    found = await states(tmp_path, answer, asks=30, every=20)

    first, last = found.index("offline"), len(found) - found[::-1].index("offline")
    assert set(found[:first]) == set(found[last:]) == {"up"}
    assert set(found[first:last]) == {"offline"}
    assert 3 <= last - first <= 5


async def test_who_asks_nobody_any_more_is_not_offline(tmp_path, autojump_clock):
    found = await states(tmp_path, unreachable, asks=1, every=1190)

    assert found[3] == "offline"
    assert found[-1] == "up"
