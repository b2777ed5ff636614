"""The push half: the same truth as signed webhooks, tried again as the vendor does it."""

from __future__ import annotations

import math
from collections.abc import Callable

import httpx
import trio
from msgspec import Struct

from tests.vendors.base import Sending, Simulator

AHEAD_S = 60  # of the simulator's time, worked out at once
SHORTEST_S = 0.02  # from try to try when a day is pushed in one go


class Pushed(Struct):
    """What became of pushes."""

    sent: int = 0  # requests
    taken: int = 0  # pushes that were accepted
    lost: list[bytes] = []  # given up

    def __post_init__(self) -> None:
        self.lost = []


async def push(
    sim: Simulator,
    url: str,
    *,
    since: int,
    until: int | None = None,
    parallel: int = 8,
    at_once: bool = False,
    patience: float = math.inf,
    keep: Callable[[Sending], bool] = lambda _one: True,
) -> Pushed:
    """Push a window to a URL: when each is due by the simulator's clock, or at once.

    Without `until`, for ever. `keep` says which are sent at all. A push is tried again
    after `sim.retries`, and once more and more while `patience` (seconds) lasts.
    """
    told, upto = Pushed(), since
    limit = trio.Semaphore(parallel)
    async with httpx.AsyncClient(timeout=30) as http, trio.open_nursery() as nursery:
        while until is None or upto < until:
            window = (until - upto) if at_once and until is not None else AHEAD_S
            for one in sim.sendings(upto, upto + window):
                ahead = one.at > sim.now() if at_once else until and one.at >= until
                if ahead or not keep(one):
                    continue
                await _due(sim, one.at, at_once=at_once)
                await limit.acquire()
                nursery.start_soon(
                    _one, sim, http, url, one, told, limit, at_once, patience
                )
            upto += window
            if not at_once:
                await _due(sim, upto, at_once=False)
    return told


async def _due(sim: Simulator, at: int, *, at_once: bool) -> None:
    while not at_once and (ahead := at - sim.now()) > 0:  # noqa: ASYNC110
        await trio.sleep(max(min(ahead / sim.clock.speed, 1.0), 0.001))


async def _one(
    sim: Simulator, http: httpx.AsyncClient, url: str, one: Sending, told: Pushed,
    limit: trio.Semaphore, at_once: bool, patience: float,
) -> None:  # fmt: skip
    """One push until it is accepted or given up."""
    began, waits = trio.current_time(), [*sim.retries]
    try:
        while True:
            status = await _post(sim, http, url, one)
            sim.posted(one, status)
            told.sent += 1
            if status in sim.accepted:
                told.taken += 1
                return
            if status in sim.final or not waits:
                told.lost.append(one.body)
                return
            wait = waits.pop(0)
            if at_once:  # nobody waits for hours here: as often as patience allows
                wait = min(wait, SHORTEST_S * 2 ** (len(sim.retries) - len(waits)))
                late = trio.current_time() - began < patience < math.inf
                waits = waits or ([0.5] if late else [])
            await trio.sleep(wait / (1.0 if at_once else sim.clock.speed))
    finally:
        limit.release()


async def _post(sim: Simulator, http: httpx.AsyncClient, url: str, one: Sending) -> int:
    headers = {"content-type": "application/json", **one.headers}
    headers.update(sim.sign(one.body, sim.secret))
    try:
        answer = await http.post(url, content=one.body, headers=headers)
    except httpx.HTTPError:
        return 0
    return answer.status_code
