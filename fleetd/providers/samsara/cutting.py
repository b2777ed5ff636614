"""Samsara's pages taken apart: the envelope they share, and the records in it as bytes.

Every list answers `{"data": [...], "pagination": {"endCursor", "hasNextPage"}}`
(https://developers.samsara.com/docs/pagination). A page without either is an error and
never an empty list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw, Struct

from fleetd.errors import PayloadError
from fleetd.event import Record
from fleetd.providers.reading import UNREADABLE, short

SAID = 120  # of what the vendor says of itself


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


def cut_series(feed: str, series: str, *carried: str) -> Cut:
    """Every item of the list that each item holds under `series` is a record.

    It becomes `{carried..., "<series>": item}`, put together from the bytes as they came.
    An item that is not of that shape is a record as it stands: its normalizer says why
    it cannot be read, and its neighbours stand.
    """
    return Series(feed, series, carried)


class Series:
    """The machine for one such list: what stands around the items is read only once."""

    def __init__(self, feed: str, series: str, carried: Sequence[str]) -> None:
        names = [f"c{n}" for n in range(len(carried))]
        fields: list[tuple[str, Any, Any]] = [(one, Raw, Raw()) for one in names]
        fields.append(("series", list[Raw] | None, None))
        wire = dict(zip((*names, "series"), (*carried, series), strict=True))
        parent: Any = msgspec.defstruct("Parent", fields, rename=wire, frozen=True)
        whole: Any = msgspec.defstruct(
            "Whole", [("data", list[parent]), ("pagination", Pagination)], frozen=True
        )
        self._feed = feed
        self._page = msgspec.json.Decoder(whole).decode
        self._one = msgspec.json.Decoder(parent).decode
        self._labels = [(one, f'"{wire[one]}":'.encode()) for one in names]
        self._key = f'"{series}":'.encode()

    def __call__(self, body: bytes) -> tuple[Sequence[Record], Pagination]:
        try:
            page = self._page(body)
        except msgspec.ValidationError:
            return self._one_by_one(body)
        except UNREADABLE as bad:
            raise no_page(body, bad) from bad
        records: list[Record] = []
        for one in page.data:
            records += self._parts(one)
        return records, page.pagination

    def _parts(self, one: Any) -> list[Record]:
        head = b"{"
        for name, label in self._labels:
            if value := bytes(getattr(one, name)):
                head += label + value + b","
        head += self._key
        feed = self._feed
        return [Record(feed, head + item + b"}") for item in one.series or ()]

    def _one_by_one(self, body: bytes) -> tuple[Sequence[Record], Pagination]:
        page = _envelope(body)
        records: list[Record] = []
        for one in page.data:
            try:
                records += self._parts(self._one(one))
            except UNREADABLE:
                records.append(Record(self._feed, bytes(one)))
        return records, page.pagination


Cut: TypeAlias = Callable[[bytes], tuple[Sequence[Record], Pagination]]
