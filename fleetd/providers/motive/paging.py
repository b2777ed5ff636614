"""Motive's pages: lists wrapped twice, numbered pages, and a total to check them by.

Paging is by offset (https://developer.gomotive.com/docs/pagination), so a record that
comes or goes meanwhile shifts the others from page to page: one is read twice, another
not at all. Distinct ids are therefore counted over a walk, and a walk that does not end
with as many as the vendor's `total` is read again.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from fleetd.errors import PayloadError
from fleetd.providers.contract import Ask
from fleetd.providers.reading import UNREADABLE, count, ident, loads, short, words

PER_PAGE = 100  # the most Motive gives
PRINT = 6  # bytes by which an id is remembered
MOST_SEEN = 20_000  # ids; a longer walk counts no further and is never complete
SAID = 120  # of what an error says

_page = msgspec.json.Decoder(dict[str, Raw]).decode
_items = msgspec.json.Decoder(list[Raw]).decode
_wrapped = msgspec.json.Decoder(dict[str, Raw]).decode
_any = msgspec.json.Decoder().decode


class Sheet(Struct, frozen=True):
    """One page: its records as they came, and what it says of the whole list."""

    items: Sequence[bytes]
    number: int | None
    per_page: int | None
    total: int | None


def sheet(body: bytes, plural: str, singular: str) -> Sheet:
    """A 200 as a page; anything else than a list under `plural` is a `PayloadError`.

    One record of another shape stays as it is: its normalizer complains of it alone.
    """
    page = _object(body, plural)
    try:
        found = _items(page[plural])
    except UNREADABLE as bad:
        raise PayloadError(f"{plural} is no list") from bad
    counts = _counts(page)
    items = [unwrapped(bytes(one), singular) for one in found]
    return Sheet(
        items, *(count(counts, one) for one in ("page_no", "per_page", "total"))
    )


def _object(body: bytes, plural: str) -> dict[str, Raw]:
    try:
        page = _page(body)
    except msgspec.ValidationError as bad:
        raise PayloadError("not a JSON object") from bad
    except UNREADABLE as bad:
        raise PayloadError(f"not JSON: {short(bad)}") from bad
    if plural not in page:
        raise PayloadError(f"no {plural} in it{complaint(body)}")
    return page


def unwrapped(item: bytes, singular: str) -> bytes:
    """`{"vehicle": {…}}` without its wrapper."""
    try:
        inner = bytes(_wrapped(item).get(singular, b""))
    except UNREADABLE:
        return item
    return inner if inner[:1] == b"{" else item


def _counts(page: dict[str, Raw]) -> dict[str, object]:
    """`pagination`, or the same counters at top level, as older endpoints have them."""
    raw = page.get("pagination")
    found = _any(raw) if raw is not None else None
    if isinstance(found, dict):
        return found
    return {
        name: _any(page[name])
        for name in ("page_no", "per_page", "total")
        if name in page
    }


def complaint(body: bytes) -> str:
    """What an answer says went wrong (`error_message`), as the end of a sentence."""
    try:
        found = _any(body)
    except UNREADABLE:
        return ""
    if not isinstance(found, dict):
        return ""
    said = ident(found.get("error_message")) or ident(found.get("error"))
    return f": {' '.join(said.split())[:SAID]}" if said else ""


class Walk(Struct, frozen=True, array_like=True):
    """Where a walk through pages stands; its text is the bookmark between two of them.

    `total` is what every page so far said, None once they differ or a record has no id;
    `seen` are the prints of all ids.
    """

    page: int = 1
    tries: int = 0
    total: int | None = None
    seen: str = ""


_walk = msgspec.json.Decoder(Walk).decode


def walk_of(token: str | None) -> Walk:
    """The walk that a token speaks of; a new one where it cannot be read."""
    if token is None:
        return Walk()
    try:
        found = _walk(token)
    except msgspec.MsgspecError:
        return Walk()
    return found if found.page > 0 else Walk()


def token_of(walk: Walk) -> str:
    """A walk as the bookmark between two pages."""
    return msgspec.json.encode(walk).decode()


def paged(path: str, walk: Walk, params: dict[str, str]) -> Ask:
    """The request for the page at which a walk stands."""
    pages = {"per_page": str(PER_PAGE), "page_no": str(walk.page)}
    return Ask(path, params=params | pages)


class Went(Struct, frozen=True):
    """A walk after a page: where it goes on, None where it is over.

    It is `sound` where all of the list was seen: as many ids as every page promised.
    """

    onward: Walk | None
    sound: bool = False


def went(walk: Walk, page: Sheet, tries: int) -> Went:
    """Read on, read again from the first page, or the end; `tries` walks at most.

    Every word of the vendor about its own list has to agree: another page than the one
    asked for, or none where its total promises more, is a `PayloadError`.
    """
    if page.number is not None and page.number != walk.page:
        raise PayloadError(f"page {page.number} where page {walk.page} was asked for")
    size = page.per_page or PER_PAGE
    before, ids = _prints(walk.seen), [id_of(one) for one in page.items]
    prints = before | set(map(print_of, ids, page.items))
    full = len(before) >= MOST_SEEN
    onward = _next(walk, page, before if full else prints, whole=all(ids))
    if page.total is None:
        over = full or len(page.items) < size or len(prints) == len(before)
        return Went(None if over else onward)
    if walk.page * size < page.total:
        if not page.items:
            raise PayloadError(f"page {walk.page} is empty, {page.total} were promised")
        return Went(onward)
    if len(prints) >= page.total or walk.tries + 1 >= tries or full:
        return Went(None, len(prints) == page.total == onward.total)
    return Went(Walk(tries=walk.tries + 1))


def _next(walk: Walk, page: Sheet, prints: set[bytes], *, whole: bool) -> Walk:
    steady = walk.page == 1 or page.total == walk.total
    total = page.total if steady and whole else None
    seen = base64.b64encode(b"".join(sorted(prints))).decode()
    return Walk(walk.page + 1, walk.tries, total, seen)


def _prints(seen: str) -> set[bytes]:
    packed = base64.b64decode(seen)
    return {packed[at : at + PRINT] for at in range(0, len(packed), PRINT)}


class Named(Struct, frozen=True):
    """As much of a record as tells it from others."""

    id: int | str | None = None


_named = msgspec.json.Decoder(Named).decode


def print_of(named: str | None, item: bytes) -> bytes:
    """What a record is remembered by: its id, or all of it where it has none."""
    told = item if named is None else named.encode()
    return hashlib.blake2b(told, digest_size=PRINT).digest()


def id_of(item: bytes) -> str | None:
    """The id of a record, in whatever form."""
    try:
        found = _named(item).id
    except UNREADABLE:
        found = None
    if found is not None:
        return str(found)
    try:
        return words(loads(item), "id")
    except PayloadError:
        return None
