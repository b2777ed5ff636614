"""What a webhook has us fetch: what proves it, kept a day, and what it asks to be visited."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
import structlog
import trio
from msgspec import Struct

from fleetd.errors import ConfigError, SignatureError, TransientError, said
from fleetd.providers.contract import Answer, Ask
from fleetd.world import World

KEPT_S = 86_400.0
SPARED_S = 10.0  # after a fetch that failed, before the next
MOST = 32  # things kept for one source
LARGEST = 64 << 10
WITHIN_S = 8.0  # SNS waits 15 s for its answer
SCHEME = "https://"
BARE = {"Accept-Encoding": "identity"}  # what is packed may be a thousand times bigger
LONGEST = 200
logger = structlog.get_logger()


class Kept(Struct, frozen=True):
    """An answer, or why there was none, and until when that stands."""

    until: float
    answer: Answer | None = None
    why: str = ""


class Errands:
    """The errands of one source: only to the hosts that its vendor's file names."""

    def __init__(
        self, source: str, hosts: Sequence[str], options: Callable[[], Mapping[str, Any]],
        world: World,
    ) -> None:  # fmt: skip
        self._source = source
        self._hosts = [re.compile(one) for one in hosts]
        self._options = options
        self._world = world
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._locks: dict[str, trio.Lock] = {}

    async def needed(self, asks: Sequence[Ask]) -> list[Answer]:
        """What was asked for, from the day's store or fetched; `TransientError` if not."""
        return [await self._needed(self._url(ask)) for ask in asks]

    async def visit(self, ask: Ask) -> None:
        """Ask once and now; `TransientError` where the answer is no success."""
        await self._fetched(self._url(ask))
        logger.info("followed", source=self._source, host=ask.host)

    def forget(self, asks: Sequence[Ask]) -> None:
        """What was kept is of no use: the next who needs it fetches it again, soon."""
        until = trio.current_time() + SPARED_S
        for ask in asks:
            why = "what was fetched cannot be used"
            self._keep(self._url(ask), Kept(until, why=why))

    def _url(self, ask: Ask) -> str:
        """The whole address, once more judged: no other host, no other way to it."""
        host = ask.host.removeprefix(SCHEME)
        if not ask.host.startswith(SCHEME) or not any(
            one.fullmatch(host) for one in self._hosts
        ):
            raise SignatureError("it names a place that nothing is fetched from")
        if ask.method != "GET" or not ask.path.startswith("/"):
            raise SignatureError("it names no address that could be fetched")
        try:
            return str(httpx.URL(ask.host + ask.path, params=dict(ask.params) or None))
        except httpx.InvalidURL as bad:
            raise SignatureError("it names an address that none can be") from bad

    async def _needed(self, url: str) -> Answer:
        found = self._fresh(url)
        if found is None:
            lock = self._locks.setdefault(url, trio.Lock())
            async with lock:
                found = self._fresh(url) or await self._fetch(url)
        if found.answer is None:
            raise TransientError(found.why)
        return found.answer

    def _fresh(self, url: str) -> Kept | None:
        found = self._kept.get(url)
        return found if found and found.until > trio.current_time() else None

    async def _fetch(self, url: str) -> Kept:
        try:
            answer = await self._fetched(url)
            kept = Kept(trio.current_time() + KEPT_S, answer)
        except TransientError as bad:
            logger.warning("not_fetched", source=self._source, why=str(bad))
            kept = Kept(trio.current_time() + SPARED_S, why=str(bad))
        self._keep(url, kept)
        return kept

    def _keep(self, url: str, kept: Kept) -> None:
        """Remember it; of too many the oldest go, and the locks that nobody holds."""
        self._kept[url] = kept
        self._kept.move_to_end(url)
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)
        if len(self._locks) > MOST:
            self._locks = {
                one: lock
                for one, lock in self._locks.items()
                if one in self._kept or lock.locked()
            }

    async def _fetched(self, url: str) -> Answer:
        """The answer to a GET, in a bounded time and size; redirects are no answers."""
        host = url.removeprefix(SCHEME).partition("/")[0]
        try:
            with trio.fail_after(WITHIN_S):
                async with self._world.client(**self._options()) as http:
                    return await _got(http, url, host)
        except trio.TooSlowError as bad:
            raise TransientError(f"{host}: no answer in {WITHIN_S:g} s") from bad
        except ConfigError as bad:
            raise TransientError(str(bad)) from bad
        except httpx.HTTPError as bad:
            why = f"{type(bad).__name__}: {said(bad)[:LONGEST]}"
            raise TransientError(f"{host}: {why}") from bad


async def _got(http: httpx.AsyncClient, url: str, host: str) -> Answer:
    async with http.stream("GET", url, headers=BARE) as response:
        if response.status_code != 200:
            raise TransientError(f"{host}: answered {response.status_code}")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise TransientError(f"{host}: answered packed, asked for plain")
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > LARGEST:
                raise TransientError(f"{host}: answered over {LARGEST} bytes")
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(200, headers, bytes(body))
