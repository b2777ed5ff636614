"""A sink that tells one thing at a time: what a request left out goes next, what was skipped is counted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import asynccontextmanager

import pytest
import trio

from fleetd.errors import RejectedError, TransientError
from fleetd.sinks.contract import Batch, Receipt, Sink
from fleetd.sinks.http import Config
from tests.far_side import FarSide, fix, house_in, ids


@pytest.fixture
def far() -> FarSide:
    return FarSide()


def sink(answer: Callable[[Batch], Receipt], batch: int = 10) -> Sink:
    @asynccontextmanager
    async def opened(config, world, place):
        async def write(batch: Batch) -> Receipt:
            return answer(batch)

        yield write

    return Sink(config=Config, open=opened, batch=batch, batch_bytes=0)


def numbers(batch: Batch) -> list[str]:
    return [one.event.id for one in batch.entries]


async def test_what_a_request_left_goes_with_the_next(autojump_clock, tmp_path, far):
    told: list[list[str]] = []

    def odd_first(batch: Batch) -> Receipt:
        odd = [e for e in batch.entries if int(e.event.id[1:]) % 2] or batch.entries
        told.append([e.event.id for e in odd])
        return Receipt(200, left={e.seq for e in batch.entries if e not in odd})

    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(6)))
        async with house.run(sink(odd_first)):
            await house.rest()

        assert told == [["p1", "p3", "p5"], ["p0", "p2", "p4"]]
        assert house.counts() == {"delivered": 6}
        assert house.rows("SELECT first, last, n, verdict FROM attempts") == [
            (2, 6, 3, "taken"),
            (1, 5, 3, "taken"),
        ]


async def test_what_was_left_is_not_lost_when_the_next_request_fails(
    autojump_clock, tmp_path, far
):
    told: list[list[str]] = []

    def first_only(batch: Batch) -> Receipt:
        told.append(numbers(batch))
        if len(told) in {2, 3}:
            raise TransientError("not now", status=503)
        return Receipt(200, left={e.seq for e in batch.entries[1:]})

    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(3)))
        async with house.run(sink(first_only)):
            await house.until(lambda: len(told) == 2)
        async with house.run(sink(first_only)):
            await house.rest()

        assert told[:2] == [["p0", "p1", "p2"], ["p1", "p2"]]
        assert told[-1] == ["p2"]
        assert house.counts() == {"delivered": 3}


async def test_what_the_sink_skips_is_counted_with_its_reason_and_leaves_no_attempt(
    autojump_clock, tmp_path, far
):
    def all_but(batch: Batch) -> Receipt:
        return Receipt(
            200,
            skipped={e.seq: "quiet" for e in batch.entries if e.event.id != "p7"},
        )

    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(25)))
        async with house.run(sink(all_but)):
            await house.rest()

        assert house.counts() == {"skipped": 24, "delivered": 1}
        assert house.rows(
            "SELECT why, sum(n) FROM totals WHERE outcome = 'skipped' GROUP BY 1"
        ) == [("quiet", 24)]
        assert house.rows("SELECT n FROM attempts") == [(1,)]


async def test_what_is_skipped_proves_nothing_about_a_record_that_was_refused(
    autojump_clock, tmp_path, far
):
    """Nobody was asked, so nobody has taken another."""
    import trio

    def hush(batch: Batch) -> Receipt:
        if any(e.event.id == "p0" for e in batch.entries):
            raise RejectedError({e.seq: "no" for e in batch.entries}, status=400)
        return Receipt(skipped={e.seq: "quiet" for e in batch.entries})

    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n, f"v{n}") for n in range(8)))
        async with house.run(sink(hush)):
            await trio.sleep(86_400)

        assert house.dead() == []
        assert house.waiting() > 0


async def test_the_cursor_waits_for_the_earliest_that_was_left(
    autojump_clock, tmp_path, far
):
    told: list[str] = []

    def last_first(batch: Batch) -> Receipt:
        if len(told) == 2:
            raise TransientError("not now", status=503, after=3600)
        told.append(batch.entries[-1].event.id)
        return Receipt(200, left=[e.seq for e in batch.entries[:-1]])

    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(4)))
        async with house.run(sink(last_first)):
            await house.until(lambda: len(told) == 2)

        assert told == ids("p", [3, 2])
        assert house.store.cursor("ops", 0) == 0
        assert house.waiting() == 4


async def test_what_an_unproven_refusal_does_not_name_is_no_delivery(
    autojump_clock, tmp_path, far
):
    taken: list[str] = []

    def first_three(batch: Batch) -> Receipt:
        if bad := {e.seq: "refused" for e in batch.entries if e.seq <= 3}:
            raise RejectedError(bad, status=400)
        taken.extend(numbers(batch))
        return Receipt(200)

    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(6)))
        async with house.run(sink(first_three)):
            await house.rest()

        assert house.counts() == {"delivered": 3, "dead": 3}
        assert sorted(taken) == ids("p", range(3, 6))


@pytest.mark.parametrize(("taken", "dead"), [(1, 1), (0, 0)])
async def test_what_is_skipped_beside_a_named_record_is_neither_taken_nor_a_proof(
    autojump_clock, tmp_path, far, taken, dead
):
    def of(batch: Batch) -> Receipt:
        skipped = {e.seq: "echo" for e in batch.entries if e.event.id == "p0"}
        bad = {e.seq: "refused" for e in batch.entries if e.event.id == "p1"}
        if bad:
            raise RejectedError(bad, proven=True, skipped=skipped)
        return Receipt(200, skipped=skipped)

    async with house_in(tmp_path, far) as house:
        await house.append(*(fix(n) for n in range(2 + taken)))
        async with house.run(sink(of)):
            await house.until(lambda: house.waiting() == 1 - dead)
            await trio.sleep(3600)

        expected = {"skipped": 1, "delivered": taken, "dead": dead}
        assert house.counts() == {word: n for word, n in expected.items() if n}
