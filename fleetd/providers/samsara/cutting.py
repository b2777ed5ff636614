"""Samsara's pages taken apart: the envelope they share, and the records in it as bytes.

Every list answers `{"data": [...], "pagination": {"endCursor", "hasNextPage"}}`
(https://developers.samsara.com/docs/pagination). A page without either is an error and
never an empty list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw, Struct

from fleetd.errors import PayloadError
from fleetd.event import Record
from fleetd.providers.reading import UNREADABLE, recased, short

SAID = 120  # of what the vendor says of itself
ROOM = 256 << 20  # bytes of a page's records together, each with what its parent says


class Pagination(Struct, frozen=True, rename="camel"):
    """Where a walk goes on; the cursor is empty, null or absent at its end."""

    has_next_page: bool
    end_cursor: str | None = None


class Sheet(Struct, frozen=True):
    """A page whose records are not looked into: one bad one spoils only itself."""

    data: list[Raw]
    pagination: Pagination


class Complaint(Struct, frozen=True):
    """An error as Samsara words it."""

    message: str = ""


_sheet = msgspec.json.Decoder(Sheet).decode
_loose = msgspec.json.Decoder(dict[str, Raw]).decode
_items = msgspec.json.Decoder(list[Raw]).decode
_complaint = msgspec.json.Decoder(Complaint).decode


def no_page(body: bytes, bad: Exception) -> PayloadError:
    """What is said of an answer that is not the page asked for."""
    told = complaint(body)
    return PayloadError(f"no page: {told or short(bad)}")


def complaint(body: bytes) -> str:
    """What an error's body says, in one short line, or nothing."""
    try:
        message = _complaint(body).message
    except UNREADABLE:
        return ""
    return "".join(one if one.isprintable() else " " for one in message[:SAID])


def cut_whole(feed: str) -> Cut:
    """Every item of a page is a record."""

    def cut(body: bytes) -> tuple[Sequence[Record], Pagination]:
        page = _envelope(body)
        return [Record(feed, bytes(one)) for one in page.data], page.pagination

    return cut


def _envelope(body: bytes) -> Sheet:
    try:
        return _sheet(body)
    except UNREADABLE as bad:
        raise no_page(body, bad) from bad


class Series:
    """Every item of the list that each item of a page holds under `series` is a record.

    It becomes `{carried..., "<series>": item}`, put together from the bytes as they came.
    `rare` is carried where it is there. A parent that lacks something, or says it in
    another case, is read with more care and its neighbours stand; what is not of that
    shape at all is a record as it is, and its normalizer says why it cannot be read.
    """

    def __init__(
        self, feed: str, series: str, *carried: str, rare: Sequence[str] = ()
    ) -> None:
        keys = (*carried, *rare)
        names = [f"c{n}" for n in range(len(keys))]
        fields: list[tuple[str, Any, Any]] = [(one, Raw, Raw()) for one in names]
        fields.append(("series", list[Raw] | None, None))
        wire = dict(zip((*names, "series"), (*keys, series), strict=True))
        parent: Any = msgspec.defstruct("Parent", fields, rename=wire, frozen=True)
        whole: Any = msgspec.defstruct(
            "Whole", [("data", list[parent]), ("pagination", Pagination)], frozen=True
        )
        self._feed, self._series, self._keys = feed, series, keys
        self._page = msgspec.json.Decoder(whole).decode
        self._labels = [(f'"{one}":'.encode(), one in carried) for one in keys]
        self._many = len(carried)
        self._frame = frame(carried, series)
        self._values = attrgetter(*names, "series")
        self._key = f'"{series}":'.encode()

    def __call__(self, body: bytes) -> tuple[Sequence[Record], Pagination]:
        try:
            page = self._page(body)
        except msgspec.ValidationError:
            return self._carefully(body)
        except UNREADABLE as bad:
            raise no_page(body, bad) from bad
        records, room = list[Record](), ROOM
        for one in page.data:
            values = self._values(one)
            head, whole = self._head(values)
            items = values[-1]
            if items is None or not whole:
                return self._carefully(body)
            room = self._room(room, head, items)
            records += self._parts(head, items)
        return records, page.pagination

    def _room(self, room: int, head: bytes, items: Sequence[Raw]) -> int:
        """What is left of it after these: each of the items says all of the head."""
        room -= len(head) * len(items)
        if room < 0:
            raise PayloadError("no page: its records would be many times as long as it")
        return room

    def _head(self, values: Sequence[Any]) -> tuple[bytes, bool]:
        """What stands before each item, and whether nothing is missing there."""
        many = self._many
        if all(values[:many]) and not any(values[many:-1]):
            pieces = [*self._frame]
            pieces[1:-1:2] = values[:many]
            return b"".join(pieces), True
        head, whole = b"{", True
        for (label, needed), value in zip(self._labels, values, strict=False):
            if value:
                head += label + value + b","
            elif needed:
                whole = False
        return head + self._key, whole

    def _parts(self, head: bytes, items: Iterable[Raw]) -> list[Record]:
        feed = self._feed
        return [Record(feed, head + item + b"}") for item in items]

    def _carefully(self, body: bytes) -> tuple[Sequence[Record], Pagination]:
        page = _envelope(body)
        records, room = list[Record](), ROOM
        for one in page.data:
            try:
                head, items = self._apart(_loose(one))
            except UNREADABLE:
                records.append(Record(self._feed, bytes(one)))
                continue
            room = self._room(room, head, items)
            records += self._parts(head, items)
        return records, page.pagination

    def _apart(self, told: dict[str, Raw]) -> tuple[bytes, Sequence[Raw]]:
        """Head and items of one parent, whatever the case of its keys; one alone is a list."""
        told = {recased(key): value for key, value in told.items()} | told
        values = [*(told.get(key, Raw()) for key in self._keys), None]
        series = bytes(told.get(self._series, b"null"))
        if series == b"null":
            return b"", ()
        items = [Raw(series)] if series[:1] == b"{" else _items(series)
        return self._head(values)[0], items


def frame(carried: Sequence[str], series: str) -> list[bytes]:
    """What stands around the values of the carried keys: `{"id":`, value, `,"gps":`."""
    keys = [f'"{one}":'.encode() for one in (*carried, series)]
    starts = [b"{", *(b"," for _ in carried)]
    labels = [start + key for start, key in zip(starts, keys, strict=True)]
    return [piece for label in labels for piece in (label, b"")][:-1]


Cut: TypeAlias = Callable[[bytes], tuple[Sequence[Record], Pagination]]
