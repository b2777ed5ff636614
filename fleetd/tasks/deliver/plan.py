"""How one sink is delivered to: its numbers, and the patience all sinks share."""

from __future__ import annotations

from msgspec import Struct

from fleetd.config import SinkTable
from fleetd.sinks.contract import Sink

PATIENCE = 30.0  # seconds for one write, whatever the sink thinks it needs
HELD_EVERY = 300.0  # between tries while the far side refuses us
REFUSED_IN_A_ROW = 20  # records, none taken: then it is us, not them
LATERS = 5  # answers of *later* to one batch, then it is halved
STUCK_LATERS = 8
STUCK_AFTER = 900.0
LONE_LONGEST = 180.0  # the longest wait for one record that holds up others
WINDOW = 64  # entries at least: what a proof may look through
WIDEST = 20_000
SPREAD = 4
WINDOW_BYTES = 4 << 20


class Plan(Struct, frozen=True, kw_only=True):
    """What the config and the sink's own file say, decided."""

    rate: float = 50.0
    burst: int = 10
    batch: int = 500
    batch_bytes: int = 1 << 20
    linger: float = 0.0
    parallel: int = 1
    max_age: float = 3600.0
    notifies: bool = False

    @property
    def window(self) -> int:
        """How many entries are looked at together."""
        return max(min(self.batch * self.tracks, WIDEST), self.batch, WINDOW)

    @property
    def window_bytes(self) -> int:
        """How many bytes of the log they may be: some records are a thousand times others."""
        return max(WINDOW_BYTES, 2 * self.batch_bytes)

    @property
    def tracks(self) -> int:
        """Into how many lines vehicles are hashed: more than hands, so that none idles."""
        return 1 if self.parallel == 1 else self.parallel * SPREAD


def plan_of(sink: Sink, table: SinkTable) -> Plan:
    """The numbers of a configured sink; no rate is above what the far side allows.

    The burst goes with the rate: it is what a halt of the box is made up for with.
    """
    sink = sink if sink.shaped is None else sink.shaped(table.settings)
    rate = min(sink.most, table.rate or sink.per_second)
    return Plan(
        rate=rate,
        burst=max(1, round(sink.burst * rate / sink.per_second)),
        batch=table.batch or sink.batch,
        batch_bytes=sink.batch_bytes,
        linger=sink.linger if table.linger is None else float(table.linger),
        parallel=table.parallel,
        max_age=float(table.max_age),
        notifies=sink.notifies,
    )
