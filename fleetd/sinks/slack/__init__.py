"""Slack: one readable message at a time, by incoming webhook or by `chat.postMessage`.

Slack knows no key for a repeat, so a repeat is a second message. It comes about only
where Slack had posted and we could not know: a lost answer, an answer of its own fault,
or a crash within the milliseconds between its answer and our note of it. With a token a
later word about the same thing edits the first message instead of posting another.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import httpx
import msgspec
from msgspec import Struct

from fleetd.config.units import BaseUrl
from fleetd.errors import HeldError, RejectedError, TransientError
from fleetd.event import Entry
from fleetd.secrets import Secret
from fleetd.sinks.answers import Answer, after_of, ask, judge
from fleetd.sinks.contract import Batch, Receipt, Sink, Write
from fleetd.sinks.slack.blocks import body_of
from fleetd.sinks.telling import DOCS, TAKES, Choice, Manners, Teller
from fleetd.sinks.wording import Message
from fleetd.world import World

WITHIN = 9.0  # seconds for one request; a message may take three
KEPT = 2048
WORD = re.compile(rb"[a-z_]{2,64}")
CHANNEL = re.compile(r"[CGD][A-Z0-9]{6,20}|#[^\s#@<>]{1,79}")
WAIT = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})
UNWELL = frozenset(
    {"internal_error", "fatal_error", "service_unavailable", "request_timeout",
     "rollup_error"}
)  # fmt: skip
TOO_LONG = frozenset({"msg_too_long", "msg_blocks_too_long"})
UNFIT = TOO_LONG | {
    "invalid_blocks", "invalid_blocks_format", "invalid_attachments", "invalid_payload",
    "no_text", "too_many_attachments", "markdown_text_conflict", "invalid_arguments",
    "metadata_too_large", "invalid_metadata_format", "invalid_metadata_schema",
}  # fmt: skip
GONE = frozenset(
    {"message_not_found", "cant_update_message", "edit_window_closed", "msg_too_old"}
)
ADVICE = {
    "invalid_auth": "it does not know the token; set the bot's own, xoxb-...",
    "not_authed": "it does not know the token; set the bot's own, xoxb-...",
    "token_revoked": "the token was revoked; set a new one",
    "token_expired": "the token has expired; set a new one",
    "account_inactive": "the token's account was closed; set another one",
    "missing_scope": "the app lacks the scope chat:write; add it, install it again",
    "channel_not_found": "the app sees no such channel; correct it, or invite the app",
    "not_in_channel": "the app is not in the channel; invite it",
    "is_archived": "the channel is archived; set another",
    "channel_is_archived": "the channel is archived; set another webhook",
    "invalid_token": "the webhook's URL is not whole; copy it again",
    "no_service": "the webhook was removed; make a new one",
    "no_service_id": "the webhook's URL is not whole; copy it again",
    "no_active_hooks": "the webhook was switched off; make a new one",
    "no_team": "the webhook's workspace is gone; make a new one",
    "team_disabled": "the workspace is closed",
    "action_prohibited": "the workspace's admin forbids this; ask for leave",
}


class Config(Manners, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[sinks.NAME]` with `kind = "slack"`."""

    docs: ClassVar[dict[str, str]] = {
        "webhook_url": "an incoming webhook: posts to its one channel, edits nothing",
        "token": "or a bot's token (scope chat:write), with `channel`: what is resolved"
        " is edited",
        "channel": "the channel's id, as `C0FLEET01`, or `#name`",
        "base_url": "another address of the API, as for GovSlack",
        **DOCS,
    }
    webhook_url: Secret | None = None
    token: Secret | None = None
    channel: str = ""
    base_url: BaseUrl = BaseUrl("https://slack.com/api")

    def __post_init__(self) -> None:
        if (self.webhook_url is None) == (self.token is None):
            raise ValueError("webhook_url: give this, or token and channel")
        if self.token is not None and not CHANNEL.fullmatch(self.channel):
            raise ValueError('channel: takes an id such as "C0FLEET01", or "#name"')
        if self.webhook_url is not None and self.channel:
            raise ValueError("channel: a webhook posts to its own; leave this out")


class Told(Struct):
    """What the API answers; with status 200 whether it did it or not."""

    ok: bool = False
    error: str = ""
    channel: str = ""
    ts: str = ""
    team: str = ""
    user: str = ""


class Reply(Struct, frozen=True):
    """An answer that could be read: `word` is Slack's own for what is wrong, if it is."""

    answer: Answer
    word: str = ""
    handle: str = ""


_told = msgspec.json.Decoder(Told)


class Slack:
    """One channel, by whichever way it is reached."""

    def __init__(
        self, config: Config, world: World, http: httpx.AsyncClient, teller: Teller
    ) -> None:
        self._config, self._world = config, world
        self._http, self._teller = http, teller

    async def write(self, batch: Batch) -> Receipt:
        """Post, or edit, the one message that is due."""
        return await self._teller.tell(batch, self._say)

    async def _say(
        self, choice: Choice, message: Message, batch: Batch
    ) -> tuple[Receipt, str]:
        """Send it; as plain text if its form is not liked, as new if the old one is gone."""
        plain, asked = False, 0
        while True:  # three times at most
            body = body_of(message, plain=plain)
            reply = await self._send(choice, body, batch.entries)
            asked += 1
            if not reply.word:
                status, kept = reply.answer.status, reply.answer.body[:KEPT]
                return Receipt(status, kept, cost=asked), reply.handle
            if choice.handle and reply.word in GONE:
                choice = self._teller.forget(choice)
            elif reply.word in UNFIT and not plain:
                plain = True
            else:
                raise verdict(reply, batch.entries, self._world)

    async def _send(
        self, choice: Choice, body: dict[str, Any], entries: Sequence[Entry]
    ) -> Reply:
        config = self._config
        if config.webhook_url is not None:
            url = config.webhook_url.reveal()
            answer = await ask(self._http, "POST", url, within=WITHIN, json=body)
            return hook_reply(answer, self._world, entries)
        method, at = "chat.postMessage", {"channel": config.channel}
        more: dict[str, Any] = {"metadata": metadata(choice)}
        if choice.handle:
            channel, _, ts = choice.handle.partition("/")
            method, at = "chat.update", {"channel": channel, "ts": ts}
            more = {"parse": "none"}  # else as if typed: @all
        answer = await called(config, self._http, method, {**at, **more, **body})
        return api_reply(answer, self._world, entries)


async def called(
    config: Config, http: httpx.AsyncClient, method: str, body: dict[str, Any]
) -> Answer:
    """One call of the API, with the token."""
    assert config.token is not None
    return await ask(
        http,
        "POST",
        f"{config.base_url}/{method}",
        within=WITHIN,
        content=msgspec.json.encode(body),
        headers={
            "Authorization": f"Bearer {config.token.reveal()}",
            "Content-Type": "application/json; charset=utf-8",
        },
    )


# what an answer means


def hook_reply(answer: Answer, world: World, entries: Sequence[Entry] = ()) -> Reply:
    """A webhook answers `ok`, or a status with one word about it."""
    word = answer.body.strip()
    if answer.status == 200:
        if word == b"ok":
            return Reply(answer)
        raise TransientError(
            f"{answer.host} answered 200, but not `ok`: something stands in between",
            after=after_of(answer, world.now()),
            status=200,
            answer=answer.body[:KEPT],
        )
    if 400 <= answer.status < 500 and answer.status != 429 and WORD.fullmatch(word):
        return Reply(answer, word.decode())
    judge(answer, entries, world.now())
    raise TransientError(
        f"{answer.host} answered {answer.status}", status=answer.status
    )


def api_reply(answer: Answer, world: World, entries: Sequence[Entry] = ()) -> Reply:
    """The API answers 200 to everything; whether it did it stands in the body."""
    if answer.status != 200:
        judge(answer, entries, world.now())
    try:
        told = _told.decode(answer.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as bad:
        why = f"{answer.host} answered {answer.status}, but not as Slack does"
        kept = answer.body[:KEPT]
        raise TransientError(why, status=answer.status, answer=kept) from bad
    if told.ok:
        return Reply(answer, "", f"{told.channel}/{told.ts}" if told.ts else "")
    word = told.error.encode()
    return Reply(answer, told.error if WORD.fullmatch(word) else "no_reason")


def verdict(
    reply: Reply, entries: Sequence[Entry], world: World
) -> TransientError | RejectedError | HeldError:
    """What Slack's word means for the entries, or for us."""
    answer, word = reply.answer, reply.word
    why, kept = f"Slack says {word}", answer.body[:KEPT]
    if word in WAIT:
        return later(answer, why, world)
    if word in UNWELL:
        after = after_of(answer, world.now())
        return TransientError(why, after=after, status=answer.status, answer=kept)
    if word in UNFIT:
        return RejectedError(
            {entry.seq: why for entry in entries},
            blameless=word in TOO_LONG,
            status=answer.status,
            answer=kept,
        )
    advice = ADVICE.get(word, "see what Slack's documentation has on it")
    return HeldError(f"{why}: {advice}", status=answer.status, answer=kept)


def later(answer: Answer, why: str, world: World) -> TransientError:
    """Too much for it: the same as a 429, whatever the status was."""
    return TransientError(
        why, after=after_of(answer, world.now()), status=429, counts=False,
        answer=answer.body[:KEPT],
    )  # fmt: skip


def metadata(choice: Choice) -> dict[str, Any]:
    """By which others can tell a repeat: the same for each."""
    seqs = [entry.seq for entry in choice.entries]
    payload: dict[str, Any] = {"key": choice.key}
    if seqs:
        payload |= {"first": min(seqs), "last": max(seqs), "count": len(seqs)}
    return {"event_type": "fleetd_events", "event_payload": payload}


async def check(config: Config, world: World) -> str:
    """Ask without posting: `auth.test`, or a webhook with a message that has no text."""
    async with world.client(timeout=None) as http:
        if config.webhook_url is not None:
            url = config.webhook_url.reveal()
            answer = await ask(http, "POST", url, within=WITHIN, json={"text": ""})
            reply = hook_reply(answer, world)
            if reply.word not in UNFIT:
                raise verdict(reply, (), world)
            return f"{answer.host} knows the webhook; nothing was posted"
        answer = await called(config, http, "auth.test", {})
        reply = api_reply(answer, world)
    if reply.word:
        raise verdict(reply, (), world)
    told = _told.decode(answer.body)
    return f"{told.user} of {told.team} may call; that it is in {config.channel} is not known"


def account(config: Config) -> str:
    """Where Slack counts: a webhook, or a channel."""
    secret = config.webhook_url or config.token
    assert secret is not None
    return f"{secret.reveal()} {config.channel}"


@asynccontextmanager
async def open_slack(config: Config, world: World, place: str) -> AsyncIterator[Write]:
    """A client for the life of the sink; what was told is noted in `place`."""
    teller = Teller(config, world, place, edits=config.token is not None)
    await teller.begin()
    async with world.client(timeout=None) as http:
        yield Slack(config, world, http, teller).write


SINK = Sink(
    config=Config,
    open=open_slack,
    takes=TAKES,
    batch=1000,
    batch_bytes=0,
    linger=10.0,
    per_second=1.0,
    burst=3,
    notifies=True,
    check=check,
    account=account,
)
