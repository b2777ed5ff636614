"""The keys of `[sinks.NAME]` with `kind = "sheets"`."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from msgspec import Struct

from fleetd.config.units import BaseUrl, Seconds
from fleetd.google import SHEETS, Spreadsheet
from fleetd.secrets import Secret
from fleetd.sinks.sheets.columns import POSITION, Columns
from fleetd.when import Zone

GOOGLE = BaseUrl(SHEETS)
TITLE = re.compile(r"[^\x00-\x1f\x7f\[\]*?:/\\]{1,80}")
KEY = ("provider", "provider_vehicle_id")
CELLS_A_CALL = 30_000
__all__ = ["GOOGLE", "Config", "Spreadsheet"]


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """How a tab is kept."""

    docs: ClassVar[dict[str, str]] = {
        "spreadsheet": "which one: its address from the browser, or the id in it",
        "account": "the JSON key of a service account; share the sheet with its address",
        "tab": "the tab that fleetd keeps; it makes it",
        "mode": "`append`: a log, a row for each event; `upsert`: one row a key, kept current",
        "columns": 'which fields, under which headers: a list, or `{ Truck = "fleet_number" }`',
        "key": "the fields that tell one row of an `upsert` from another",
        "every": "how often an `upsert` is brought up to date",
        "conflict": "where a person changed a cell of fleetd's: write over it, leave it, or set"
        " the event aside as a dead letter",
        "adopt": "go on in a tab that holds rows already, or was another fleetd's",
        "monthly": "an `append` begins a tab each month: `TAB 2026-11`",
        "audit": "a tab that tells of each write, and of what people changed",
        "zone": "the timezone of the times written",
        "base_url": "where the Sheets API is",
    }
    spreadsheet: Spreadsheet
    account: Secret
    tab: str = "fleetd"
    mode: Literal["append", "upsert"] = "append"
    columns: Columns = POSITION
    key: tuple[str, ...] = KEY
    every: Seconds = Seconds(60)
    conflict: Literal["update", "skip", "error"] = "update"
    adopt: bool = False
    monthly: bool = False
    audit: str = ""
    zone: Zone = Zone("UTC")
    base_url: BaseUrl = GOOGLE

    def __post_init__(self) -> None:
        for name in ("tab", "audit"):
            title = getattr(self, name)
            if (title or name == "tab") and not TITLE.fullmatch(title):
                raise ValueError(
                    f"{name}: a title of 1 to 80 letters, without []*?:/\\"
                )
        if self.audit and self.audit.lower() == self.tab.lower():
            raise ValueError("audit: takes a tab of its own")
        if self.mode == "upsert":
            self._judge_upsert()
        for name in (
            ("key", "every", "conflict") if self.mode == "append" else ("monthly",)
        ):
            if getattr(self, name) != _default(name):
                raise ValueError(f'{name}: means nothing with mode = "{self.mode}"')

    def _judge_upsert(self) -> None:
        fields = set(self.columns.values())
        if not self.key or len(set(self.key)) != len(self.key):
            raise ValueError("key: takes the fields that tell one row from another")
        if missing := [one for one in self.key if one not in fields]:
            raise ValueError(f"key: {missing[0]!r} has no column; add it to columns")
        if not 1 <= self.every <= 3600:
            raise ValueError('every: between "1s" and "1h"')

    @property
    def rows_a_call(self) -> int:
        """So many rows as come to about the 2 MB that Google advises for a call."""
        return CELLS_A_CALL // (len(self.columns) + 1)

    @property
    def keys(self) -> tuple[str, ...]:
        """The headers of the key, in its order."""
        of = {field: header for header, field in reversed(self.columns.items())}
        return tuple(of[field] for field in self.key)


def _default(name: str) -> object:
    return {"key": KEY, "every": 60, "conflict": "update", "monthly": False}[name]
