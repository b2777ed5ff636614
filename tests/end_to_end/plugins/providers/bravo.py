"""A vendor with vehicles, fixes and an account that has a name: for keys of polling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

import msgspec

from fleetd.errors import PayloadError
from fleetd.event import AnyEvent, Position, Record, Vehicle, moment_of
from fleetd.providers.contract import Ask, Feed, Page, Probe, Provider, Turn
from fleetd.providers.windows import Window, went_on, window


def ask_units(turn: Turn) -> Ask:
    return Ask("/units", params={"tags": ",".join(turn.tags)})


def unpack_units(_ask: Ask, body: bytes, _turn: Turn) -> Page:
    return Page(split("units", body), complete=True)


def ask_fixes(turn: Turn) -> Ask | None:
    found = window(turn, longest=timedelta(hours=1))
    if found is None:
        return None
    spans = (found.since.timestamp(), found.until.timestamp())
    return Ask(
        "/fixes", params={"since": f"{spans[0]:.3f}", "until": f"{spans[1]:.3f}"}
    )


def unpack_fixes(ask: Ask, body: bytes, turn: Turn) -> Page:
    since, until = (float(str(ask.params[one])) for one in ("since", "until"))
    asked = Window(moment_of(int(since * 1000)), moment_of(int(until * 1000)))
    bookmark, more = went_on(asked, None, turn)
    return Page(split("fixes", body), bookmark, more)


def split(feed: str, body: bytes) -> list[Record]:
    try:
        items = msgspec.json.decode(body, type=list[msgspec.Raw])
    except msgspec.DecodeError as bad:
        raise PayloadError(f"not a list: {bad}") from bad
    return [Record(feed, bytes(one)) for one in items]


def unit(body: bytes) -> Iterator[AnyEvent]:
    told = msgspec.json.decode(body)
    yield Vehicle(
        id=told["id"], vehicle=told["id"], number=told.get("number"),
        groups=tuple(told.get("groups", ())),
    )  # fmt: skip


def fix(body: bytes) -> Iterator[AnyEvent]:
    told = msgspec.json.decode(body)
    yield Position(
        id=told["id"], vehicle=told["vehicle"], at=moment_of(told["ms"]),
        latitude=1.0, longitude=2.0,
    )  # fmt: skip


def authorize(token: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {token}"}


def whose(body: bytes) -> list[str]:
    return msgspec.json.decode(body, type=list[str])


PROVIDER = Provider(
    name="bravo",
    title="Bravo",
    base_url="http://127.0.0.1:9",
    normalize={"units": unit, "fixes": fix},
    feeds=(
        Feed("units", 3600, ask_units, unpack_units, listing="vehicle"),
        Feed("fixes", 1.0, ask_fixes, unpack_fixes, begins=timedelta(minutes=1)),
    ),
    authorize=authorize,
    whoami=Probe(Ask("/me"), whose),
)
