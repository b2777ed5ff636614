"""Delivery to one sink: order, exact repeats, verdicts, proof before anything is buried."""

from __future__ import annotations

import httpx
import pytest
import trio

from tests.far_side import FarSide, crash, fix, house_in, ids


@pytest.fixture
def far() -> FarSide:
    return FarSide()


async def test_everything_arrives_in_order_and_is_counted(autojump_clock, tmp_path, far):
    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(25)))
        async with house.run():
            await house.rest()

        assert far.taken == ids("p", range(25))
        assert [len(one.ids) for one in far.asked] == [10, 10, 5]
        assert house.counts() == {"delivered": 25}
        assert house.health.state == "idle"


async def test_a_sink_told_to_wait_gets_the_same_batch_later(autojump_clock, tmp_path, far):
    far.script = [503, httpx.Response(429, headers={"retry-after": "90"})]
    async with house_in(tmp_path, far) as house:
        await house.append(fix(1), fix(2))
        async with house.run():
            await house.until(lambda: len(far.asked) == 2)
            await house.append(fix(3))
            await house.rest()

        first, second, third, fourth = far.asked
        assert first.body == second.body == third.body
        assert first.key == second.key == third.key != fourth.key
        assert third.at - second.at >= 90
        assert far.taken == ["p1", "p2", "p3"]
