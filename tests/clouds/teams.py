"""A Power Automate flow that posts cards to Teams: signed URL, 202, 28 KB, and its failures."""

from __future__ import annotations

import json
from typing import Any

from tests.clouds.posts import Asked, Cloud, Reply

HOOK = (
    "/workflows/0f1e2d/triggers/manual/paths/invoke"
    "?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=Very_Secret-Sig1"
)
LARGEST = 28 * 1024
BLOCKS = {"RichTextBlock": "inlines", "TextBlock": "text"}


class Teams(Cloud):
    """One flow; `cards` are those it accepted, `off` says that it is switched off."""

    def __init__(self) -> None:
        super().__init__()
        self.cards: list[dict[str, Any]] = []
        self.off = False

    def texts(self) -> list[str]:
        return [readable(one) for one in self.cards]

    def judge(self, asked: Asked) -> Reply:
        if asked.path != HOOK:
            return failed(401, "InvalidSignature")
        if asked.method == "OPTIONS":
            return Reply(204)
        if self.off:
            return failed(400, "WorkflowTriggerIsNotEnabled")
        if len(asked.body) > LARGEST:
            return Reply(413)
        try:
            self.cards.append(card_in(json.loads(asked.body)))
        except (ValueError, KeyError, TypeError, AssertionError):
            return failed(400, "InvalidRequestContent")
        return Reply(202)


def failed(status: int, code: str) -> Reply:
    body = json.dumps({"error": {"code": code, "message": "It did not go."}}).encode()
    return Reply(status, body, {"Content-Type": "application/json"})


def card_in(body: dict[str, Any]) -> dict[str, Any]:
    """The card, if it is one."""
    assert body["type"] == "message"
    (attachment,) = body["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card: dict[str, Any] = attachment["content"]
    assert card["type"] == "AdaptiveCard"
    assert "msteams" not in card  # where mentions would stand
    for block in card["body"]:
        assert block[BLOCKS[block["type"]]]
    return card


def readable(card: dict[str, Any]) -> str:
    lines = []
    for block in card["body"]:
        runs = block.get("inlines") or [block]
        lines.append("".join(one["text"] for one in runs))
    return "\n".join(lines)


def markdown(card: dict[str, Any]) -> str:
    """What Teams would read as Markdown."""
    return "\n".join(b["text"] for b in card["body"] if b["type"] == "TextBlock")
