"""A process that spends its budget as fast as it may, before a far side that counts."""

from __future__ import annotations

import sys

import trio

from tests.test_pace import fullest
from tests.vendors.example import Example
from tests.vendors.server import serve
from tests.vendors.truth import Truth

LIFE_S = 4.0
STALLED_S = 0.05  # by which this very process may stamp a request late
ENOUGH = 0.96  # 0.98 and more where nobody else needs the processor


async def live(url: str) -> None:
    """One life of the spender, ended by SIGKILL in the middle of it all."""
    words = [sys.executable, "-m", "tests.spender", url]
    with trio.move_on_after(LIFE_S):
        await trio.run_process(words, deliver_cancel=killed)


async def killed(child: trio.Process) -> None:
    child.kill()


async def test_a_limit_is_used_up_and_never_passed_also_over_a_kill():
    sim, lives = Example(Truth(5)), []
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve, sim)
        for _ in range(2):
            await live(f"http://127.0.0.1:{port}")
            lives.append(len(sim.log))
        nursery.cancel_scope.cancel()
    meters = {name: meter for (_, name), meter in sim.limiter.meters.items()}
    every = sorted([*meters["all"].times, *meters["all"].refused])

    for name, meter in meters.items():
        limit = meter.tier.limit
        came = sorted([*meter.times, *meter.refused])
        assert fullest(came, 1.0 - STALLED_S) <= limit, name
    for life in (every[: lives[0]], every[lives[0] :]):
        assert (len(life) - 1) / (life[-1] - life[0]) >= 50 * ENOUGH
        slow = [one for one in meters["vehicles"].times if life[0] <= one <= life[-1]]
        assert (len(slow) - 1) / (slow[-1] - slow[0]) >= 5 * ENOUGH
