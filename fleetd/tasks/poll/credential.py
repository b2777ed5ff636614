"""What all feeds of a source share: the way to the vendor, the login, and being refused."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from hashlib import blake2b
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec
import trio
from msgspec import Struct

from fleetd.errors import HeldError, PayloadError, TransientError
from fleetd.pace import retry_after
from fleetd.providers.contract import Answer, Ask
from fleetd.store import Store
from fleetd.tasks.budget import LIVE, Budget, Budgets
from fleetd.tasks.poll.holds import Holds
from fleetd.tasks.poll.login import Logins
from fleetd.tasks.poll.org import Org
from fleetd.tasks.poll.plan import DAWN, Account
from fleetd.tasks.poll.wire import (
    ANSWER_BYTES,
    LONGEST,
    UNREADABLE,
    UNWELL,
    UnreadableError,
    exchange,
)
from fleetd.world import World

T = TypeVar("T")
HELD_RETRY = 300.0
ALONE = -1  # fewer answers than there ever are
BEHIND = 1.0  # seconds that those wait for others who try a refused credential
DONE = frozenset({201, 204})  # of what makes or removes something
BUSY, BUSY_TRIES = 429, 3
BUSY_SOON = 30.0  # seconds: for longer it is said, and not waited out in silence


class Hold(Struct, frozen=True):
    """Why nothing is asked with this credential, and when it is tried again."""

    why: str
    until: float


class Credential:
    """One account as all of its feeds and jobs use it."""

    def __init__(
        self, account: Account, http: httpx.AsyncClient, budget: Budget, store: Store,
        world: World,
    ) -> None:  # fmt: skip
        self.account = account
        self.budget = budget
        self._http = http
        self._store = store
        self._world = world
        session = account.provider.session
        self._logins = Logins(self, session) if session else None
        self._hold: Hold | None = None
        self._answers = 0  # that took the credential
        self._refusals: dict[str, int] = {}  # by whom: how many had when it was refused
        self._nudges = 0  # how often an operator said: try now
        self.holds = Holds(account.source, store)
        self._org = Org()
        self._listed: set[str] = set()
        self._lists = trio.Condition()

    # who goes first

    async def listed(self, feed: str) -> None:
        """A listing was read once, or could not be."""
        if feed not in self._listed:
            self._listed.add(feed)
            async with self._lists:
                self._lists.notify_all()

    async def wait_for_listings(self, feeds: frozenset[str]) -> None:
        """Wait until each of these was."""
        async with self._lists:
            while not feeds <= self._listed:
                await self._lists.wait()

    # whether anything may be asked at all

    @property
    def held(self) -> str:
        """Why the vendor refuses this credential; empty where it does not."""
        return self._hold.why if self._hold else ""

    async def refused(self, why: str, to: str) -> bool:
        """Ask nothing for a while: the vendor does not take this credential.

        False where it was refused to this feed or job before, and others were answered
        since: then it lacks something for that one alone, which holds up nobody else
        until it was served.
        """
        alone = self._refusals.get(to, self._answers) < self._answers
        self._refusals[to] = ALONE if alone else self._answers
        if alone:
            return False
        self._hold = Hold(why, trio.current_time() + HELD_RETRY)
        await self.holds.hold("", why)
        return True

    def served(self, to: str) -> None:
        """All that this feed asked was answered."""
        self._refusals.pop(to, None)

    async def _taken(self) -> None:
        """The vendor takes it: whoever waits goes on."""
        self._answers += 1
        if self._hold is not None:
            self._hold = None
            self._store.ring(self.account.source)
        await self.holds.free("")

    async def admitted(self, to: str) -> None:
        """Wait while the credential is refused; one at a time tries whether it still is.

        Those first to whom it was not refused: it may lack what the others need.
        """
        store, source = self._store, self.account.source
        while (hold := self._hold) is not None and not store.paused(source):
            late = BEHIND if to in self._refusals else 0.0
            wait = hold.until + late - trio.current_time()
            if wait <= 0:
                self._hold = Hold(hold.why, trio.current_time() + HELD_RETRY)
                return
            before = self._nudges
            with trio.move_on_after(wait):
                await self._rung()
            if self._hold is hold and self._nudges != before:
                await self.remember("refused", None)
                self._hold = Hold(hold.why, trio.current_time())

    async def nudged(self) -> None:
        """Wait until an operator says: try now."""
        before = self._nudges
        while self._nudges == before:
            await self._rung()

    async def _rung(self) -> None:
        """Wait for the bell of the source, which rings for jobs and pauses as well."""
        store, source = self._store, self.account.source
        await store.bell(source).wait()
        if source in store.nudged:  # whoever wakes first tells the others
            store.nudged.discard(source)
            self._nudges += 1

    # asking

    async def ask(
        self, ask: Ask, *, rank: int = LIVE, scope: str = ""
    ) -> Answer:  # fmt: skip
        """The answer, once the vendor's own file and its status let it pass.

        Raises `HeldError` (status 401: whatever is asked), `TransientError`, and what
        `Provider.judge` raises.
        """
        provider = self.account.provider
        if provider.answer is not None:
            far, now = provider.answer, self._world.now()
            body = await self._world.in_thread(lambda: far(ask, now))
            return Answer(200, {}, body)
        await self._belongs(rank)
        return await self._ask(ask, rank, scope)

    async def _ask(self, ask: Ask, rank: int, scope: str) -> Answer:
        """Ask, and where that is too often ask again when the budget's pause is over."""
        for _ in range(BUSY_TRIES):
            try:
                return await self._once(ask, rank, scope)
            except TransientError as bad:
                if bad.status != BUSY or self.budget.paused(ask.tier) > BUSY_SOON:
                    raise
        return await self._once(ask, rank, scope)

    async def _once(self, ask: Ask, rank: int, scope: str) -> Answer:
        if self._logins is None:
            answer = await self.send(ask, rank, self._authority())
        else:
            answer = await self._logins.ask(ask, rank)
        self._judge(ask, answer, scope)
        if self._org.judged or not self.account.org:
            await self._taken()
        return answer

    async def _belongs(self, rank: int) -> None:
        """Whose account this is, at start and every day; `HeldError` where it is another.

        Once it was right, not hearing an answer is no reason to stop.
        """
        probe = self.account.provider.whoami
        if not self.account.org or probe is None or not self._org.due(self.now):
            return
        async with self._org.lock:
            if not self._org.due(self.now):
                return
            try:
                answer = await self._ask(probe.ask, rank, "")
            except TransientError:
                if not self._org.judged:
                    raise
                self._org.later(self.now)
                return
            try:
                names = probe.read(answer.body)
            except UNREADABLE as bad:
                why = f"{probe.ask.path}: {bad!r}"
                raise UnreadableError(why, answer.body) from bad
            self._org.judge(self.account, names, self.now)

    async def send(
        self, ask: Ask, rank: int, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send it in its turn; nothing is judged yet."""
        base, way = self._base(ask.host), self.account.way
        async with self.budget.sending(ask.tier, rank) as turn:
            return await exchange(
                self._http, base, ask, headers or {}, way.patience, turn.trace,
                way.max_page,
            )  # fmt: skip

    def _base(self, host: str) -> str:
        base = self.account.base_url
        if not host or "://" in host:
            return host or base
        return f"{base.partition('://')[0] or 'https'}://{host}"

    def _authority(self) -> Mapping[str, str]:
        account = self.account
        if account.token is None or account.provider.authorize is None:
            return {}
        return account.provider.authorize(account.token())

    def _judge(self, ask: Ask, answer: Answer, scope: str) -> None:
        provider = self.account.provider
        try:
            if provider.judge is not None:
                provider.judge(ask, answer)
            if provider.session is not None and provider.session.judge is not None:
                provider.session.judge(self.secret, ask, answer)
            self._judge_status(ask, answer, scope)
        except TransientError as unwell:
            if BUSY in {answer.status, unwell.status}:
                unwell.status = BUSY
                self.budget.told(ask.tier, unwell.after)
            else:
                self.unwell()
            raise
        except PayloadError as bad:
            raise UnreadableError(f"{ask.path}: {bad}", answer.body) from bad

    def unwell(self) -> None:
        """What was answered is none, though it came with a 200."""
        if self._logins is not None:
            self._logins.unwell()

    def _judge_status(self, ask: Ask, answer: Answer, scope: str) -> None:
        status, account = answer.status, self.account
        if status == 200 or (ask.method != "GET" and status in DONE):
            return
        if status == 401:
            raise HeldError(refused(account, ask, status), status=401)
        if status == 403:
            needs = f"; it needs {scope}" if scope else ""
            why = f"{account.title} forbids {ask.path} to this token (403){needs}"
            raise HeldError(why, status=403, answer=answer.body[:ANSWER_BYTES])
        why = f"{ask.path}: answered {status}"
        if status == 404:
            why = f"{why}: {account.base_url} knows no such thing. Is base_url right"
            why = f"{why}, or the account of another region{elsewhere(account)}?"
        if status in UNWELL or status >= 500 or status < 300:
            after = retry_after(answer.headers.get("retry-after"), self._world.now())
            raise TransientError(why, after=after, status=status)
        if status < 400:
            why += f"{whither(answer)}; redirects are not followed"
        raise HeldError(why, status=status, answer=answer.body[:ANSWER_BYTES])

    # what outlives a run

    @property
    def mark(self) -> str:
        """Names this very credential without telling it: where, whose, the secret."""
        told = f"{self.account.base_url}\0{self.secret}\0".encode() + self._login()
        return blake2b(told, digest_size=12, person=b"fleetd-session").hexdigest()

    def _login(self) -> bytes:
        """What a login says: a user that was corrected is another credential."""
        session = self.account.provider.session
        if session is None:
            return b""
        try:
            ask = session.login(self.secret, DAWN)
        except HeldError:  # it lacks a key of the config
            return b""
        return msgspec.json.encode((ask.path, ask.params, ask.headers, ask.json))

    @property
    def secret(self) -> str:
        return self.account.token() if self.account.token else ""

    def recall(self, what: str) -> dict[str, Any]:
        """What was kept of this credential; nothing once the secret is another."""
        found = self._store.recall(f"{what}:{self.account.source}")
        return found if found.get("mark") == self.mark else {}

    async def remember(self, what: str, value: Mapping[str, Any] | None) -> None:
        """Keep something of this credential over restarts."""
        kept = None if value is None else {**value, "mark": self.mark}
        await self._store.remember(f"{what}:{self.account.source}", kept)

    async def aside(self, work: Callable[[], T]) -> T:
        """Do what takes long beside the loop."""
        done: T = await self._world.in_thread(work)
        return done

    @property
    def chance(self) -> random.Random:
        return self._world.chance

    @property
    def now(self) -> datetime:
        return self._world.now()


def refused(account: Account, ask: Ask, status: int) -> str:
    """What to say where the vendor does not take the token."""
    return (
        f"{account.source}: {account.title} refused the token ({status} on {ask.path}). "
        f"Wrong token, or an account of another region{elsewhere(account)}? {account.fix}"
    )


def whither(answer: Answer) -> str:
    """The host that a redirect names: often the base_url that were right."""
    try:
        host = urlsplit(answer.headers.get("location", "")[:LONGEST]).hostname
    except ValueError:
        return ""
    return f", to {host}" if host else ""


def elsewhere(account: Account) -> str:
    """Where else an account of this vendor may live, to put into the config."""
    here = account.base_url.rstrip("/")
    others = [
        f'{name}: base_url = "{url}"'
        for name, url in account.provider.regions.items()
        if url.rstrip("/") != here
    ]
    return f" ({'; '.join(others)})" if others else ""


@asynccontextmanager
async def open_credential(
    account: Account, budgets: Budgets, store: Store, world: World
) -> AsyncIterator[Credential]:
    """The credential of one source, with its connections."""
    options = account.way.options(world.environ)
    secret = account.token() if account.token else account.source
    host = account.base_url.partition("://")[2].partition("/")[0]
    budget = budgets.of(host, secret, account.provider.limits)
    async with world.client(**options) as http:
        yield Credential(account, http, budget, store, world)
