"""What Google answers, as far as it is read; an answer of another shape is not Google's."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct


class Grid(Struct, rename="camel"):
    """How large a tab is."""

    row_count: int = 0
    column_count: int = 0


class Properties(Struct, rename="camel"):
    """A tab, or without a grid a chart; what is 0 may be left out."""

    title: str
    sheet_id: int = 0
    grid_properties: Grid | None = None


class Note(Struct, rename="camel"):
    """A metadatum."""

    metadata_id: int
    metadata_key: str
    metadata_value: str = ""


class Tabbed(Struct, rename="camel"):
    """A tab with what is noted there."""

    properties: Properties
    developer_metadata: list[Note] = []


class Structure(Struct):
    """The tabs of a spreadsheet, which has one at least."""

    sheets: Annotated[list[Tabbed], Meta(min_length=1)]


class Title(Struct):
    """What a spreadsheet is called."""

    title: str


class Named(Struct):
    """A spreadsheet by its title."""

    properties: Title


class Values(Struct):
    """The cells of a range; one without any has no `values`."""

    range: str
    values: list[list[Any]] = []


class Matched(Struct, rename="camel"):
    """A range that was asked for."""

    value_range: Values


class Ranges(Struct, rename="camel"):
    """All that were asked for."""

    value_ranges: list[Matched]


class Updated(Struct, rename="camel"):
    """What says that changes were made."""

    spreadsheet_id: str
