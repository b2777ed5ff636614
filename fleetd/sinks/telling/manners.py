"""The keys by which an operator says when a sink that notifies may ring, and in what words."""

from __future__ import annotations

import re
from datetime import datetime, time
from pathlib import Path
from typing import ClassVar, Literal

from msgspec import Struct

from fleetd.config.units import Seconds
from fleetd.sinks.wording import Templates
from fleetd.when import Zone

HOURS = re.compile(
    r"((?:[01][0-9]|2[0-3]):[0-5][0-9])-((?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
DOCS = {
    "severity": "the least that is told of what has one; not given, everything but changes"
    " of duty status. The safety lane is always told",
    "repeat": "what was said of a vehicle is not said again within this time",
    "quiet": "hours of the day in which only the safety lane is told; the first message"
    " after them sums up the rest",
    "timezone": "in which times are told and quiet hours are meant",
    "templates": "own words for a message about one event, by kind or `default`:"
    " `{what} {vehicle} {at}`",
}


class Hours(str):
    """Hours of the day, `22:00-06:00`, over midnight too."""

    __slots__ = ()
    word: ClassVar[str] = "hours"

    @classmethod
    def read(cls, value: object, _base: Path) -> Hours:
        found = HOURS.fullmatch(value) if isinstance(value, str) else None
        if found is None or found[1] == found[2]:
            raise ValueError('takes hours of the day: "22:00-06:00"')
        return cls(value)

    def hold(self, moment: datetime) -> bool:
        """Whether a local time is within them."""
        begin, end = (time.fromisoformat(one) for one in self.split("-"))
        at = moment.time()
        if begin < end:
            return begin <= at < end
        return at >= begin or at < end


class Manners(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The keys that all sinks that notify have."""

    severity: Literal["low", "medium", "high", "severe"] | None = None
    repeat: Seconds | None = None
    quiet: Hours | None = None
    timezone: Zone = Zone("local")
    templates: Templates = Templates()
