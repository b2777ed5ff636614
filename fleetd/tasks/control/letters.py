"""Dead letters tried again or given up, and bodies that a wrong secret kept out."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from fleetd.errors import PayloadError, SignatureError, UsageError
from fleetd.event import Record, millis
from fleetd.providers.contract import Provider
from fleetd.store import Append, Raw
from fleetd.store import dead as store_dead
from fleetd.store.dead import Again, Doubted, Drop, Forget, Letter
from fleetd.store.jobs import AddJob, seqs_of
from fleetd.store.reading import Reader
from fleetd.tasks.control import pages
from fleetd.tasks.control.order import Order, known
from fleetd.tasks.control.pages import PAGES
from fleetd.tasks.intake import Arrival, dead_whole, take_in
from fleetd.tasks.poll.mend import unpacked
from fleetd.web import Request

if TYPE_CHECKING:
    from fleetd.tasks.board import Board

MOST = 10_000
PAGE = 200
WHOLE = "webhook"  # the feed of a body that could not even be split


async def dead(board: Board, order: Order) -> dict[str, Any]:
    """Retry or drop dead letters: by their numbers, or all of a source or sink."""
    action = known(order.text("action"), ("retry", "drop"), "action")
    if source := order.text("unverified", ""):
        return await readmit_all(board, known(source, board.house.sources, "source"))
    ids = await _meant(board, order)
    more = len(ids) == MOST
    if action == "retry":
        return {**await retry(board, ids), "more": more}
    dropped = await board.store.join(Drop(ids))
    if ids and not dropped:
        raise UsageError("there is no such dead letter; `fleetd dead` lists them")
    return {"dropped": dropped, "of": len(ids), "more": more}


async def _meant(board: Board, order: Order) -> list[int]:
    ids, name = order.numbers("ids"), order.text("name", "")
    if not ids and not name and not order.flag("all"):
        raise UsageError("say which: numbers, the name of a source or sink, or --all")
    if ids:
        return ids[:MOST]
    found = await board.store.reading(
        lambda reader: [one.id for one in store_dead.listed(reader.db, name, 0, MOST)]
    )
    if name and not found:
        raise UsageError(f"{name} has no dead letters")
    return list(found)


async def retry(board: Board, ids: list[int]) -> dict[str, Any]:
    """Records are read again here and now; events go to their sinks as replays."""
    done: Counter[str] = Counter()
    events: dict[str, list[int]] = {}
    still: list[dict[str, Any]] = []
    for number, name, seq in await _places(board, ids):
        if seq is not None:
            events.setdefault(name, []).append(seq)
            continue
        one = await board.store.reading(
            lambda reader, number=number: store_dead.one(reader.db, number)  # type: ignore[misc]
        )
        try:
            await retake(board, one)
            done["taken"] += 1
        except PayloadError as bad:
            done["still_dead"] += 1
            still.append({"id": one.id, "why": str(bad)})
    jobs = [await _send(board, sink, seqs) for sink, seqs in sorted(events.items())]
    return {
        "taken": done["taken"],
        "still_dead": done["still_dead"],
        "still": still[:100],
        "jobs": jobs,
    }


async def _places(board: Board, ids: list[int]) -> list[tuple[int, str, int | None]]:
    """Whose each letter is, and of which event; refused whole before any is retried."""

    def look(reader: Reader) -> list[tuple[int, str, int | None]]:
        letters = (store_dead.one(reader.db, number) for number in ids)
        return [(one.id, one.name, one.seq) for one in letters]

    found = await board.store.reading(look)
    for _, name, seq in found:
        if seq is None:
            _provider(board, name)
        else:
            known(name, board.house.sinks, "sink")
    return found


async def _send(board: Board, sink: str, seqs: list[int]) -> dict[str, Any]:
    """A replay of just these events; what is delivered leaves the dead letters.

    Those that another one is still to send are left to it.
    """
    due = {
        seq: one.id
        for one in board.store.replays(sink)
        for seq in seqs_of(one) or ()
        if seq > one.cursor
    }
    fresh = sorted(set(seqs) - due.keys())
    if not fresh:
        return {"job": due[seqs[0]], "sink": sink, "events": len(set(seqs))}
    seqs = fresh
    add = AddJob(
        "replay", sink, {"seqs": seqs, "why": "dead letters"}, seqs[0] - 1, seqs[-1],
        len(seqs), millis(board.world.now()),
    )  # fmt: skip
    job = await board.store.add_job(add)
    return {"job": job.id, "sink": sink, "events": len(seqs)}


async def retake(board: Board, letter: Letter) -> Append:
    """Read a dead record with the code of today: taken in, or `PayloadError`."""
    try:
        append = _read(board, letter)
    except PayloadError as bad:
        await board.store.join(Again(letter.id, str(bad), millis(board.world.now())))
        raise
    again = replace(
        append, received=append.received - 1, retried=(letter.id, letter.hour)
    )
    await board.store.append(again)
    return again


def _read(board: Board, letter: Letter) -> Append:
    provider = _provider(board, letter.name)
    if letter.feed.startswith(PAGES):
        records, empty = pages.records_of(board, provider, letter), 0
    else:
        records, empty = _split(provider, letter)
    append = take_in(
        _arrival(board, letter.name, provider, board.store.next_received_ms()),
        records,
        board.store.directory,
        raw=Raw(letter.feed, letter.body, verdict=f"dead letter {letter.id}, retried"),
        empty=empty,
    )
    if append.dead and len(append.dead) == len(records):
        raise PayloadError(append.dead[0].why)
    return append


def _split(provider: Provider, letter: Letter) -> tuple[list[Record], int]:
    if letter.feed in provider.normalize or letter.feed != WHOLE:
        return [Record(letter.feed, letter.body)], 0
    if provider.webhook is None:
        raise PayloadError(f"{provider.name} sends no webhooks")
    split = unpacked(provider.webhook, _request({}, letter.body))
    return list(split.records), split.empty


def _provider(board: Board, source: str) -> Provider:
    found = board.providers.get(source)
    if found is None:
        raise UsageError(
            f"{source} is not in {board.house.path}: nobody can read its records"
        )
    return found


def _arrival(board: Board, source: str, provider: Provider, now: int) -> Arrival:
    trusted = board.clock.trusted
    tags = board.house.sources[source].wanted
    return Arrival(source, provider, now, "recovered", trusted_clock=trusted, tags=tags)


def _request(headers: dict[str, str], body: bytes) -> Request:
    return Request("POST", "/", "", headers, body, "")


async def readmit_all(board: Board, source: str) -> dict[str, Any]:
    """Verify every unverified body of a source with the secrets of now."""
    done: Counter[str] = Counter()
    after = 0
    while True:
        page = await board.store.reading(
            lambda reader, after=after: list(  # type: ignore[misc]
                store_dead.unverified(reader.db, source, after, PAGE)
            )
        )
        if not page:
            break
        for one in page:
            after = one.id
            done["taken" if await readmit(board, one) else "still_unverified"] += 1
    return {"source": source, "taken": done["taken"],
            "still_unverified": done["still_unverified"]}  # fmt: skip


async def readmit(board: Board, doubted: Doubted) -> bool:
    """Take a body in if the secrets of now verify it. A crash in between repeats it."""
    provider = _provider(board, doubted.source)
    secrets = board.house.sources[doubted.source].webhook_secret
    if provider.webhook is None or not secrets:
        raise UsageError(f"{doubted.source} has no webhook_secret")
    request = _request(doubted.headers, doubted.body)
    try:
        signed = provider.webhook.verify(request, secrets.reveal())
    except SignatureError:
        return False
    now = board.store.next_received_ms()
    raw = Raw(
        WHOLE, doubted.body, verdict="signed, verified later",
        signed_ms=None if signed is None else millis(signed),
    )  # fmt: skip
    arrival = _arrival(board, doubted.source, provider, now)
    try:
        split = unpacked(provider.webhook, request)
        append = take_in(
            arrival, split.records, board.store.directory, raw=raw, empty=split.empty
        )
    except PayloadError as bad:
        append = dead_whole(arrival, WHOLE, doubted.body, str(bad), raw)
    await board.store.append(append)
    await board.store.join(Forget([doubted.id]))
    return True
