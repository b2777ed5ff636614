"""What is handed to the log and what it hands back: data, nothing that acts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from fleetd.event import AnyEvent, Entry, Origin


class Raw(Struct, frozen=True):
    """A request or page as it came: one row, however many events it held.

    `packed` says that the body is zlib already: a big one is packed off the loop.
    """

    feed: str
    body: bytes
    headers: str = "{}"
    verdict: str = ""
    signed_ms: int | None = None
    packed: bool = False


class Made(Struct, frozen=True, gc=False):
    """An event on its way into the log.

    `key` is empty where the event is known to be a repeat (an unchanged directory
    record). `own` are the columns the vendor filled, `filled` those and the directory's.
    `recovered` says that it should have been pushed, and nobody was there to hear it;
    `nobody` that it tells of a vehicle without a driver.
    """

    key: bytes
    event: AnyEvent
    body: bytes
    kind: int
    lane: int
    at_ms: int | None
    own: int
    filled: int
    revision: int | None
    part: int
    content: str = ""
    recovered: bool = False
    nobody: bool = False


class Aside(Struct, frozen=True, gc=False):
    """An event counted out on purpose."""

    why: str
    kind: int
    event: str
    vehicle: str
    part: int


class DeadRecord(Struct, frozen=True):
    """A record that could not be read, with its bytes (secrets masked)."""

    feed: str
    digest: bytes
    why: str
    body: bytes


class Fact(Struct, frozen=True, gc=False):
    """One thing known of a vehicle from a moment on; `value` None says "nobody"."""

    vehicle: str
    name: str
    at_ms: int
    value: str | None


class Append(Struct, frozen=True):
    """One request or page: its records' events, and what became of the rest.

    `received` counts the records where the body was split, `normalized` and `empty`
    where each was read. `bookmark` is (feed, value), committed with the events.
    """

    source: str
    received_ms: int
    origin: Origin
    raw: Raw | None = None
    made: Sequence[Made] = ()
    filtered: Sequence[Aside] = ()
    dead: Sequence[DeadRecord] = ()
    facts: Sequence[Fact] = ()
    received: int = 0
    normalized: int = 0
    empty: int = 0
    bookmark: tuple[str, str | None] | None = None
    retried: tuple[int, int] | None = None  # (dead letter, its hour) taken in again
    ours: bool = False  # said by fleetd itself: nothing was heard of the source


class Counts(Struct, frozen=True):
    """What became of one append: the body of the 200."""

    stored: int = 0
    duplicate: int = 0
    filtered: int = 0
    dead: int = 0


class Read(Struct, frozen=True):
    """A stretch of the log as one sink's lane, or one replay job, sees it.

    `upto` is where the cursor stands once every entry is decided: it may lie beyond the
    last entry, over what the sink does not take. `size` is what they take in the log.
    """

    sink: str
    lane: int
    job: int
    after: int
    upto: int
    entries: tuple[Entry, ...]
    damaged: tuple[int, ...] = ()
    size: int = 0


class Rules(Struct, frozen=True):
    """What the log may hold and for how long; seconds and bytes, None is the law's own."""

    max_disk: int | None = None
    keep: float = 30 * 86400.0
    keep_kinds: Mapping[str, float] = {}
    keep_raw: float = 7 * 86400.0
    dedupe_window: float = 7 * 86400.0
    keep_ledger: float = 400 * 86400.0


class Attempt(Struct, frozen=True):
    """One request to a far side and what it said: `taken`, `later`, `never` or `held`."""

    sink: str
    job: int
    lane: int
    first: int
    last: int
    count: int
    verdict: str
    status: int | None
    ms: int
    at_ms: int
    key: str
    answer: bytes = b""


class Burial(Struct, frozen=True):
    """An entry that its sink will never take, and the proof."""

    entry: Entry
    reason: str
    status: int | None = None
    answer: bytes = b""


class Job(Struct, frozen=True):
    """Bounded work that survives a restart."""

    id: int
    kind: str
    target: str
    spec: Mapping[str, object]
    state: str
    why: str
    cursor: int
    upto: int
    done: int
    total: int
    created_ms: int
    changed_ms: int

    @property
    def rate(self) -> float | None:
        """Requests a second that the operator asked for, if any."""
        found = self.spec.get("rate")
        return float(found) if isinstance(found, (int, float)) else None
