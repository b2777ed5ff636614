"""Far sides at their worst: too busy, unwell, cut off before or after the deed, or lying about it."""

from __future__ import annotations

import json
import random
from abc import abstractmethod
from collections import Counter
from typing import Any

from tests.clouds import posts, slack, teams
from tests.clouds.posts import HANG_UP, Asked, Reply
from tests.clouds.slack import readable

JSON = {"Content-Type": "application/json"}
FAULTS = {
    "busy": Reply(429, b'{"ok":false,"error":"ratelimited"}', {"Retry-After": "0.5"}),
    "unwell": Reply(503, b"come again"),
    "broken": Reply(500, b"oops"),
    "cut": HANG_UP,
    "no": Reply(200, b'{"ok":false,"error":"internal_error"}', JSON),
}
MOODS = ("busy", "unwell", "broken", "cut", "no", "unwell after", "cut after")


class Worst(posts.Cloud):
    """So many of all requests go wrong, some of them when they were taken: `unclear`."""

    no = FAULTS["no"]

    def __init__(self, chance: random.Random, share: float) -> None:
        super().__init__()
        self.share = share
        self.faults: Counter[str] = Counter()
        self._chance = chance

    def calm(self) -> None:
        self.share = 0.0

    @property
    def unclear(self) -> int:
        return sum(n for fault, n in self.faults.items() if fault.endswith(" after"))

    @abstractmethod
    def taken(self) -> int:
        """How much it has taken so far."""

    def answer(self, asked: Asked) -> Reply:
        with self._alone:
            return self._answer(asked)

    def _answer(self, asked: Asked) -> Reply:
        chance = self._chance
        fault = chance.choice(MOODS) if chance.random() < self.share else ""
        kind, _, after = fault.partition(" ")
        before = self.taken()
        if kind and not after:
            self.faults[fault] += 1
            return self.no if kind == "no" else FAULTS[kind]
        self.asked.append(asked)
        reply = self.judge(asked)
        if kind and self.taken() > before:
            self.faults[fault] += 1
            return FAULTS[kind]
        return reply


class Hub(Worst):
    """Takes arrays of events; `got` are the requests that it took, by their key."""

    def __init__(self, chance: random.Random, share: float) -> None:
        super().__init__(chance, share)
        self.got: list[tuple[str, bytes]] = []

    def taken(self) -> int:
        return len(self.got)

    def judge(self, asked: Asked) -> Reply:
        self.got.append((asked.headers["idempotency-key"], asked.body))
        return Reply(200, b'{"ok":true}')

    def events(self) -> list[list[dict[str, Any]]]:
        """What each request brought."""
        return [json.loads(body) for _, body in tuple(self.got)]


class Slack(Worst, slack.Slack):
    """Remembers every message, and what it said before it was edited."""

    def __init__(self, chance: random.Random, share: float) -> None:
        self.told: list[str] = []
        Worst.__init__(self, chance, share)

    def taken(self) -> int:
        return len(self.told)

    def _post(self, body: dict[str, Any]) -> str:
        self.told.append(readable(body))
        return super()._post(body)

    def _edit(self, body: dict[str, Any]) -> Reply:
        edits = self.edits
        reply = super()._edit(body)
        if self.edits > edits:
            self.told.append(readable(body))
        return reply


class Teams(Worst, teams.Teams):
    """A flow in bad moods; what it has no room for it says with a 200."""

    no = Reply(200, b"Webhook message delivery failed with error: HTTP error 429")

    def taken(self) -> int:
        return len(self.cards)

    @property
    def told(self) -> list[str]:
        return self.texts()
