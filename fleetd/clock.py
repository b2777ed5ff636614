"""Whether this box's clock can be judged by: sure, suspect, or never proven."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from fleetd.pace import http_date
from fleetd.world import World

APART_S = 60.0
STEADY_S = (
    86_400.0  # without anybody to ask, a clock that did not jump for so long counts
)

State = Literal["ok", "suspect", "unproven"]


class Clock:
    """Watches the wall clock beside one that only counts.

    Suspect at the start, and whenever the two part by over a minute, until the system
    says that it is synchronised by NTP or the `Date` of an HTTPS answer agrees. A box
    where neither can be had stays suspect for a day without a jump, then is believed
    as `unproven`: status says so, and what waited for the clock goes on.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._wall = self._steady = 0.0
        self._objection = ""
        self.state: State = "suspect"
        self.why = ""
        self._doubt("fleetd has just started")
        self.look()

    @property
    def trusted(self) -> bool:
        """Whether a time may be judged, and anything dropped for its age."""
        return self.state != "suspect"

    def look(self) -> None:
        """Compare the clocks, and ask the system; to be called every few seconds."""
        parted = self._now() - self._wall - (self._world.steady() - self._steady)
        if abs(parted) > APART_S:
            self._objection = ""
            self._doubt(f"it jumped by {parted:+.0f} s")
        if self._world.synchronised():
            self._believe()
        elif self.state == "suspect" and self._has_stood_still():
            self.state = "unproven"
            self.why = (
                "no NTP and no HTTPS Date to compare it with; believed because it did "
                "not jump for a day"
            )

    def heard(self, date: str) -> None:
        """Take the `Date` of an HTTPS answer as a witness."""
        said = http_date(date[:64])
        if said is None:
            return
        apart = self._now() - said.timestamp()
        if abs(apart) <= APART_S:
            self._objection = ""
            self._believe()
        elif self.state != "ok":
            self._objection = f"an HTTPS answer says it is {-apart:+.0f} s off"
            self._doubt(self._objection)

    def _has_stood_still(self) -> bool:
        if self._objection:
            return False
        return self._world.steady() - self._steady >= STEADY_S

    def _believe(self) -> None:
        self.state, self.why = "ok", ""
        self._wall, self._steady = self._now(), self._world.steady()

    def _doubt(self, why: str) -> None:
        self.state = "suspect"
        self.why = f"{why}; waiting for NTP or an HTTPS Date to agree"
        self._wall, self._steady = self._now(), self._world.steady()

    def _now(self) -> float:
        now: datetime = self._world.now()
        return now.timestamp()
