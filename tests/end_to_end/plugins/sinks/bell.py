"""A sink that rings at people, one line a ring in a file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from fleetd.sinks.contract import Batch, Receipt, Sink, Write
from fleetd.world import World


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    path: Path


@asynccontextmanager
async def open_bell(config: Config, world: World, place: str) -> AsyncIterator[Write]:
    del world, place

    async def ring(batch: Batch) -> Receipt:
        rings = [batch.digest] if batch.digest else [e.event.id for e in batch.entries]
        with config.path.open("a") as file:
            file.writelines(f"{one}\n" for one in rings)
        return Receipt()

    yield ring


SINK = Sink(config=Config, open=open_bell, batch=1, notifies=True)
