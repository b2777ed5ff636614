"""A whole page that could not be read, read again as its feed would read it today."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetd.errors import HeldError, PayloadError
from fleetd.event import Record
from fleetd.providers.contract import Provider, Turn
from fleetd.store.dead import Letter
from fleetd.tasks.poll.page import DEAD_BYTES, read

if TYPE_CHECKING:
    from fleetd.tasks.board import Board

PAGES = "page:"
LONGEST = 160
ELSE = "its feed asks for it again by itself: drop this letter once that goes on"


def records_of(board: Board, provider: Provider, letter: Letter) -> list[Record]:
    """Its records; the bookmark of its feed stays. `PayloadError` says what to do.

    What the answer was asked with is asked of the feed anew: while it is held, it still
    stands at that very page.
    """
    name = letter.feed.removeprefix(PAGES)
    feed = next((one for one in provider.feeds if one.name == name), None)
    if feed is None:
        raise PayloadError(
            f"{letter.name} has no feed {name} any more: drop this letter"
        )
    if feed.parts:
        raise PayloadError(f"a page of one vehicle, and which is not kept; {ELSE}")
    store, now = board.store, board.world.now()
    turn = Turn(
        now,
        None if feed.listing else store.bookmark(letter.name, name),
        None if feed.begins is None else now - feed.begins,
        vehicles=store.directory.ids(letter.name, "vehicle"),
        tags=board.house.sources[letter.name].tags,
    )
    ask = feed.ask(turn)
    if ask is None:
        raise PayloadError(f"{name} has nothing to ask just now; {ELSE}")
    try:
        return list(read(feed.unpack, ask, letter.body, turn).records)
    except (HeldError, PayloadError) as bad:
        cut = ", of which only the first MiB is kept" if _cut(letter) else ""
        raise PayloadError(f"{str(bad)[:LONGEST]}{cut}; {ELSE}") from bad


def _cut(letter: Letter) -> bool:
    return len(letter.body) > DEAD_BYTES * 0.9  # masks may have made it shorter
