"""Google Sheets, read: the rows of a tab as vehicles or drivers, beside a sink or alone.

People keep the list, fleetd reads it whole every quarter of an hour. In a tab that a sink
keeps (`mode = "upsert"`) a record tells what people wrote there: cells that still hold
what fleetd wrote are no news, and what is read here does not go back there. A row that is
gone is taken for removed by whole listings alone, as every vendor's is.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Literal

from msgspec import Struct

from fleetd.config.units import Seconds
from fleetd.errors import ConfigError
from fleetd.google import SHEETS, Spreadsheet, column_of, origin_of
from fleetd.providers.contract import Ask, Feed, Limits, Probe, Provider
from fleetd.providers.sheets.headers import FIELDS, Columns, Kind, Wanted
from fleetd.providers.sheets.rows import driver, vehicle
from fleetd.providers.sheets.session import SESSION, good_token, whose
from fleetd.providers.sheets.walk import Walk

QUARTER = 900.0  # seconds
NORMALIZE = {"vehicles": vehicle, "drivers": driver}
CELLS = re.compile(r"([A-Za-z]{0,3})([0-9]{0,7}):([A-Za-z]{0,3})([0-9]{0,7})")
LONGEST_TITLE = 100
SHORTEST = 1.0
NOWHERE = Spreadsheet("0" * 44)


class Cells(str):
    """A part of a tab, as `B3:H`."""

    __slots__ = ()
    word: ClassVar[str] = "cells, as B3:H"

    @classmethod
    def read(cls, value: object, _base: Path) -> Cells:
        found = CELLS.fullmatch(value.strip()) if isinstance(value, str) else None
        if found is None or not any(found.groups()):
            raise ValueError('takes columns or cells of the tab: "A:H", "B3:H200"')
        made = cls(found[0].upper())
        top, left, bottom, right = made.edges
        if top >= (bottom or top + 1) or left >= (right or left + 1):
            raise ValueError(f"{made} ends before it begins")
        return made

    @property
    def edges(self) -> tuple[int, int, int | None, int | None]:
        """Top, left, bottom and right, from 0, half-open; None for the end of the tab."""
        found = CELLS.fullmatch(self)
        if found is None:
            return 0, 0, None, None
        right = column_of(found[3]) + 1 if found[3] else None
        bottom = int(found[4]) if found[4] else None
        return max(int(found[2] or 1) - 1, 0), column_of(found[1]), bottom, right


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of `[sources.x]` that only a sheet has; `token` is the account's key file."""

    docs: ClassVar[dict[str, str]] = {
        "spreadsheet": "which one: its address from the browser, or the id in it; `token`"
        " is the JSON key of a service account that it is shared with",
        "tab": "the tab that is read; one that a sink keeps by the name it has there",
        "range": "only these cells of it, the header among them",
        "kind": "what its rows are",
        "columns": "which fields stand under which headers: a list, or"
        ' `{ Truck = "number" }`',
        "key": "the headers whose cells tell one row from another, where no column is `id`",
        "every": "how often it is read",
    }
    spreadsheet: Spreadsheet
    tab: str = "fleetd"
    range: Cells = Cells("")
    kind: Literal["vehicle", "driver"] = "vehicle"
    columns: Columns = Columns()
    key: tuple[str, ...] = ()
    every: Seconds = Seconds(QUARTER)


def configured(settings: Settings | None) -> Provider:
    """Sheets as one source's own keys shape it: which cells, and what they hold."""
    settings = settings or Settings(NOWHERE)
    _judge(settings)
    walk = walk_of(settings)
    listing = Feed(
        walk.feed, float(settings.every), walk.ask, walk.unpack,
        kinds=(settings.kind,), listing=settings.kind, begins=None,
    )  # fmt: skip
    about = Ask(
        f"/v4/spreadsheets/{settings.spreadsheet}",
        params={"fields": "spreadsheetId,properties(title)"},
    )
    return Provider(
        name="sheets",
        title="Google Sheets",
        base_url=SHEETS,
        normalize=NORMALIZE,
        feeds=(listing,),
        session=SESSION,
        limits=Limits(per_second=1.0),  # 60 a minute
        whoami=Probe(about, whose),
        settings=Settings,
        configured=configured,
        good_token=good_token,
        flags=(origin_of(settings.spreadsheet, settings.tab),),
    )


def walk_of(settings: Settings) -> Walk:
    top, left, bottom, right = settings.range.edges
    kind: Kind = settings.kind
    columns = {
        header: canonical(kind, field) for header, field in settings.columns.items()
    }
    wanted = Wanted(settings.tab, kind, columns, settings.key, left, right)
    return Walk(settings.spreadsheet, wanted, f"{kind}s", top, bottom)


def canonical(kind: Kind, field: str) -> str:
    """The field that is meant, also by another name that a sink has for it."""
    for name, others in FIELDS[kind].items():
        if field == name or field in others:
            return name
    return field


def _judge(settings: Settings) -> None:
    if not 0 < len(settings.tab.strip()) <= LONGEST_TITLE:
        raise ConfigError(f"tab: a title of 1 to {LONGEST_TITLE} characters")
    if settings.every < SHORTEST:
        raise ConfigError(f'every: takes at least "{SHORTEST:g}s"')
    kind, fields = settings.kind, list(settings.columns.values())
    meant = [canonical(kind, one) for one in fields]
    for field, name in zip(fields, meant, strict=True):
        if name not in FIELDS[kind]:
            raise ConfigError(f"columns: a {kind} has no {field!r}")
        if meant.count(name) > 1:
            raise ConfigError(f"columns: two of them are {name!r}")
    if fields and "id" not in meant and not settings.key:
        raise ConfigError("columns: none is `id`; say which, or set `key`")
    if len(set(settings.key)) != len(settings.key):
        raise ConfigError("key: names a header twice")


PROVIDER = configured(None)
