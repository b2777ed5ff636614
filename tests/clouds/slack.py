"""Slack: incoming webhooks and three methods of its API, with its limits, words and moods."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.clouds.posts import Asked, Cloud, Reply

HOOK = "/services/T0FLEET/B0HOOK/verysecretwebhookpath1"
TOKEN = "xoxb-1234567890-verysecretbottoken"
CHANNEL = "C0FLEET01"
MENTION = re.compile(r"<(!|@|#)[^>]*>")
LINK = re.compile(r"<(https?:[^>|]*)(\|[^>]*)?>")
MOST_BLOCKS, HEADER, SECTION, WHOLE = 50, 150, 3000, 10_000
BURST, PER_SECOND = 4.0, 1.0


class Slack(Cloud):
    """One workspace, one channel, one webhook, one bot.

    `posts` are the messages in order, each `{ts, text, blocks, ...}`, edited in place;
    `error` is what every call of the API says instead, `hook_gone` what the webhook does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.posts: list[dict[str, Any]] = []
        self.edits = 0
        self.token, self.error, self.hook_gone = TOKEN, "", ""
        self.likes_blocks = True
        self.breaches = 0
        self._tokens, self._at = BURST, 0.0

    # what it holds

    def texts(self) -> list[str]:
        """Each message as people read it."""
        return [readable(one) for one in self.posts]

    def mentions(self) -> list[str]:
        """What would ring at somebody by name, or at everybody."""
        return [one[0] for post in self.posts for one in MENTION.finditer(markup(post))]

    # what it says

    def judge(self, asked: Asked) -> Reply:
        if asked.path.startswith("/services/"):
            return self._hook(asked)
        return self._api(asked)

    def _hook(self, asked: Asked) -> Reply:
        if self.hook_gone:
            status = 404 if self.hook_gone.startswith("no_") else 403
            return Reply(status, self.hook_gone.encode())
        if asked.path != HOOK:
            return Reply(404, b"no_service")
        if (busy := self._busy()) is not None:
            return busy
        try:
            body = json.loads(asked.body)
        except ValueError:
            return Reply(400, b"invalid_payload")
        if why := self._wrong(body):
            return Reply(400, why.encode())
        self._post(body)
        return Reply(200, b"ok")

    def _api(self, asked: Asked) -> Reply:  # noqa: PLR0911  as it asks, one by one
        method = asked.path.removeprefix("/api/")
        if asked.headers.get("authorization") != f"Bearer {self.token}":
            return said(ok=False, error="invalid_auth")
        if self.error:
            return said(ok=False, error=self.error)
        if method == "auth.test":
            return said(ok=True, team="Acme Haul", user="fleetd")
        if method == "chat.postMessage" and (busy := self._busy()) is not None:
            return busy
        body = json.loads(asked.body)
        if body.get("channel") not in {CHANNEL, "#ops"}:
            return said(ok=False, error="channel_not_found")
        if why := self._wrong(body):
            return said(ok=False, error=why)
        if method == "chat.postMessage":
            ts = self._post(body)
            return said(ok=True, channel=CHANNEL, ts=ts, message={"text": body["text"]})
        return self._edit(body)

    def _edit(self, body: dict[str, Any]) -> Reply:
        if body["channel"] != CHANNEL:
            return said(ok=False, error="channel_not_found")  # no names here
        found = next((one for one in self.posts if one["ts"] == body["ts"]), None)
        if found is None:
            return said(ok=False, error="message_not_found")
        found.update(body)
        self.edits += 1
        return said(ok=True, channel=CHANNEL, ts=found["ts"])

    def _post(self, body: dict[str, Any]) -> str:
        ts = f"1795183402.{len(self.posts):06d}"
        self.posts.append({**body, "ts": ts})
        return ts

    def _wrong(self, body: dict[str, Any]) -> str:
        blocks = body.get("blocks", [])
        if not body.get("text") and not blocks:
            return "no_text"
        if len(body.get("text", "")) > 40_000:
            return "msg_too_long"
        if blocks and not self.likes_blocks:
            return "invalid_blocks"
        if len(blocks) > MOST_BLOCKS or any(not fits(one) for one in blocks):
            return "invalid_blocks"
        if len(markup({"blocks": blocks})) > WHOLE:
            return "msg_blocks_too_long"
        return ""

    def _busy(self) -> Reply | None:
        """One message a second, and a few more in a row."""
        if self.now is None:
            return None
        now = self.now()
        self._tokens = min(BURST, self._tokens + (now - self._at) * PER_SECOND)
        self._at = now
        if self._tokens < 1:
            self.breaches += 1
            return ratelimited(1)
        self._tokens -= 1
        return None


def said(**told: Any) -> Reply:
    return Reply(200, json.dumps(told).encode(), {"Content-Type": "application/json"})


def ratelimited(seconds: int) -> Reply:
    body = b'{"ok":false,"error":"ratelimited"}'
    return Reply(429, body, {"Retry-After": str(seconds)})


def fits(block: dict[str, Any]) -> bool:
    kind = block.get("type")
    if kind == "header":
        text = block["text"]
        return text["type"] == "plain_text" and 0 < len(text["text"]) <= HEADER
    if kind == "section":
        return 0 < len(block["text"]["text"]) <= SECTION
    if kind == "context":
        return len(block["elements"]) <= 10
    return False


def markup(post: dict[str, Any]) -> str:
    """All that Slack would look for mentions and links in."""
    found = [post.get("text", "")]
    for block in post.get("blocks", []):
        texts = [block["text"]] if "text" in block else block["elements"]
        found += [one["text"] for one in texts]
    return "\n".join(found)


def readable(post: dict[str, Any]) -> str:
    """As it is shown."""
    text = markup({"blocks": post["blocks"]}) if post.get("blocks") else post["text"]
    text = LINK.sub(lambda one: one[1], text).replace("*", "")
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").strip()
