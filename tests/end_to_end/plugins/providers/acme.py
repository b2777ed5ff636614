"""A vendor that is polled over HTTP and pushes nothing, for what only such a one can show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import partial

import msgspec

from fleetd.event import AnyEvent, Other, Record
from fleetd.providers.contract import Ask, Feed, Page, Past, Provider, Turn


def ask_for(path: str, turn: Turn) -> Ask:
    begun = turn.since.isoformat() if turn.since else ""
    return Ask(path, params={"after": turn.bookmark or begun})


def unpack(_ask: Ask, body: bytes, _turn: Turn) -> Page:
    items = msgspec.json.decode(body, type=list[msgspec.Raw])
    return Page([Record("items", bytes(one)) for one in items], "read")


def item(body: bytes) -> Iterator[AnyEvent]:
    told = msgspec.json.decode(body, type=dict[str, str])
    yield Other(id=told["id"], type="item", detail=told)


def authorize(token: str) -> Mapping[str, str]:
    return {"Authorization": f"Token {token}"}


def ask_past(turn: Turn) -> Ask | None:
    assert turn.since
    assert turn.until
    if turn.bookmark:
        return None
    window = {"since": turn.since.isoformat(), "until": turn.until.isoformat()}
    return Ask("/past", params=window)


PROVIDER = Provider(
    name="acme",
    base_url="http://127.0.0.1:9",
    normalize={"items": item},
    feeds=(
        Feed("items", 3600, partial(ask_for, "/items"), unpack, begins=None),
        Feed("more", 3600, partial(ask_for, "/more"), unpack, begins=None),
        Feed(
            "glimpses",
            3600,
            partial(ask_for, "/now"),
            unpack,
            kinds=("other",),
            past=Past(ask_past, unpack, within=timedelta(days=30)),
            snapshot=True,
            standard=False,
        ),
    ),
    authorize=authorize,
)
