"""A message as Slack's blocks: within its limits, and nothing from data a mention."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from fleetd.sinks.wording import Message

HEADER, SECTION, CONTEXT = 150, 2900, 600  # characters; Slack takes 150, 3000, 3000
WHOLE = 9000  # of a message: beyond some 10 000 Slack says msg_blocks_too_long
TEXT = 3500
MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def body_of(message: Message, *, plain: bool) -> dict[str, Any]:
    """The message as blocks, with its text for the notification; or as text alone."""
    body: dict[str, Any] = {
        "text": text_of(message, TEXT if plain else HEADER * 3),
        "unfurl_links": False,  # what vendors link to is theirs to fetch, not Slack's
        "unfurl_media": False,
    }
    return body if plain else {**body, "blocks": list(blocks(message))}


def blocks(message: Message) -> list[dict[str, Any]]:
    """Header, rows, foot: far below 50 blocks, each and all within their limits."""
    found: list[dict[str, Any]] = []
    if message.said:
        found.append(section(filled(message, SECTION)))
    else:
        text = {"type": "plain_text", "text": escaped(message.title, HEADER)}
        found.append({"type": "header", "text": {**text, "emoji": False}})
    room, lines = WHOLE - SECTION - CONTEXT - TEXT // 4, ""
    for row in message.rows:
        name = escaped(row.name.replace("*", "∗"), SECTION // 4)  # noqa: RUF001
        line = f"*{name}*  {escaped(row.text, SECTION // 2)}\n"
        room -= len(line)
        if room < 0:
            lines += "…\n"
            break
        if len(lines) + len(line) > SECTION:
            found.append(section(lines))
            lines = ""
        lines += line
    if lines:
        found.append(section(lines))
    if foot := foot_of(message):
        found.append({"type": "context", "elements": [mrkdwn(foot)]})
    return found


def section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": mrkdwn(text.rstrip() or "…")}


def mrkdwn(text: str) -> dict[str, Any]:
    """`verbatim`: nothing in it becomes a link or a mention by itself."""
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def foot_of(message: Message) -> str:
    foot = escaped(message.foot, CONTEXT // 2)
    if not message.url:
        return foot
    link = message.url.translate(MARKUP).replace("|", "%7C")
    host = urlsplit(message.url).hostname or "open"
    return f"{foot} · <{link}|{escaped(host, 100)}>" if len(link) < 1800 else foot


def text_of(message: Message, most: int) -> str:
    if message.said:
        return filled(message, most)
    return escaped(message.plain, most)


def filled(message: Message, most: int) -> str:
    """A template's own words as they are, and what was filled in escaped."""
    text = ""
    for piece, own in message.said:
        text += piece[: most - len(text)] if own else escaped(piece, most - len(text))
    return text


def escaped(text: str, most: int) -> str:
    """As Slack wants what is no markup, cut so that no escape is cut in two."""
    whole = text.translate(MARKUP)
    if len(whole) <= most:
        return whole
    left, found = most - 1, ""
    for letter in text:
        form = letter.translate(MARKUP)
        left -= len(form)
        if left < 0:
            break
        found += form
    return found + "…" if most > 0 else ""
