"""What each sink takes of a commit, counted while it is still in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from fleetd.event import CODES, LANES, Entry
from fleetd.store.totals import HOUR_MS
from fleetd.taking import Taking

if TYPE_CHECKING:
    from fleetd.store.log import Tx

Groups: TypeAlias = "Counter[tuple[str, str, int, int]]"  # source, kind, lane, hour


def route(tx: Tx) -> None:
    """Count what each sink takes of this commit, by groups where that suffices.

    A sink that has decided about everything before, and takes nothing of this commit,
    stands behind it at once: it costs no read, and pins nothing.
    """
    if not tx.log.takings:
        return
    new = [one for one, _ in tx.landed.entries]
    groups = Counter([
        (one.source, one.event.kind, one.lane, one.received_ms // HOUR_MS) for one in new
    ])  # fmt: skip
    for sink, taking in tx.log.takings.items():
        taken = _taken(taking, groups, new)
        for lane in range(len(LANES)):
            seq, waiting = tx.place(sink, lane) or (0, 0)
            if taken[lane]:
                tx.put(sink, lane, seq, waiting + taken[lane])
            elif seq == tx.log.seq < tx.seq:
                tx.put(sink, lane, tx.seq, 0)
                _pass(tx, sink, lane, groups)


def _taken(taking: Taking, groups: Groups, new: Sequence[Entry]) -> Counter[int]:
    """How many of each lane."""
    if taking.vehicles:
        return Counter(one.lane for one in new if taking.takes(one.source, one.event))
    found: Counter[int] = Counter()
    for (source, kind, lane, _), n in groups.items():
        if kind not in taking.kinds:
            continue
        if not taking.sources or source in taking.sources:
            found[lane] += n
    return found


def _pass(tx: Tx, sink: str, lane: int, groups: Groups) -> None:
    number = tx.log.scope("sink", sink)
    for (_, kind, of, hour), n in groups.items():
        if of == lane:
            tx.count(number, hour, CODES[kind], "not_taken", n)
