"""What a destination's file may say: how to open it, and how to write one batch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from msgspec import Struct

from fleetd.event import KINDS, Entry
from fleetd.world import World


class Batch(Struct, frozen=True):
    """Entries for one `write`, of one lane and one generation, in order of arrival.

    `key` is the same for every repeat of the same entries: hash(sink, generation, ids).
    `lines` are the entries as printed, where the sink bounds its batches by bytes.
    `digest` is set for a sink that notifies: a text to send in place of entries, which
    are too old to ring for one by one, `urgent` where alarms are among them. `log` names
    the log that counts their seqs. `in_place` is a replay that goes where live events
    went: what is there stays one.
    """

    entries: Sequence[Entry]
    key: str
    generation: int = 0
    lines: Sequence[bytes] = ()
    digest: str = ""
    urgent: bool = False
    log: str = ""
    in_place: bool = False


class Receipt(Struct, frozen=True):
    """What the far side said when it took a batch: for the attempt row and `show`.

    `skipped` are entries that the sink decided not to tell: seq → why, as the ledger
    has it. `left` are those that this request did not carry: they go with the next.
    `cost` is how many requests of the limit it took; 0 where nobody was asked.
    """

    status: int | None = None
    answer: bytes = b""
    skipped: Mapping[int, str] = {}
    left: Collection[int] = ()
    cost: int = 1


Write = Callable[[Batch], Awaitable[Receipt]]


class Sink(Struct, frozen=True):
    """A destination, declared: the last statement of its file.

    `open(config, world, place)` yields `write`, which takes a batch or raises one of
    `TransientError`, `RejectedError`, `HeldError`; `place` is a folder of the sink's
    own below the data folder. `config` holds the keys of its own; those every sink has
    (`kind takes sources vehicles rate batch linger parallel hold max_age start was`)
    are read elsewhere. `batch_bytes` bounds a batch by printed size, 0 does not.
    `notifies` marks what rings at people. `check(config, world)` makes one harmless
    call and says what it saw. `shaped(config)` is the sink as its own keys shape it: how
    it batches and at what pace. `account(config)` names the credential whose budget it
    spends: sinks of a kind that name the same keep to `per_second` together. `fastest` is
    what an operator may raise the rate to, where `per_second` is no limit of the far side.
    """

    config: type[Struct]
    open: Callable[[Any, World, str], AbstractAsyncContextManager[Write]]
    takes: tuple[str, ...] = KINDS[1:]
    batch: int = 500
    batch_bytes: int = 1 << 20
    linger: float = 0.0
    per_second: float = 50.0
    burst: int = 10
    notifies: bool = False
    check: Callable[[Any, World], Awaitable[str]] | None = None
    shaped: Callable[[Any], Sink] | None = None
    account: Callable[[Any], str] | None = None
    fastest: float = 0.0

    @property
    def most(self) -> float:
        """Requests a second that a config may ask for."""
        return max(self.per_second, self.fastest)
