"""The newest events in memory answer as the log itself would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleetd.event import NORMAL, SAFETY, Entry, Position, Safety
from fleetd.store.tail import Tail
from fleetd.taking import Taking


def entry(seq: int, kind: str = "position", lane: int = NORMAL) -> Entry:
    made = Position(id=str(seq)) if kind == "position" else Safety(id=str(seq))
    return Entry(seq, "north", "motive", made, 0, 0, "push", lane)


ALL = Taking()
BIG = 1 << 30


def seqs(stretch) -> list[int]:
    return [one.seq for one in stretch.entries]


def test_it_knows_nothing_of_what_lies_before_it():
    tail = Tail()
    assert tail.stretch(0, 10, NORMAL, ALL, 10, BIG) is None

    tail.grow([(entry(5), 1), (entry(6), 1)])

    assert tail.stretch(3, 6, NORMAL, ALL, 10, BIG) is None
    assert seqs(tail.stretch(4, 6, NORMAL, ALL, 10, BIG)) == [5, 6]
    assert tail.stretch(6, 6, NORMAL, ALL, 10, BIG).upto == 6


def test_lanes_kinds_and_bounds_hold():
    tail = Tail()
    tail.grow([(entry(1), 10), (entry(2, "safety", SAFETY), 10), (entry(3), 10)])

    assert seqs(tail.stretch(0, 3, NORMAL, ALL, 9, BIG)) == [1, 3]
    assert seqs(tail.stretch(0, 3, SAFETY, ALL, 9, BIG)) == [2]
    assert seqs(tail.stretch(0, 3, NORMAL, ALL, 1, BIG)) == [1]
    assert tail.stretch(0, 3, NORMAL, ALL, 1, BIG).upto == 1
    assert seqs(tail.stretch(0, 3, NORMAL, ALL, 9, 10)) == [1]
    assert seqs(tail.stretch(0, 2, NORMAL, ALL, 9, BIG)) == [1]
    nothing = Taking(kinds=frozenset({"fuel"}))
    assert tail.stretch(0, 3, NORMAL, nothing, 9, BIG).upto == 3


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.integers(0, 300))
def test_after_any_growth_it_gives_just_what_follows_or_nothing_at_all(sizes, after):
    tail, newest = Tail(kept=50), 0
    for size in sizes:
        tail.grow([(entry(newest + n), 1) for n in range(1, size + 1)])
        newest += size

    found = tail.stretch(after, newest, NORMAL, ALL, 1000, BIG)

    if found is None:
        assert after < newest - 50 or after > newest
    else:
        assert seqs(found) == list(range(after + 1, newest + 1))


def test_big_events_are_kept_by_what_they_weigh():
    tail = Tail(kept=1000, most=1000)
    for seq in range(1, 101):
        tail.grow([(entry(seq), 300)])

        kept = [
            n for n in range(1, seq + 1) if tail.stretch(n - 1, seq, NORMAL, ALL, 1, 1)
        ]
        assert len(kept) * 300 <= 2000
        assert kept == list(range(seq - len(kept) + 1, seq + 1))
    tail.grow([(entry(101), 5000)])

    assert tail.stretch(100, 101, NORMAL, ALL, 1, BIG) is None
    tail.grow([(entry(102), 10)])
    assert seqs(tail.stretch(101, 102, NORMAL, ALL, 1, BIG)) == [102]
