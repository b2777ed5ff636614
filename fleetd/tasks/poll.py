"""Feeds in: what a vendor is asked again and again, page and bookmark in one commit."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx
import msgspec
import structlog
import trio
from msgspec import Struct

from fleetd.clock import Clock
from fleetd.errors import HeldError, PayloadError, TransientError, said
from fleetd.masking import mask_fields
from fleetd.pace import Bucket, retry_after
from fleetd.providers.contract import Ask, Feed, Provider, Turn
from fleetd.store import Raw, Store
from fleetd.store.dead import crowded
from fleetd.tasks.intake import Arrival, take_in
from fleetd.tasks.supervise import Health
from fleetd.world import World

PAGE_BYTES = 64 << 20
LONGEST = 200  # of what a fault says
logger = structlog.get_logger()


class Plan(Struct, frozen=True):
    """How one feed of one source is polled."""

    source: str
    provider: Provider
    feed: Feed
    every: float
    base_url: str = ""
    token: Callable[[], str] | None = None
    timeout: float = 30.0
    proxy: str | None = None
    trust: ssl.SSLContext | None = None
    since: Callable[[datetime], datetime] | None = None


async def poll(
    plan: Plan, *, store: Store, world: World, health: Health, clock: Clock,
    bucket: Bucket,
) -> None:  # fmt: skip
    """Ask for ever: each page is kept with its bookmark, so a crash repeats one."""
    name = f"{plan.source}/{plan.feed.name}"
    options: dict[str, Any] = {"timeout": plan.timeout, "proxy": plan.proxy}
    if plan.trust is not None:
        options["verify"] = plan.trust
    async with world.client(**options) as http:
        while True:
            if store.paused(plan.source):
                health.say("paused", f"fleetd resume {plan.source}")
                await store.wait_while_paused(plan.source)
            health.say("ok")
            more = await _page(plan, http, store, world, clock, bucket)
            health.beat()
            if not more:
                health.say("waiting")
                logger.debug("feed_waits", feed=name, seconds=plan.every)
                await trio.sleep(plan.every)


async def _page(
    plan: Plan, http: httpx.AsyncClient, store: Store, world: World, clock: Clock,
    bucket: Bucket,
) -> bool:  # fmt: skip
    """One question and its answer; whether more waits now."""
    feed, now = plan.feed, world.now()
    bookmark = store.bookmark(plan.source, feed.name)
    since = plan.since(now) if plan.since is not None else None
    turn = Turn(now, bookmark, since)
    ask = feed.ask(turn)
    if ask is None:
        return False
    if plan.provider.answer is not None:
        answer = plan.provider.answer
        body = await world.in_thread(lambda: answer(ask, now))
    else:
        await trio.sleep(bucket.take(trio.current_time()))
        body = await fetch(http, plan, ask, now)
    page = feed.unpack(ask, body, turn)
    arrival = Arrival(
        plan.source, plan.provider, store.next_received_ms(), "poll",
        trusted_clock=clock.trusted,
    )  # fmt: skip
    clean = mask_fields(body, plan.provider.secret_fields)
    append = take_in(
        arrival,
        page.records,
        store.directory,
        raw=Raw(feed.name, clean, verdict="polled") if page.records else None,
        bookmark=(feed.name, page.bookmark),
    )
    if append.dead and ("source", plan.source) in store.crowded:
        raise HeldError(crowded(plan.source))
    await store.append(append)
    return page.more


async def fetch(http: httpx.AsyncClient, plan: Plan, ask: Ask, now: datetime) -> bytes:
    """The body of a 200, or the error that says what became of the question."""
    headers = dict(ask.headers)
    if plan.token is not None and plan.provider.authorize is not None:
        headers |= plan.provider.authorize(plan.token())
    request = http.build_request(
        ask.method,
        plan.base_url + ask.path,
        params=dict(ask.params),
        headers=headers,
        content=None if ask.json is None else msgspec.json.encode(ask.json),
    )
    try:
        response = await http.send(request, stream=True)
        try:
            return await _judged(response, plan, ask, now)
        finally:
            await response.aclose()
    except httpx.HTTPError as bad:
        why = f"{type(bad).__name__}: {said(bad)[:LONGEST]}"
        raise TransientError(f"{ask.path}: {why}") from bad


async def _judged(
    response: httpx.Response, plan: Plan, ask: Ask, now: datetime
) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > PAGE_BYTES:
            raise PayloadError(f"{ask.path}: a page of over {PAGE_BYTES} bytes")
    status = response.status_code
    if status == 200:
        return bytes(body)
    if status in {401, 403}:
        raise HeldError(
            f"{plan.source}: {plan.provider.title or plan.provider.name} refused the "
            f"token ({status} on {ask.path}). Wrong token, or an account of another "
            f"region? Webhooks still arrive. Fix sources.{plan.source}.token.",
            status=status,
        )
    after = retry_after(response.headers.get("retry-after"), now)
    raise TransientError(f"{ask.path}: answered {status}", after=after, status=status)
