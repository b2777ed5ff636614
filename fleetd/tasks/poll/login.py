"""Sessions of vendors that must be logged in to: one login at a time, kept over restarts."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NoReturn

import structlog
import trio

from fleetd.errors import HeldError, TransientError
from fleetd.event import millis, moment_of
from fleetd.masking import MASK
from fleetd.pace import Backoff, retry_after
from fleetd.providers.contract import Answer, Ask, Grant, Session
from fleetd.tasks.poll.wire import UNREADABLE, UNWELL

if TYPE_CHECKING:
    from fleetd.tasks.poll.credential import Credential

LOGIN_RETRY_MS = 3_600_000  # a vendor that counts failed logins locks the account
LOGIN_BASE_S = 6.0
AHEAD = timedelta(seconds=60)  # a session is renewed before it ends
WORD = re.compile(r"[\w.~+/=-]{16,}")  # a part of a token that tells it
logger = structlog.get_logger()


class Logins:
    """The session of one credential; whoever needs one meanwhile waits for the same."""

    def __init__(self, credential: Credential, session: Session) -> None:
        self._session = session
        self._credential = credential
        self._lock = trio.Lock()
        self._grant = self._recalled()
        self._backoff = Backoff(credential.chance, base=LOGIN_BASE_S)
        self._not_before = 0.0
        self._failed = ""

    async def ask(self, ask: Ask, rank: int) -> Answer:
        """Ask within the session; once more within a new one where it is over.

        What a new one leaves as it was, a 400, is about the question and no session.
        """
        grant = await self._valid(None, rank)
        answer = await self._put(ask, grant, rank)
        if not self._session.ended(answer):
            return answer
        grant = await self._valid(grant, rank)
        answer = await self._put(ask, grant, rank)
        if self._session.ended(answer) and answer.status != 400:
            account = self._credential.account
            why = f"{account.title} ends each session as soon as it begins"
            why = f"{account.source}: {why} ({ask.path}). {account.fix}"
            raise HeldError(why, status=401)
        return answer

    async def _put(self, ask: Ask, grant: Grant, rank: int) -> Answer:
        try:
            answer = await self._credential.send(self._session.put(ask, grant), rank)
        except TransientError:
            self._leave(grant)
            raise
        if answer.status not in (200, 429):
            self._leave(grant)
        return answer

    def unwell(self) -> None:
        """What the session's server answers is none."""
        if self._grant is not None:
            self._leave(self._grant)

    def _leave(self, grant: Grant) -> None:
        """A session that moved may have moved again: who asks next logs in to find out."""
        if grant.host and self._grant is grant:
            self._grant = None

    async def _valid(self, over: Grant | None, rank: int) -> Grant:
        """A session that is not `over`."""
        async with self._lock:
            grant = self._grant
            if grant is None or grant is over or self._ends(grant):
                self._grant = None
                self._grant = grant = await self._login(rank)
            return grant

    def _ends(self, grant: Grant) -> bool:
        ends = grant.expires
        return ends is not None and ends - AHEAD <= self._credential.now

    async def _login(self, rank: int) -> Grant:
        self._not_again()
        try:
            grant = await self._granted(rank)
        except TransientError as bad:
            self._failed = str(bad)
            wait = max(bad.after or 0.0, self._backoff.failed())
            self._not_before = trio.current_time() + wait
            raise
        except HeldError as bad:
            await self._refused(bad)
        self._backoff.succeeded()
        source = self._credential.account.source
        mask(grant.token, source)
        logger.info("logged_in", source=source)
        ends = None if grant.expires is None else millis(grant.expires)
        kept = {"token": grant.token, "host": grant.host, "ends": ends}
        await self._credential.remember("refused", None)
        await self._credential.remember("session", kept)
        return grant

    async def _granted(self, rank: int) -> Grant:
        credential, session = self._credential, self._session
        ask = session.login(credential.secret, credential.now)
        answer = await credential.send(ask, rank)
        status = answer.status
        if status in UNWELL or status >= 500:
            after = retry_after(answer.headers.get("retry-after"), credential.now)
            if status == 429:
                credential.budget.told(ask.tier, after)
            why = f"{ask.path}: answered {status}"
            raise TransientError(why, after=after, status=status)
        try:
            return session.read(answer, credential.now)
        except UNREADABLE as bad:
            raise TransientError(f"{ask.path}: no login answer: {bad}") from bad

    async def _refused(self, bad: HeldError) -> NoReturn:
        credential = self._credential
        said = f"{credential.account.source}: {bad}. {credential.account.fix}"
        kept = {"why": MASK.mask(said), "ms": millis(credential.now)}
        await credential.remember("session", None)
        await credential.remember("refused", kept)
        raise HeldError(said, status=401) from bad

    def _not_again(self) -> None:
        """Refused credentials are not tried again soon, restart or not: vendors lock accounts.

        Nor does each feed try by itself where a login just failed.
        """
        before = self._credential.recall("refused")
        if before and self._since(before["ms"]) < LOGIN_RETRY_MS:
            raise HeldError(before["why"], status=401)
        wait = self._not_before - trio.current_time()
        if wait > 0:
            raise TransientError(self._failed, after=wait)

    def _since(self, ms: int) -> int:
        """Milliseconds since then; for ever where the clock went back behind it."""
        gone = millis(self._credential.now) - ms
        return gone if gone >= 0 else LOGIN_RETRY_MS

    def _recalled(self) -> Grant | None:
        kept = self._credential.recall("session")
        if not kept:
            return None
        mask(kept["token"], self._credential.account.source)
        ends: datetime | None = None
        if kept["ends"] is not None:
            ends = moment_of(kept["ends"])
        return Grant(kept["token"], kept["host"], ends)


def mask(token: str, source: str) -> None:
    """Let no output show it, nor the telling parts of one that is put together."""
    words = (one for one in WORD.findall(token) if any(x.isdigit() for x in one))
    MASK.add(token, *words, passing=source)
