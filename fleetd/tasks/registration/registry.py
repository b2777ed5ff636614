"""Making, changing and removing a source's webhook at its vendor, and reading it back.

Only what fleetd made is ever touched: its ids are remembered. What is asked for is noted
before it is asked for, so that an answer which never came costs nothing: the next look
finds the webhook by its name and URL.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import trio
from msgspec import Struct
from msgspec.structs import replace

from fleetd.errors import FleetdError, HeldError, TransientError, UsageError
from fleetd.event import millis
from fleetd.providers.contract import Registered
from fleetd.store import Store
from fleetd.tasks.addresses import address_of, same
from fleetd.tasks.announce import announce
from fleetd.tasks.budget import REPAIR
from fleetd.tasks.hops import test
from fleetd.tasks.listen import mark_of
from fleetd.tasks.registration import vault
from fleetd.tasks.registration.console import Console
from fleetd.tasks.registration.kept import Intent, Kept, Made, recall, remember
from fleetd.tasks.registration.trouble import Wanted, crowded, fits, judged

if TYPE_CHECKING:
    from fleetd.tasks.board import Board

BESIDE = timedelta(hours=1)  # for which the one before a rotation goes on
AS_IT_WAS = "its webhook is registered again as it should be"
logger = structlog.get_logger()


class Done(Struct, frozen=True):
    """What came of `add`: `did` is made, changed, rotated or nothing.

    `file` is where a secret is that the vendor chose, `named` whether the config says so.
    """

    source: str
    title: str
    did: str
    id: str
    enabled: bool | None
    file: str = ""
    named: bool = True
    tested: str = ""


class Registration:
    """The webhook of one source at its vendor."""

    def __init__(self, board: Board, source: str) -> None:
        self.source = source
        self.console = Console(board, source)
        self._board = board
        self._store: Store = board.store
        self._table = board.house.sources[source]
        self._data: Path = board.house.daemon.data
        self._lock = trio.Lock()
        self.kept = recall_of(board, source)
        self._show()

    @property
    def url(self) -> str:
        """Where the vendor has to send to."""
        return address_of(self._board.house, self.source)

    async def listed(self) -> dict[str, Registered]:
        """All that is registered there; what was asked for and never answered is found."""
        async with self._lock:
            listed = await self.console.listed()
            await self._adopt(listed)
            return listed

    async def look(self) -> None:
        """Read it back; what is wrong with it is told once, and once that it is mended."""
        async with self._lock:
            listed = await self.console.listed(REPAIR)
            await self._adopt(listed)
            await self._heal(listed)
            await self._retire(listed)
            await self._judge(listed)

    async def add(self, *, rotate: bool, untested: bool) -> Done:
        """See that ours is registered there, and with a new secret if asked to."""
        async with self._lock:
            self._may_add(rotate=rotate)
            tested = "" if untested else await self._tested()
            listed = await self.console.listed()
            await self._adopt(listed)
            made = self.kept.standing
            found = listed.get(made.id) if made else None
            if made is None or found is None:
                did, found = "made", await self._first(listed)
            elif rotate and self.console.hooks.chooses_secret:
                did, found = "rotated", await self._rotate(listed)
            else:
                did, found = await self._mend(made, found, rotate=rotate)
            await self._judge(listed | {found.id: found})
            return self._done(did, found, tested)

    async def remove(self) -> list[str]:
        """Take away what fleetd made, and nothing else; the ids of what went."""
        async with self._lock:
            await self._adopt(await self.console.listed())
            gone = [one.id for one in self.kept.made]
            for made in self.kept.made:
                await self._remove(made)
            await self._keep(Kept(self.kept.at, looked_ms=self._now_ms))
            return gone

    # adding

    def _may_add(self, *, rotate: bool) -> None:
        chooses, ours = self.console.hooks.chooses_secret, self._table.webhook_secret
        title, made = self.console.title, self.kept.standing
        where = f"webhook_secret in [sources.{self.source}]"
        assert self.console.credential
        if not self.url:
            raise UsageError(
                "webhooks.public_url is not set: there is nothing to register"
            )
        if not chooses and ours is None:
            raise UsageError(
                f"{title} signs with what it is given: put a secret of your choice into "
                f"{where}, then reload fleetd"
            )
        if rotate and not chooses and made and made.mark == self._mark:
            raise UsageError(
                f"put the new secret first in {where} and leave the old one behind it, "
                "reload fleetd, then run this again"
            )

    async def _tested(self) -> str:
        tested = await test(self._board, self.source)
        if not tested.ok:
            raise FleetdError(
                f"nothing was registered, since no webhook would get here: {tested.said}. "
                "To do it all the same: --untested"
            )
        return tested.said

    async def _first(self, listed: dict[str, Registered]) -> Registered:
        """One with our URL that we did not make stays as it is: a second would double it."""
        ours = {one.id for one in self.kept.made}
        others = [one for one in listed.values() if one.id not in ours]
        for one in others:
            if same(one.url, self.url):
                raise FleetdError(
                    f"{self.console.title} has a webhook with this URL already (id "
                    f"{one.id}), and fleetd did not make it: it is left alone. If its "
                    "secret is in webhook_secret all is well; else remove it there, and "
                    "run this again"
                )
        if why := crowded(self.console.hooks, others, self.console.title):
            raise FleetdError(why)
        there = tuple(one for one in self.kept.made if one.id in listed)
        await self._keep(replace(self.kept, made=there))
        return await self._make(listed)

    async def _make(self, listed: dict[str, Registered]) -> Registered:
        """A new one; a secret that the vendor chose is on the disk before anybody is told."""
        console, now = self.console, self._board.world.now()
        if console.hooks.chooses_secret:
            await self._board.world.in_thread(
                lambda: vault.prove(self._data, self.source)
            )
        name = f"fleetd {self.source} {now:%Y-%m-%d %H:%M:%S}"
        intent = Intent(name, self.url, self._mark, tuple(listed))
        await self._keep(replace(self.kept, intent=intent))
        found = await self._asked_for(intent)
        if found.enabled is False:  # its probe may still be under way
            found = (await console.listed()).get(found.id, found)
        if console.hooks.chooses_secret and not found.secret:
            raise FleetdError(
                f"{console.title} made the webhook (id {found.id}) and does not tell its "
                f"secret: take it from there into webhook_secret"
            )
        return replace(found, url=self.url)

    async def _asked_for(self, intent: Intent) -> Registered:
        title = self.console.title
        try:
            found = await self.console.add(intent.url, intent.name, self._secret)
        except HeldError:
            await self._keep(replace(self.kept, intent=None))
            raise
        except TransientError as bad:
            raise FleetdError(
                f"{title} may have made it or not: {bad}. Run this again: fleetd knows it "
                "by its name and URL"
            ) from bad
        if found is not None:
            await self._own(found, intent)
            logger.info("webhook_registered", source=self.source, id=found.id)
            return found
        listed = await self.console.listed()
        await self._adopt(listed)
        made = self.kept.standing
        if made is None or made.id in intent.before:
            raise FleetdError(f"{title} does not say that the webhook was made")
        return listed[made.id]

    async def _rotate(self, listed: dict[str, Registered]) -> Registered:
        """A second one beside ours: both secrets are accepted, then the older one goes."""
        for made in self.kept.made:
            if made.retires_ms is not None:
                await self._remove(made)
                listed.pop(made.id, None)
        return await self._make(listed)

    async def _mend(
        self, made: Made, found: Registered, *, rotate: bool
    ) -> tuple[str, Registered]:
        """Bring ours to what it should be, where it is not."""
        right = fits(found, self.url) and made.mark == self._mark
        if right:
            return "nothing", found
        found = replace(found, name=made.name)
        found = await self.console.change(found, self.url, self._secret)
        fresh = replace(made, url=self.url, mark=self._mark)
        others = [one for one in self.kept.made if one.id != made.id]
        await self._keep(replace(self.kept, made=(*others, fresh)))
        logger.info("webhook_changed", source=self.source, id=made.id)
        return ("rotated" if rotate else "changed"), found

    def _done(self, did: str, found: Registered, tested: str) -> Done:
        made = self.kept.standing
        file = made.file if made else ""
        named = not file or any(
            one.scheme == "file" and Path(one.where) == Path(file)
            for one in self._table.webhook_secret or ()
        )
        title = self.console.title
        return Done(
            self.source, title, did, found.id, found.enabled, file, named, tested
        )

    # what is remembered

    async def _adopt(self, listed: dict[str, Registered]) -> None:
        """What was asked for is ours once it turns up, or else was never made."""
        intent = self.kept.intent
        if intent is None:
            return
        found = next((one for one in listed.values() if intent.meant(one)), None)
        if found is None:
            await self._keep(replace(self.kept, intent=None))
        else:
            await self._own(found, intent)

    async def _own(self, found: Registered, intent: Intent) -> None:
        """Remember it as ours, and the one before it as one that goes soon."""
        file, made = "", self.kept.made
        if found.secret:
            place = vault.place_of(self._data, self.source)
            old = vault.old_place_of(self._data, self.source)
            secret, file = found.secret, str(place)
            keep = vault.renew if any(one.file == file for one in made) else vault.anew
            await self._board.world.in_thread(lambda: keep(place, old, secret))
            made = tuple(
                replace(one, file=str(old)) if one.file == file else one for one in made
            )
        until = self._now_ms + int(BESIDE.total_seconds() * 1000)
        made = tuple(
            replace(one, retires_ms=until) if one.retires_ms is None else one
            for one in made
            if one.id != found.id
        )
        fresh = Made(found.id, found.name or intent.name, intent.url, intent.mark, file)
        await self._keep(replace(self.kept, made=(*made, fresh), intent=None))

    async def _heal(self, listed: dict[str, Registered]) -> None:
        """Put back the file of a secret that was lost, where the vendor still tells it."""
        lost = [
            (Path(made.file), listed[made.id].secret)
            for made in self.kept.made
            if made.file and made.id in listed and listed[made.id].secret
        ]

        def mend() -> None:
            for place, secret in lost:
                if vault.read(place) != secret:
                    vault.keep(place, secret)

        await self._board.world.in_thread(mend)
        self._show()

    async def _retire(self, listed: dict[str, Registered]) -> None:
        """Remove those whose time beside a newer one is over."""
        for made in self.kept.made:
            if made.retires_ms is not None and made.retires_ms <= self._now_ms:
                await self._remove(made)
                listed.pop(made.id, None)

    async def _remove(self, made: Made) -> None:
        await self.console.remove(made.id)
        left = tuple(one for one in self.kept.made if one.id != made.id)
        await self._keep(replace(self.kept, made=left))
        logger.info("webhook_removed", source=self.source, id=made.id)
        old = vault.old_place_of(self._data, self.source)
        if made.file == str(old):  # the other one the config may name
            await self._board.world.in_thread(lambda: vault.drop(old))
            self._show()

    async def _judge(self, listed: dict[str, Registered]) -> None:
        """Note how it stands; what changed is told as an alert event."""
        before, title = self.kept, self.console.title
        marks = [mark_of((one.reveal(),)) for one in self._table.webhook_secret or ()]
        wanted = Wanted(self.source, title, self.url, marks)
        what, why = judged(before, listed, wanted)
        by_hand = before.by_hand if what else self._others(listed)
        await self._keep(replace(
            before, looked_ms=self._now_ms, trouble=what, why=why, by_hand=by_hand,
        ))  # fmt: skip
        if what != before.trouble:
            text = f"{self.source}: {why or AS_IT_WAS}"
            told = f"webhook_{what or 'back'}"
            await announce(self._store, self.source, told, text, about="webhook")

    def _others(self, listed: dict[str, Registered]) -> tuple[str, ...]:
        ours = {one.id for one in self.kept.made}
        there = (one for one in listed.values() if fits(one, self.url))
        return tuple(one.id for one in there if one.id not in ours)

    async def _keep(self, kept: Kept) -> None:
        self.kept = kept
        await remember(self._store, self.source, kept)
        self._show()

    def _show(self) -> None:
        """What status and the door need of it."""
        board, why = self._board, self.kept.why
        if not why and self.kept.standing and not self._table.receives:
            why = (
                "registered, but its path is 404 until webhook_secret is in the config"
            )
        if why:
            board.unregistered[self.source] = why
        else:
            board.unregistered.pop(self.source, None)
        if (gate := board.gates.get(self.source)) is not None:
            gate.beside = secrets_beside(self.kept)

    @property
    def _secret(self) -> str:
        """What we have the vendor sign with; nothing where it chooses itself."""
        ours = self._table.webhook_secret
        chooses = self.console.hooks.chooses_secret
        return "" if chooses or not ours else ours[0].reveal()

    @property
    def _mark(self) -> str:
        return mark_of((self._secret,)) if self._secret else ""

    @property
    def _now_ms(self) -> int:
        return millis(self._board.world.now())


def secrets_beside(kept: Kept) -> tuple[str, ...]:
    """The secrets of what we registered: accepted beside those of the config."""
    found = (vault.read(Path(one.file)) for one in kept.made if one.file)
    return tuple(dict.fromkeys(one for one in found if one))


def recall_of(board: Board, source: str) -> Kept:
    """What is kept of a source as it is configured now."""
    table, provider = board.house.sources[source], board.providers[source]
    return recall(board.store, source, table, provider)


def asks(board: Board, source: str) -> bool:
    """Whether there is a registration to be read back."""
    provider = board.providers[source]
    receives = board.house.sources[source].receives
    return provider.hooks is not None and (
        receives or bool(recall_of(board, source).made)
    )


def registration_of(board: Board, source: str) -> Registration:
    """The one registration of a source in this run."""
    found = board.registrations.get(source)
    if found is None:
        found = board.registrations[source] = Registration(board, source)
    return found
