"""A vendor's own list of webhooks, asked with the source's token under its budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from fleetd.errors import AbsentError, FleetdError, HeldError, UsageError
from fleetd.providers.contract import Answer, Ask, Hooks, Registered, Turn
from fleetd.tasks.budget import LIVE
from fleetd.tasks.poll.wire import UNREADABLE, UnreadableError

if TYPE_CHECKING:
    from fleetd.tasks.board import Board
    from fleetd.tasks.poll import Credential

MOST_PAGES = 50
GONE = 404


class Console:
    """What an operator would do in the vendor's console."""

    def __init__(self, board: Board, source: str) -> None:
        self._board, self._source = board, source

    @property
    def title(self) -> str:
        """The vendor, for people."""
        provider = self._board.providers[self._source]
        return provider.title or provider.name

    @property
    def hooks(self) -> Hooks:
        """How its list is read and changed; `UsageError` where it has no API for that."""
        hooks = self._board.providers[self._source].hooks
        if hooks is None:
            raise UsageError(
                f"{self.title} has no API for its webhooks: that is done by hand"
            )
        return hooks

    @property
    def credential(self) -> Credential:
        """Who asks; an error where nobody can, or the vendor refuses."""
        credential = self._board.credentials.get(self._source)
        if credential is None:
            raise UsageError(f"{self._source} has no `token` to ask {self.title} with")
        if credential.held:
            raise FleetdError(credential.held)
        return credential

    async def listed(self, rank: int = LIVE) -> dict[str, Registered]:
        """All that is registered there, by id; never a part of it."""
        hooks, turn = self.hooks, Turn(self._board.world.now())
        found: dict[str, Registered] = {}
        for _ in range(MOST_PAGES):
            ask = hooks.listing(turn)
            if ask is None:
                return found
            answer = await self._ask(ask, rank)
            try:
                page, onward = hooks.read(ask, answer.body, turn)
            except UNREADABLE as bad:
                why = f"{ask.path}: {bad}"
                raise UnreadableError(why, answer.body) from bad
            found |= {one.id: one for one in page}
            if onward is None:
                return found
            turn = replace(turn, bookmark=onward)
        raise FleetdError(f"{self.title} lists webhooks without end")

    async def add(self, url: str, name: str, secret: str) -> Registered | None:
        """A new one; None where it was made and the answer does not say which it is."""
        hooks = self.hooks
        answer = await self._ask(hooks.add(url, name, secret))
        try:
            return hooks.made(answer.body)
        except UNREADABLE:
            return None

    async def change(self, found: Registered, url: str, secret: str) -> Registered:
        """The same one with another URL or secret."""
        if self.hooks.change is None:
            raise FleetdError(
                f"{self.title} changes no webhook: remove it, then add it"
            )
        ask = self.hooks.change(found.id, url, found.name, secret)
        answer = await self._ask(ask)
        try:
            told = self.hooks.made(answer.body)
        except UNREADABLE:
            return replace(found, url=url, enabled=None)
        return replace(told, id=found.id, url=url)

    async def remove(self, named: str) -> None:
        """Take it away; that it is gone already is as good."""
        try:
            await self._ask(self.hooks.remove(named))
        except HeldError as bad:
            if bad.status != GONE:
                raise

    async def _ask(self, ask: Ask, rank: int = LIVE) -> Answer:
        try:
            return await self.credential.ask(ask, rank=rank, scope=self.hooks.scope)
        except AbsentError as bad:
            raise HeldError(str(bad), status=GONE) from bad
