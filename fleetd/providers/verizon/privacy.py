"""What Reveal marks private: no coordinates and no address of it is ever stored.

The vendor's pages carry `IsPrivate` and, of a segment, `StartLocationIsPrivate` and
`EndLocationIsPrivate`. Events leave such places out; this takes them out of the bytes.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from fleetd.providers import reading
from fleetd.providers.verizon.wire import hidden

MARK = re.compile(  # of a body in lower case: a letter that is known is found fast
    rb"""private\\*"\s*:\s*(?!\s|\\*"?false\b|null\b|0[,}\s]|\\*"\\*"|\\*"0)"""
)
PLACE = frozenset(
    {
        "latitude", "longitude", "lat", "lon", "lng", "address", "geofencename",
        "geofence", "placename", "place", "addressline1", "addressline2", "locality",
        "administrativearea", "postalcode", "description", "message", "location",
        "heading", "direction", "startlocation", "endlocation",
    }
)  # fmt: skip
ENDS = ("start", "end")
SPOKEN = re.compile(  # of what nobody can read: every place of it, with its value
    rb'(?is)("(?:%b)\\*"\s*:\s*)(?:-?[0-9][0-9.e+-]*|\[[0-9.,e\s+-]*\]?'
    rb'|\\*"(?![{\[]).*?(?:"(?=\s*(?:[,}\]]|\Z))|\Z))'
    % "|".join(sorted(PLACE)).encode()
)
DEEPEST = 40


def hide(body: bytes) -> bytes:
    """The same without private places; of what is no JSON, without any place at all."""
    if not MARK.search(body.lower()):
        return body
    try:
        told = msgspec.json.decode(body)
        return msgspec.json.encode(_without(told, DEEPEST))
    except (*reading.UNREADABLE, msgspec.MsgspecError, OverflowError):
        return SPOKEN.sub(rb"\1null", body)


def _without(told: Any, room: int, *, private: bool = False) -> Any:
    """The same less every private place; what is marked is so in all that it holds."""
    if not room:
        return told
    if isinstance(told, list):
        return [_without(one, room - 1, private=private) for one in told]
    if isinstance(told, str):
        return _inner(told)
    if not isinstance(told, dict):
        return told
    marks = {key.lower(): one for key, one in told.items() if "rivate" in key.lower()}
    private = private or hidden(marks, "isprivate")
    gone = set(PLACE) if private else set()
    gone |= {
        f"{end}location" for end in ENDS if hidden(marks, f"{end}locationisprivate")
    }
    return {
        key: None if key.lower() in gone else _without(one, room - 1, private=private)
        for key, one in told.items()
    }


def _inner(text: str) -> str:
    """A message in a message."""
    body = text.encode(errors="surrogatepass")
    if body[:1] not in (b"{", b"["):
        return text
    return hide(body).decode()
