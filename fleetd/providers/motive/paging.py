"""Motive's pages: lists wrapped twice, numbered pages, and a total to check them by.

Paging is by offset (https://developer.gomotive.com/docs/pagination), so a record that
comes or goes meanwhile shifts the others from page to page: one is read twice, another
not at all. Distinct ids are therefore counted over a walk, and a walk that does not end
with as many as the vendor's `total` is read again. Lists that prove who is gone remember
all of their ids for that; windows, which are read again anyhow, those of two pages.
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
MOST_SEEN = 20_000  # ids that a walk remembers; a longer one is never complete
FEW_SEEN = 2 * PER_PAGE
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

    `count` is of distinct ids so far, `seen` the prints of the latest, `least` the
    smallest total that a page said; `steady` while all said the same and had ids.
    """

    page: int = 1
    tries: int = 0
    count: int = 0
    least: int | None = None
    steady: bool = True
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


def went(walk: Walk, page: Sheet, tries: int, keep: int = FEW_SEEN) -> Went:
    """Read on, read again from the first page, or the end; `tries` walks at most.

    Every word of the vendor about its own list has to agree: another page than the one
    asked for, or none where its total promises more, is a `PayloadError`. `keep` is how
    many ids are remembered.
    """
    if page.number is not None and page.number != walk.page:
        raise PayloadError(f"page {page.number} where page {walk.page} was asked for")
    size = page.per_page or len(page.items) or PER_PAGE  # it may be less than asked for
    total, known = page.total, _unpacked(walk.seen)
    onward = _onward(walk, page, known, keep)
    if total is None:
        over = len(page.items) < size or onward.count == walk.count
        return Went(None if over else onward)
    if walk.page * size < total:
        if not page.items:
            raise PayloadError(f"page {walk.page} is empty, {total} were promised")
        return Went(onward)
    if onward.count >= (onward.least or 0) or walk.tries + 1 >= tries:
        return Went(None, onward.steady and onward.count == total <= keep)
    return Went(Walk(tries=walk.tries + 1))


def _onward(walk: Walk, page: Sheet, known: list[bytes], keep: int) -> Walk:
    ids = [id_of(one) for one in page.items]
    before, total = set(known), page.total
    prints = dict.fromkeys(map(print_of, ids, page.items))
    fresh = [one for one in prints if one not in before]
    least = total if walk.least is None or total is None else min(walk.least, total)
    same = walk.page == 1 or total == walk.least
    seen = base64.b64encode(b"".join((known + fresh)[-keep:])).decode()
    return Walk(
        walk.page + 1, walk.tries, walk.count + len(fresh), least,
        walk.steady and same and all(ids), seen,
    )  # fmt: skip


def _unpacked(seen: str) -> list[bytes]:
    packed = base64.b64decode(seen)
    return [packed[at : at + PRINT] for at in range(0, len(packed), PRINT)]


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
