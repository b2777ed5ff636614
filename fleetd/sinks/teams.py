"""Microsoft Teams: one readable card at a time, through a Workflows webhook.

A 202 says that the flow accepted the card, not that anybody saw it: what the flow makes
of it stands in its run history alone. A repeat is a second card: Teams knows no key for
it. It comes about only where the flow had accepted and we could not know: a lost answer,
an answer of its own fault, or a crash within the milliseconds between its answer and our
note of it. A card cannot be edited, so what is resolved is told in a card of its own.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import httpx
import msgspec

from fleetd.errors import HeldError, TransientError
from fleetd.secrets import Secret
from fleetd.sinks.answers import Answer, ask, judge, says_no
from fleetd.sinks.contract import Batch, Receipt, Sink, Write
from fleetd.sinks.telling import DOCS, TAKES, Choice, Manners, Teller
from fleetd.sinks.wording import Message, cut
from fleetd.world import World

WITHIN = 20.0
LARGEST = 24_000  # bytes of a card; Teams takes 28 KB
TITLE, TEXT = 200, 1000
KEPT = 2048
CARD = "application/vnd.microsoft.card.adaptive"
SCHEMA = "http://adaptivecards.io/schemas/adaptive-card.json"
CODE = re.compile(rb'"code"\s*:\s*"([A-Za-z]{3,60})"')
ADVICE = {
    "WorkflowTriggerIsNotEnabled": "the flow is switched off; switch it on",
    "WorkflowNotFound": "the flow is gone; make a new one and set its URL",
    "WorkflowDisabled": "the flow is switched off; switch it on",
    "DirectApiAuthorizationRequired": "the flow takes only signed-in users; let its trigger"
    " take anyone",
    "AuthorizationFailed": "the URL's signature is not right; copy it again",
    "InvalidSignature": "the URL's signature is not right; copy it again",
}
REFUSED = (
    "the webhook may be off or gone, or its owner's account closed; see to the flow"
)


class Config(Manners, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[sinks.NAME]` with `kind = "teams"`."""

    docs: ClassVar[dict[str, str]] = {
        "webhook_url": "what the flow 'Post to a channel when a webhook request is"
        " received' shows; all of it is a secret",
        **DOCS,
    }
    webhook_url: Secret


class Teams:
    """One flow."""

    def __init__(
        self, config: Config, world: World, http: httpx.AsyncClient, teller: Teller
    ) -> None:
        self._config, self._world = config, world
        self._http, self._teller = http, teller

    async def write(self, batch: Batch) -> Receipt:
        """Post the one card that is due."""
        return await self._teller.tell(batch, self._say)

    async def _say(
        self, _choice: Choice, message: Message, batch: Batch
    ) -> tuple[Receipt, str]:
        answer = await ask(
            self._http,
            "POST",
            self._config.webhook_url.reveal(),
            within=WITHIN,
            content=body_of(message),
            headers={"Content-Type": "application/json"},
        )
        return judged(answer, batch, self._world), ""


def judged(answer: Answer, batch: Batch, world: World) -> Receipt:
    """What the flow's answer means; only a 202 or 200 without an error is a yes."""
    kept = answer.body[:KEPT]
    if 400 <= answer.status < 500 and (advice := advice_of(answer.body)):
        why = f"{answer.host} answered {answer.status}: {advice}"
        raise HeldError(why, status=answer.status, answer=kept)
    try:
        return judge(answer, batch.entries, world.now(), disagrees)
    except HeldError as bad:
        raise HeldError(f"{bad}; {REFUSED}", status=bad.status, answer=kept) from None


def advice_of(body: bytes) -> str:
    found = CODE.search(body)
    return ADVICE.get(found[1].decode(), "") if found else ""


def disagrees(body: bytes) -> str | None:
    """Why a 2xx is no yes: a page stands in between, or the failure is in the body."""
    if b"message delivery failed" in body[:400].lower():
        return "the body says it failed"
    return says_no(body)


# what a card looks like


def body_of(message: Message) -> bytes:
    """The card as the flow takes it, with as many rows as there is room for."""
    rows = list(row_blocks(message))
    while True:
        body = [*heads(message), *rows, *feet(message)]
        content: dict[str, Any] = {
            "$schema": SCHEMA, "type": "AdaptiveCard", "version": "1.4", "body": body,
        }  # fmt: skip
        if message.url:
            action = {"type": "Action.OpenUrl", "title": "Open", "url": message.url}
            content["actions"] = [action]
        card = {"contentType": CARD, "contentUrl": None, "content": content}
        made = msgspec.json.encode({"type": "message", "attachments": [card]})
        if len(made) <= LARGEST or not rows:
            return made
        rows = rows[: len(rows) // 2]


def heads(message: Message) -> Iterator[dict[str, Any]]:
    if message.said:
        yield paragraph(run(cut("".join(piece for piece, _ in message.said), 4 * TEXT)))
    else:
        yield paragraph(run(cut(message.title, TITLE), weight="Bolder", size="Medium"))


def row_blocks(message: Message) -> Iterator[dict[str, Any]]:
    for row in message.rows:
        name = run(f"{cut(row.name, TITLE)}  ", weight="Bolder")
        yield paragraph(name, run(cut(row.text, TEXT) or "-"))


def feet(message: Message) -> Iterator[dict[str, Any]]:
    if message.foot:
        yield paragraph(run(cut(message.foot, TITLE), size="Small", isSubtle=True))


def paragraph(*runs: dict[str, Any]) -> dict[str, Any]:
    """Rich text, which is no Markdown: nothing in it is a link or a mention."""
    return {"type": "RichTextBlock", "inlines": list(runs)}


def run(text: str, **style: Any) -> dict[str, Any]:
    return {"type": "TextRun", "text": text, **style}


async def check(config: Config, world: World) -> str:
    """Ask with OPTIONS, which starts no flow: only a card proves that one is shown."""
    url = config.webhook_url.reveal()
    async with world.client(timeout=None) as http:
        answer = await ask(http, "OPTIONS", url, within=WITHIN)
    if answer.status in (401, 403, 410):
        why = f"{answer.host} answered {answer.status}; {REFUSED}"
        raise HeldError(why, status=answer.status)
    if answer.status >= 500:
        raise TransientError(f"{answer.host} answered {answer.status}")
    said = f"{answer.host} answers (OPTIONS {answer.status}); nothing was posted"
    return f"{said}, and only a card proves that the flow shows it"


def account(config: Config) -> str:
    """Where Teams counts: a flow."""
    return config.webhook_url.reveal()


@asynccontextmanager
async def open_teams(config: Config, world: World, place: str) -> AsyncIterator[Write]:
    """A client for the life of the sink; what was told is noted in `place`."""
    teller = Teller(config, world, place)
    await teller.begin()
    async with world.client(timeout=None) as http:
        yield Teams(config, world, http, teller).write


SINK = Sink(
    config=Config,
    open=open_teams,
    takes=TAKES,
    batch=1000,
    batch_bytes=0,
    linger=10.0,
    per_second=1.0,
    burst=2,
    notifies=True,
    check=check,
    account=account,
)
