"""What whole listings prove: who is in none of several in a row is taken for removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial

import structlog
from msgspec.structs import replace

from fleetd.clock import Clock
from fleetd.event import CODES, AnyEvent, Driver, Place, Record, Vehicle, moment_of
from fleetd.providers.contract import Provider
from fleetd.store import Append, Store
from fleetd.tasks.announce import OURS
from fleetd.tasks.intake import Arrival, take_in
from fleetd.tasks.poll.credential import Credential
from fleetd.tasks.poll.page import Taken

HANDFUL = 5  # so many may always go: a small fleet sells a tenth of itself at a time
logger = structlog.get_logger()


class Listing:
    """One listing of a source, page by page, and what the ones before it lacked.

    Only a listing that ended by the vendor's own flag, and of which every record could
    be read, counts.
    """

    def __init__(
        self, feed: str, kind: str, credential: Credential, store: Store, clock: Clock
    ) -> None:
        self.feed = feed
        self.kind = kind
        self.token: str | None = None  # of the next page; a restart begins anew
        self._credential = credential
        self._store = store
        self._clock = clock
        self._held: set[str] = set()
        self._whole = True

    def again(self) -> None:
        """Begin anew: what was read so far proves nothing."""
        self.token, self._whole = None, True
        self._held = set()

    async def took(self, taken: Taken) -> str | None:
        """Go on after a page; what an operator should hear once it was the last.

        None while there is no more to say than before: it proves nothing, or not yet.
        """
        page, code = taken.page, CODES[self.kind]
        self._held |= {one for kind, one in taken.named if kind == code}
        self._held |= {*page.held}
        self._whole = self._whole and not taken.dead
        self.token = page.bookmark if page.more else None
        if page.more:
            return None
        held, counts = self._held, page.complete and self._whole
        self.again()
        return await self._ended(held) if counts else None

    async def _ended(self, held: set[str]) -> str:
        """A complete listing: who was missing as often as it takes, goes."""
        account = self._credential.account
        known = set(self._store.directory.ids(account.source, self.kind))
        before = self._store.recall(self._name)
        absent = {one: before.get(one, 0) + 1 for one in sorted(known - held)}
        due = [one for one, times in absent.items() if times >= account.remove_after]
        brake = braked(len(due), len(known), len(held), account.remove_brake)
        gone = () if brake else due
        if gone:
            await self._remove(gone)
        await self._note(before, {k: n for k, n in absent.items() if k not in gone})
        return self._braked(len(due), len(known), len(held)) if brake else ""

    async def _note(self, before: Mapping[str, int], absent: Mapping[str, int]) -> None:
        if absent != before:
            await self._store.remember(self._name, absent or None)

    def _braked(self, due: int, known: int, held: int) -> str:
        account = self._credential.account
        tags = ", or bear none of its `tags`" if account.wanted else ""
        if not held:
            said = f"the last listings held no {self.kind} at all"
            return f"{said}{tags}: {known} known stay"
        return (
            f"{due} of {known} known are in none of the last {account.remove_after} "
            f"listings of {self.kind}s{tags}: too many at once to be removed (sources."
            f"{account.source}.remove_brake)"
        )

    async def _remove(self, ids: Sequence[str]) -> None:
        logger.info("removed", source=self._credential.account.source, kind=self.kind,
                    ids=list(ids[:20]), count=len(ids))  # fmt: skip
        received = self._store.next_received_ms()
        await self._store.append(self._tombstones(ids, received))

    def _tombstones(self, ids: Sequence[str], received: int) -> Append:
        moment = moment_of(received)
        normalize = {
            one: partial(_once, tombstone(self.kind, one, moment)) for one in ids
        }
        arrival = Arrival(
            self._credential.account.source, Provider(OURS, normalize), received,
            "poll", flags=self._credential.account.provider.flags,
            trusted_clock=self._clock.trusted,
        )  # fmt: skip
        records = [Record(one, b"{}") for one in ids]
        append = take_in(arrival, records, self._store.directory)
        return replace(append, ours=True)

    @property
    def _name(self) -> str:
        return f"absent:{self._credential.account.source}/{self.feed}"


def braked(due: int, known: int, held: int, brake: float) -> bool:
    """Whether so many at once are rather an error of the listing."""
    if not due:
        return False
    return not held or due > max(HANDFUL, known * brake)


def tombstone(kind: str, id_: str, moment: datetime) -> AnyEvent:
    """Says that a record is gone; it has nothing else to say."""
    if kind == "vehicle":
        return Vehicle(id=id_, at=moment, vehicle=id_, removed=True)
    if kind == "driver":
        return Driver(id=id_, at=moment, driver=id_, removed=True)
    return Place(id=id_, at=moment, removed=True)


def _once(event: AnyEvent, _body: bytes) -> Iterator[AnyEvent]:
    yield event
