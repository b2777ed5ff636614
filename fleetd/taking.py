"""What a sink takes: kinds, sources and vehicles, decided in one place."""

from __future__ import annotations

from fnmatch import fnmatchcase

from msgspec import Struct

from fleetd.event import CODES, KINDS, Event


class Taking(Struct, frozen=True):
    """Which events a sink takes; empty `sources` and `vehicles` mean all of them.

    `vehicles` are globs over the vendor's id, the VIN and the fleet number, any case.
    `within` narrows a replay to what its sink takes at all; `units` are (source, id) of
    vehicles that are meant besides, whatever they are called.
    """

    kinds: frozenset[str] = frozenset(KINDS[1:])
    sources: frozenset[str] = frozenset()
    vehicles: tuple[str, ...] = ()
    within: Taking | None = None
    units: frozenset[tuple[str, str | None]] = frozenset()

    def takes(self, source: str, event: Event) -> bool:
        """Whether this event goes to the sink."""
        if event.kind not in self.kinds:
            return False
        if self.sources and source not in self.sources:
            return False
        named = not self.vehicles or (source, event.vehicle) in self.units
        if not named and not matches(self.vehicles, event):
            return False
        return self.within is None or self.within.takes(source, event)

    @property
    def codes(self) -> frozenset[int]:
        """The kinds as the log stores them."""
        return frozenset(CODES[kind] for kind in self.kinds)


def matches(globs: tuple[str, ...], event: Event) -> bool:
    """Whether any of an event's names fits any of the globs, in any case."""
    names = [one.lower() for one in (event.vehicle, event.number, event.vin) if one]
    return any(fnmatchcase(name, glob.lower()) for name in names for glob in globs)
