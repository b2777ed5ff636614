"""How a demo vehicle drives a way: constant accelerations, joined without a jump."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right

from msgspec import Struct

from fleetd.providers.demo.land import KPH, Path, draw

GAS, BRAKE, SLAM = 0.6, 0.9, 4.2  # m/s²
TURN_SPEED = 7.0
INSTANT = 1e-9
WAIT = 25.0  # the longest red light, seconds
# One piece of road in so many; some dozen pieces an hour are driven by each vehicle.
SPEEDS, BRAKES = 1 / 500, 1 / 500


class Incident(Struct, frozen=True):
    """What a camera would report; `since` and `upto` in seconds from the start."""

    type: str
    since: float
    upto: float
    speed: float
    limit: float


class State(Struct, frozen=True):
    """Where on its way a vehicle is, and how fast."""

    metres: float
    speed: float
    piece: int


class Motion(Struct, frozen=True):
    """One drive. At `at[n]` seconds it is `base[n]` metres along, at `speed[n]`."""

    path: Path
    seconds: float
    at: array[float]
    base: array[float]
    speed: array[float]
    gas: array[float]
    incidents: tuple[Incident, ...]

    def state(self, elapsed: float) -> State:
        n = bisect_right(self.at, elapsed) - 1
        late, speed, gas = elapsed - self.at[n], self.speed[n], self.gas[n]
        metres = self.base[n] + speed * late + gas * late * late / 2
        metres = min(max(metres, 0.0), self.path.metres)
        piece = min(bisect_right(self.path.along, metres), len(self.path.limits)) - 1
        return State(metres, max(speed + gas * late, 0.0), piece)

    def reaches(self, metres: float) -> float:
        """When it is so far along, in seconds from the start."""
        n = max(bisect_right(self.base, metres) - 1, 0)
        ahead, speed, gas = metres - self.base[n], self.speed[n], self.gas[n]
        if ahead <= 0:
            return self.at[n]
        if gas == 0:
            return self.at[n] + (ahead / speed if speed else 0.0)
        root = math.sqrt(max(speed * speed + 2 * gas * ahead, 0.0))
        return self.at[n] + (root - speed) / gas

    def point(self, state: State) -> tuple[float, float]:
        """Latitude and longitude of a state."""
        path, n = self.path, state.piece
        done = (state.metres - path.along[n]) / (path.along[n + 1] - path.along[n])
        lat = path.lats[n] + (path.lats[n + 1] - path.lats[n]) * done
        return lat, path.lons[n] + (path.lons[n + 1] - path.lons[n]) * done


class _Piece(Struct):
    """A stretch driven in one mood; `leave` is the fastest it may end."""

    metres: float
    cruise: float
    leave: float
    brake: float = BRAKE
    wait: float = 0.0
    limit: float = 0.0
    told: str = ""


def drive(path: Path, *seed: object) -> Motion:
    """The drive of a way; the same seed drives the same."""
    pieces = _pieces(path, seed)
    _make_possible(pieces)
    return _joined(path, pieces)


def _pieces(path: Path, seed: tuple[object, ...]) -> list[_Piece]:
    pieces: list[_Piece] = []
    last = len(path.limits) - 1
    for n, limit in enumerate(path.limits):
        metres = path.along[n + 1] - path.along[n]
        luck, open_road = draw("piece", *seed, n), limit > 60 * KPH
        cruise = limit * (0.88 + 0.1 * draw("mood", *seed, n))
        piece = _Piece(metres, cruise, cruise, limit=limit)
        if open_road and luck < SPEEDS:
            piece.cruise, piece.told = limit * 1.19, "speeding"
        elif open_road and luck < SPEEDS + BRAKES:
            first = _Piece(metres / 2, cruise, cruise * 0.4, SLAM, limit=limit)
            first.told, piece.metres = "harshBrake", metres / 2
            pieces.append(first)
        if n + 1 in path.turns:
            piece.leave = TURN_SPEED
        if n + 1 in path.lights:
            piece.leave, piece.wait = 0.0, WAIT * draw("light", *seed, n)
        if n == last:
            piece.leave = 0.0
        pieces.append(piece)
    return pieces


def _make_possible(pieces: list[_Piece]) -> None:
    """Lower what no engine could reach and no brake could hold."""
    enter = 0.0
    for piece, ahead in zip(pieces, [*pieces[1:], None], strict=True):
        most = min(piece.leave, ahead.cruise) if ahead else piece.leave
        piece.leave = min(most, math.sqrt(enter * enter + 2 * GAS * piece.metres))
        enter = piece.leave
    for before, piece in zip(reversed(pieces[:-1]), reversed(pieces[1:]), strict=True):
        held = math.sqrt(piece.leave**2 + 2 * piece.brake * piece.metres)
        before.leave = min(before.leave, held)


def _joined(path: Path, pieces: list[_Piece]) -> Motion:
    at, base, speeds, gases = (array("d") for _ in range(4))
    incidents, time, metres, enter = [], 0.0, 0.0, 0.0
    for piece in pieces:
        began, start, top = time, metres, _top(piece, enter)
        up, down = top * top - enter * enter, top * top - piece.leave**2
        flat = max(piece.metres - up / (2 * GAS) - down / (2 * piece.brake), 0.0)
        for seconds, speed, gas in (
            ((top - enter) / GAS, enter, GAS),
            (flat / top, top, 0.0),
            ((top - piece.leave) / piece.brake, top, -piece.brake),
            (piece.wait, 0.0, 0.0),
        ):
            if seconds > INSTANT:
                for column, value in zip(
                    (at, base, speeds, gases), (time, metres, speed, gas), strict=True
                ):
                    column.append(value)
                metres += speed * seconds + gas * seconds * seconds / 2
                time += seconds
        metres = start + piece.metres  # no drift from rounding
        enter = piece.leave
        if piece.told:
            since = time - 3 if piece.told == "harshBrake" else began
            incidents.append(Incident(piece.told, since, time, top, piece.limit))
    for column, value in zip(
        (at, base, speeds, gases), (time, metres, 0, 0), strict=True
    ):
        column.append(value)
    return Motion(path, time, at, base, speeds, gases, tuple(incidents))


def _top(piece: _Piece, enter: float) -> float:
    """The fastest within a piece: the cruise, or what its length allows."""
    room = 2 * GAS * piece.brake * piece.metres
    room += piece.brake * enter**2 + GAS * piece.leave**2
    best = math.sqrt(room / (GAS + piece.brake))
    return max(min(piece.cruise, best), enter, piece.leave)
