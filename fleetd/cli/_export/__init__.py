"""The forms an export can have, each written as it comes, none of it gathered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, Any, Final, Protocol

from fleetd.cli._export.columns import Page, Picked
from fleetd.cli._export.texts import Csv, GeoJson, NdJson
from fleetd.cli._export.xlsx import Xlsx
from fleetd.errors import ConfigError

EXTRA: Final = "Parquet needs an extra: pip install 'fleetd[parquet]'"
FORMATS: Final = ("csv", "ndjson", "geojson", "parquet", "xlsx")


class Writer(Protocol):
    """Takes events as they are printed, a page at a time."""

    def take(self, pages: Iterable[Page]) -> None: ...


def open_writer(form: str, file: IO[bytes], picked: Picked) -> Writer:
    """The writer of a form."""
    if form == "parquet":
        try:
            from fleetd.cli._export.columnar import Parquet
        except ImportError as bad:
            raise ConfigError(EXTRA) from bad
        return Parquet(file, picked)
    forms: dict[str, Any] = {
        "csv": Csv, "ndjson": NdJson, "geojson": GeoJson, "xlsx": Xlsx,
    }  # fmt: skip
    writer: Writer = forms[form](file, picked)
    return writer
