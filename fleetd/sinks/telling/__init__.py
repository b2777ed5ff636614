"""Which events ring, and when: shared by all sinks that notify.

An event of the safety lane goes by itself, at once, whatever the hour; a later copy that
says nothing new of it is no other alarm. The others go together: those below `severity`,
in `quiet` hours, said already within `repeat`, or unchanged since they were told are
counted out with that word. What was told is on the disk before `write` returns, so a
crash repeats a message only where it fell between the far side's taking it and that note.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec
import trio
from msgspec import Struct
from msgspec.structs import replace as with_

from fleetd.event import SAFETY, Entry, Event, Safety, millis
from fleetd.sinks.contract import Batch, Receipt
from fleetd.sinks.telling.manners import DOCS, Hours, Manners
from fleetd.sinks.telling.memory import (
    Hushed,
    Mark,
    Memory,
    keep,
    key_of,
    recalled,
    state_of,
    subject,
    thing,
    walk_of,
)
from fleetd.sinks.wording import Message, Row, digest, is_over, message, tally
from fleetd.world import World

__all__ = ["DOCS", "TAKES", "Choice", "Hours", "Manners", "Teller"]
TAKES = ("safety", "fault", "duty", "alert", "maintenance")
LEVELS = ("low", "medium", "high", "severe")
USUAL = {  # of kinds that say no severity themselves; of all others it is low
    "fault": "medium", "alert": "medium", "maintenance": "medium", "device": "medium",
    "inspection": "medium",
}  # fmt: skip


class Choice(Struct, frozen=True):
    """What one `write` comes to: a message or none, about `entries`.

    `handle` is set where it takes the place of an earlier message. `key` names the
    message and `thread` the one thing it is about, the same for each repeat.
    """

    message: Message | None
    entries: Sequence[Entry] = ()
    skipped: Mapping[int, str] = {}
    left: frozenset[int] = frozenset()
    handle: str = ""
    key: str = ""
    thread: str = ""
    sums_up: bool = False  # what quiet hours kept back
    kept: str = ""  # a digest that they keep back


Say = Callable[[Choice, Message, Batch], Awaitable[tuple[Receipt, str]]]


class Teller:
    """Decides what a batch says, and remembers it; `edits`: messages can be changed."""

    def __init__(
        self, manners: Manners, world: World, place: str, *, edits: bool = False
    ) -> None:
        self._manners, self._world, self._edits = manners, world, edits
        self._path = Path(place, "told.json") if place else None
        self._zone = manners.timezone.info
        self._alone = trio.Lock()
        self.memory = Memory()

    async def begin(self) -> None:
        """Read what an earlier run has noted."""
        if self._path is not None:
            self.memory = await self._world.in_thread(partial(recalled, self._path))

    async def tell(self, batch: Batch, say: Say) -> Receipt:
        """Send the one message that is due, if one is; `say` gives its handle, if any."""
        async with self._alone:  # what was told decides what is told next
            choice = self.choose(batch)
            if choice.message is None:
                return await self.done(batch, choice)
            receipt, handle = await say(choice, choice.message, batch)
            return await self.done(batch, choice, receipt, handle)

    # what a batch says

    def choose(self, batch: Batch) -> Choice:
        """The one message to send now, and what becomes of the batch's other entries."""
        if batch.digest and not batch.urgent and self._is_quiet():
            return Choice(None, kept=batch.digest)
        if batch.digest:
            return Choice(digest(batch.digest), key=batch.key)
        known = set(self.memory.told.get(walk_of(batch), ()))
        fresh = [one for one in batch.entries if one.seq not in known]
        alarms = (one for one in fresh if one.lane == SAFETY)
        alarm = next((one for one in alarms if not self._is_told(one, batch)), None)
        if alarm is not None:
            handle = self._handle(alarm, batch) if is_over(alarm.event) else ""
            return self._one(alarm, fresh, {}, batch, handle)
        why = {one.seq: self._why_not(one, batch) for one in fresh}
        skipped = {seq: word for seq, word in why.items() if word}
        fresh = [one for one in fresh if one.seq not in skipped]
        edits = {one.seq: self._handle(one, batch) for one in fresh}
        if fresh and (handle := edits[fresh[0].seq]):
            return self._one(fresh[0], fresh, skipped, batch, handle)
        new = [one for one in fresh if not edits[one.seq]]
        left = frozenset(seq for seq, handle in edits.items() if handle)
        return self._together(new, left, skipped, batch)

    def _one(
        self, entry: Entry, fresh: Sequence[Entry], skipped: Mapping[int, str],
        batch: Batch, handle: str,
    ) -> Choice:  # fmt: skip
        said = message([entry], self._zone, self._manners.templates)
        left = frozenset(one.seq for one in fresh if one is not entry)
        key = key_of(batch.generation, [entry])
        return Choice(said, [entry], skipped, left, handle, key, thing(entry))

    def _together(
        self, new: Sequence[Entry], left: frozenset[int], skipped: Mapping[int, str],
        batch: Batch,
    ) -> Choice:  # fmt: skip
        if not new:
            return Choice(None, skipped=skipped)
        hushed = self.memory.hushed
        tell = bool(hushed) and not batch.generation and not self._is_quiet()
        more = summed(hushed) if tell else ()
        said = message(new, self._zone, self._manners.templates, more)
        threads = {thing(one) for one in new}
        thread = threads.pop() if len(threads) == 1 else ""
        key = key_of(batch.generation, new)
        return Choice(said, new, skipped, left, "", key, thread, tell)

    def _why_not(self, entry: Entry, batch: Batch) -> str:
        """Why this one does not ring; empty if it does."""
        if self._is_told(entry, batch):
            return "unchanged"
        if not self._is_grave(entry.event):
            return "severity"
        if batch.generation:
            return ""  # a replay was asked for by hand
        if self._handle(entry, batch):
            return ""  # an edit rings at nobody
        if self._is_quiet():
            return "quiet"
        return "cooldown" if self._is_cooling(entry) else ""

    def _is_told(self, entry: Entry, batch: Batch) -> bool:
        """Whether it was told, and this copy says nothing new; a replay tells it again."""
        mark = None if batch.generation else self._mark_of(thing(entry))
        known = None if mark is None else (mark.id, mark.state)
        return known == (entry.event.id, state_of(entry))

    def _is_grave(self, event: Event) -> bool:
        least = self._manners.severity
        if least is None:
            return event.kind != "duty"  # a violation goes by the safety lane
        found: str | None = USUAL.get(event.kind, "low")
        if isinstance(event, Safety):
            found = event.severity
        if found is None:
            return True  # its vendor does not say
        return LEVELS.index(found) >= LEVELS.index(least)

    def _is_quiet(self) -> bool:
        quiet, now = self._manners.quiet, self._world.now()
        return quiet is not None and quiet.hold(now.astimezone(self._zone))

    def _is_cooling(self, entry: Entry) -> bool:
        rung = self.memory.rung.get(subject(entry))
        if self._manners.repeat is None or rung is None:
            return False
        gone = millis(self._world.now()) - rung
        return 0 <= gone < self._manners.repeat * 1000  # a clock set back: it rings

    def _handle(self, entry: Entry, batch: Batch) -> str:
        """Where the message can be edited that told of the same thing, if it can."""
        if not self._edits or batch.generation:
            return ""
        mark = self._mark_of(thing(entry))
        if mark is None or not (is_over(entry.event) or mark.id == entry.event.id):
            return ""
        return mark.handle

    def _mark_of(self, thread: str) -> Mark | None:
        return self.memory.things.get(thread)

    def forget(self, choice: Choice) -> Choice:
        """The message is not there any more to be edited: tell it anew."""
        if mark := self._mark_of(choice.thread):
            mark.handle = ""
        return with_(choice, handle="")

    # what was said

    async def done(
        self,
        batch: Batch,
        choice: Choice,
        receipt: Receipt | None = None,
        handle: str = "",
    ) -> Receipt:
        """Note what was told and what was not, and say it to the engine."""
        noted = self._note(batch, choice, handle)
        if noted and self._path is not None:
            body = msgspec.json.encode(self.memory)
            await self._world.in_thread(partial(keep, self._path, body))
        return with_(
            receipt or Receipt(cost=0), skipped=dict(choice.skipped), left=choice.left
        )

    def _note(self, batch: Batch, choice: Choice, handle: str) -> bool:
        """Whether there is anything new to know."""
        memory, now = self.memory, millis(self._world.now())
        quiet = {seq for seq, why in choice.skipped.items() if why == "quiet"}
        if not choice.entries and not quiet and not choice.kept:
            return False
        memory.tell(walk_of(batch), choice.entries)
        if batch.generation:
            return True
        memory.mark(choice.entries, handle if choice.thread else "", now)
        if self._manners.repeat is not None:
            memory.ring(choice.entries, now, self._manners.repeat * 1000)
        if choice.sums_up:
            memory.hushed = Hushed(upto=memory.hushed.upto)
        memory.hush(one for one in batch.entries if one.seq in quiet)
        if choice.kept:
            memory.hushed.wait(choice.kept)
        return True


def summed(hushed: Hushed) -> list[Row]:
    """What quiet hours kept back, for the first message after them."""
    rows = [Row("In quiet hours", tally(hushed.count, hushed.labels))]
    return [*(rows if hushed.count else ()), *(Row("Late", one) for one in hushed.late)]
