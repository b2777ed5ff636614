"""One webhook at the handler: what is answered where the real door does not get to easily."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import trio
from msgspec.structs import replace

from fleetd.clock import Clock
from fleetd.event import pack
from fleetd.store import Rules, open_store
from fleetd.store.small import UNVERIFIED_BYTES
from fleetd.tasks.listen import Gate, Reception
from fleetd.web import Request
from tests.desk import HOOKED, HOUSE, house_of
from tests.store.deeds import fix


@asynccontextmanager
async def reception_in(folder, world):
    source = house_of(HOUSE, folder).sources["north"]
    async with open_store(folder / "data", world, Rules(max_disk=1 << 30)) as store:
        await store.register_sources({"north": "acme"})
        gate = Gate("north", source, HOOKED, verified=False)
        yield store, Reception({"north": gate}, store, Clock(world))


def signed(body: bytes) -> Request:
    import hashlib
    import hmac

    digest = hmac.new(b"north-secret", body, hashlib.sha256).hexdigest()
    return Request("POST", "/webhooks/north", "", {"x-signature": digest}, body, "::1")


async def test_what_cannot_be_read_is_sent_back_while_too_many_dead_letters_are_kept(
    tmp_path, world, autojump_clock
):
    async with reception_in(tmp_path, world) as (store, reception):
        kept = await reception.receive(signed(b"bad one"))
        store.crowded = {("source", "north")}
        refused = await reception.receive(signed(b"bad two"))
        good = await reception.receive(signed(pack(fix(1))))

    assert (kept.status, json.loads(kept.body)["dead"]) == (200, 1)
    assert refused.status == 503
    assert dict(refused.headers)["Retry-After"]
    assert "fleetd dead list north" in json.loads(refused.body)["error"]
    assert (good.status, json.loads(good.body)["stored"]) == (200, 1)


async def test_strangers_fill_sixteen_mebibytes_a_source_and_no_more_the_oldest_out(
    tmp_path, world, autojump_clock
):
    def stranger(n: int) -> Request:
        body = b"%04d" % n + bytes(1 << 20)
        return Request("POST", "/webhooks/north", "", {}, body, "192.0.2.1")

    async with reception_in(tmp_path, world) as (store, reception):
        for n in range(20):
            assert (await reception.receive(stranger(n))).status == 401
        rows = list(store.log.db.execute("SELECT body FROM unverified ORDER BY id"))

    numbers = [int(body[:4]) for (body,) in rows]
    assert sum(len(body) for (body,) in rows) <= UNVERIFIED_BYTES == 16 << 20
    assert numbers == list(range(5, 20)), "the newest stay"


async def test_a_body_of_many_records_leaves_turns_to_others(
    tmp_path, world, autojump_clock
):
    turns, read_at = [0], []

    async def others():
        while True:
            turns[0] += 1
            await trio.lowlevel.checkpoint()

    def normalize(_body):
        read_at.append(turns[0])
        return []

    async with reception_in(tmp_path, world) as (_, reception):
        gate = reception.gates["north"]
        gate.provider = replace(HOOKED, normalize={"e": normalize})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(others)
            kept = await reception.receive(signed(b"x\n" * 2000))
            nursery.cancel_scope.cancel()

    assert kept.status == 200
    assert len(read_at) == 2000
    assert max(read_at.count(one) for one in set(read_at)) < 1000
