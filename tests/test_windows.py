"""Windows: each round ends, however slow its pages, and together they leave nothing out."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fleetd.providers.contract import Turn
from fleetd.providers.windows import Window, place, went_on, window, written
from tests.conftest import MORNING

DAY = timedelta(days=1)
spans = st.timedeltas(timedelta(minutes=30), timedelta(days=3))


def walk(bookmark, now, lookback, longest, *, pages, slow, until=None, since=None):
    """One round as the engine does it: windows asked for, and when it ended."""
    asked, more = [], True
    while more:
        turn = Turn(now, bookmark, since, until, lookback=lookback)
        found = window(turn, longest=longest, begins=DAY)
        if found is None:
            break
        page = int(found.page or 1)
        onward = str(page + 1) if page < pages else None
        asked.append((found.since, found.until))
        bookmark, more = went_on(found, onward, turn)
        now += slow
        assert len(asked) < 5000, "a round that never ends"
    return asked, bookmark, now


@given(
    lookback=spans, longest=spans, pages=st.integers(1, 4),
    slow=st.timedeltas(timedelta(0), timedelta(minutes=20)),
    rounds=st.lists(st.timedeltas(timedelta(seconds=1), DAY), min_size=1, max_size=4),
)  # fmt: skip
def test_rounds_end_and_leave_nothing_out(lookback, longest, pages, slow, rounds):
    now, bookmark, covered = MORNING, None, MORNING - DAY
    for rest in rounds:
        began = now
        slower = min(slow, longest / 8 / pages)  # slower than its window: never read
        asked, bookmark, now = walk(
            bookmark, now, lookback, longest, pages=pages, slow=slower
        )
        for since, until in asked:
            assert since <= covered.replace(microsecond=0) + timedelta(seconds=1)
            covered = max(covered, until)
        assert covered >= began.replace(microsecond=0)
        now += rest


def test_a_round_looks_back_once_and_as_far_as_it_is_told():
    three = 3 * DAY
    _, bookmark, _ = walk(None, MORNING, three, DAY, pages=1, slow=timedelta(0))
    later = MORNING + 5 * DAY
    asked, _, _ = walk(bookmark, later, three, DAY, pages=2, slow=timedelta(0))

    edges = [MORNING + n * DAY for n in range(-3, 6)]
    assert list(dict.fromkeys(asked)) == list(pairwise(edges))


@given(pages=st.integers(2, 5), slow=st.timedeltas(timedelta(seconds=1), DAY))
def test_a_window_up_to_now_is_the_last_however_long_its_pages_take(pages, slow):
    asked, bookmark, _ = walk(None, MORNING, 3 * DAY, 7 * DAY, pages=pages, slow=slow)

    assert len(asked) == pages
    assert place(bookmark).until == MORNING


def test_a_past_window_ends_where_it_was_to_end():
    until = MORNING - DAY
    asked, bookmark, _ = walk(
        None, MORNING, DAY, timedelta(hours=7), pages=2, slow=timedelta(hours=1),
        since=MORNING - 3 * DAY, until=until,
    )  # fmt: skip

    assert asked[0][0] == MORNING - 3 * DAY
    assert asked[-1][1] == until
    assert place(bookmark).until == until


def test_a_bookmark_of_before_is_still_read():
    old = '["2026-11-21T05:00:00Z","2026-11-21T06:00:00Z","abc"]'

    assert place(old).page == "abc"
    assert place(written(Window(MORNING, MORNING))) == Window(MORNING, MORNING)
    assert place("nonsense") is None
