"""A past window cut into pieces that can be asked for beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from fleetd.event import stamp
from fleetd.providers.contract import Past

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST = 20_000  # pieces of one job


class Piece(Struct, frozen=True):
    """[since, until) of one vehicle, or of all; `name` is its own among the others."""

    name: str
    since: datetime
    until: datetime
    part: str = ""


def pieces(
    past: Past, since: datetime, until: datetime, vehicles: Sequence[str]
) -> list[Piece]:
    """Everything to ask for: by vehicle where the vendor wants it so, else by time."""
    if past.parts:
        return [Piece(f"v/{one}", since, until, one) for one in vehicles]
    return [
        Piece(stamp(low) or "", low, high) for low, high in spans(past, since, until)
    ]


def spans(
    past: Past, since: datetime, until: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """The window on whole multiples of the chunk, which grows where it would be too many."""
    chunk = past.chunk
    while (until - since) / chunk > MOST:
        chunk *= 2
    low = since
    while low < until:
        high = min(until, next_edge(low, chunk))
        yield low, high
        low = high


def next_edge(moment: datetime, chunk: timedelta) -> datetime:
    """The next multiple of the chunk since 1970 after a moment."""
    return EPOCH + ((moment - EPOCH) // chunk + 1) * chunk
