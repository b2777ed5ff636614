"""The forms an export can have, each written as it comes, none of it gathered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import IO, Final, Protocol

from fleetd.cli._export.columns import Page, Picked
from fleetd.cli._export.texts import Csv, GeoJson, NdJson
from fleetd.cli._export.xlsx import Xlsx
from fleetd.errors import ConfigError

EXTRA: Final = "Parquet needs an extra: pip install 'fleetd[parquet]'"
FORMATS: Final = ("csv", "ndjson", "geojson", "parquet", "xlsx")


class Writer(Protocol):
    """Takes events as they are printed, a page at a time."""

    def take(self, pages: Iterable[Page]) -> None: ...


class Form(Protocol):
    """Takes one page, then the next, and ends."""

    def add(self, events: Page) -> None: ...

    def end(self) -> None: ...


class Stepwise:
    """The writer of a form that takes its pages one by one."""

    def __init__(self, form: Form) -> None:
        self._form = form

    def take(self, pages: Iterable[Page]) -> None:
        for page in pages:
            self._form.add(page)
        self._form.end()


TEXTS: Final[Mapping[str, Callable[[IO[bytes], Picked], Form]]] = {
    "csv": Csv, "ndjson": NdJson, "geojson": GeoJson,
}  # fmt: skip


def open_writer(form: str, file: IO[bytes], picked: Picked) -> Writer:
    """The writer of a form."""
    if form == "parquet":
        try:
            from fleetd.cli._export.columnar import Parquet
        except ImportError as bad:
            raise ConfigError(EXTRA) from bad
        return Parquet(file, picked)
    if form == "xlsx":
        return Xlsx(file, picked)
    return Stepwise(TEXTS[form](file, picked))
