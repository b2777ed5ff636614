"""CSV that no spreadsheet takes for formulas, NDJSON, and GeoJSON."""

from __future__ import annotations

import csv
import io
from typing import IO, Any, Final

import msgspec

from fleetd.cli._export.columns import Page, Picked, value_of

WIDE: Final = ("\uff1d", "\uff0b", "\uff0d", "\uff20")  # formulas too, in Japan
ACTIVE: Final = ("=", "+", "-", "@", "\t", "\r", "\n", *WIDE)
PLACE: Final = ("latitude", "longitude")
_json = msgspec.json.Encoder()


class Csv:
    """Comma separated, UTF-8, one line of heads; empty is null."""

    def __init__(self, file: IO[bytes], picked: Picked) -> None:
        self._text = io.TextIOWrapper(file, "utf-8", newline="", write_through=False)
        self._rows = csv.writer(self._text)
        self._picked = picked
        self._rows.writerow(picked.columns)

    def add(self, events: Page) -> None:
        row = self._picked.row
        self._rows.writerows([cell(one) for one in row(event)] for event in events)

    def end(self) -> None:
        self._text.flush()
        self._text.detach()  # the file is not ours to close


def cell(value: Any) -> Any:
    """A value as a spreadsheet may see it: text that would be a formula is only text."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(ACTIVE) else value
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


class NdJson:
    """One object a line: the event as it is printed, or the columns that were named."""

    def __init__(self, file: IO[bytes], picked: Picked) -> None:
        self._file, self._picked = file, picked

    def add(self, events: Page) -> None:
        picked = self._picked
        for event in events:
            told: Any = event
            if picked.named:
                told = dict(zip(picked.columns, picked.row(event), strict=True))
            self._file.write(_json.encode(told) + b"\n")

    def end(self) -> None:
        """Every line is whole already."""


class GeoJson:
    """A collection of features: points, or nowhere for an event that names no place."""

    def __init__(self, file: IO[bytes], picked: Picked) -> None:
        self._file, self._picked = file, picked
        self._names = [one for one in picked.columns if one not in PLACE]
        self._first = True
        file.write(b'{"type":"FeatureCollection","features":[')

    def add(self, events: Page) -> None:
        for event in events:
            self._file.write(b"\n" if self._first else b",\n")
            self._file.write(_json.encode(self._feature(event)))
            self._first = False

    def _feature(self, event: dict[str, Any]) -> dict[str, Any]:
        latitude, longitude = (event["data"].get(name) for name in PLACE)
        point = None
        if latitude is not None and longitude is not None:
            point = {"type": "Point", "coordinates": [longitude, latitude]}
        told = {name: value_of(event, name) for name in self._names}
        return {"type": "Feature", "geometry": point, "properties": told}

    def end(self) -> None:
        self._file.write(b"\n]}\n")
