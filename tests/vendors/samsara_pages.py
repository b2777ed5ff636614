"""How a simulated Samsara takes a request: tokens, limits, parameters, cursors, pages."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import msgspec

from tests.vendors.base import (
    DAY,
    Asked,
    Reply,
    Simulator,
    Tier,
    instant,
    refuse,
    reply,
)
from tests.vendors.samsara_told import (
    GROUPS,
    JSON,
    Teller,
    Told,
    driver_id,
    uuid_of,
    vehicle_id,
)

LIVES = 30 * DAY
TIERS = {
    "/fleet/vehicles": 25, "/fleet/driver-vehicle-assignments": 5, "/trips/stream": 5,
    "/fleet/hos/logs": 5, "/fleet/hos/violations": 5, "/dvirs/stream": 5,
    "/safety-events/stream": 5, "/idling/events": 5, "/alerts/incidents/stream": 10,
    "/webhooks": 5,
}  # fmt: skip
Changes = list[tuple[int, str, Told]]  # when it last changed, a name, the record


class Pages(Simulator):
    """What all of its calls share."""

    tell: Teller

    # what it says of itself

    def refused(self, asked: Asked) -> Reply | None:
        said = asked.headers.get("authorization", "")
        if said == f"Bearer {self.key}":
            return None
        if said != f"Bearer {self.key}-narrow":
            return error("Invalid token.", 401)
        if asked.path.startswith("/fleet/vehicles"):
            return None
        return error("Token is missing a scope that this call needs.", 403)

    def tiers(self, asked: Asked) -> Sequence[Tier]:
        every = Tier("token", 150)
        if asked.method != "GET":
            return (every, Tier("writes", 100, 60.0))
        limit = TIERS.get(asked.path)
        return (every, Tier(asked.path, limit)) if limit else (every,)

    def busy(self, after: float) -> Reply:
        return error("Exceeded rate limit.", 429, retry_after=f"{after:.5f}")

    def failing(self) -> Reply:
        status = (500, 502, 503, 504)[int(self.dice.chance.random() * 4)]
        text = b"rpc error: code = Unavailable desc = transport is closing"
        return Reply(status, text, {"content-type": "text/plain"})

    def unknown(self, _asked: Asked) -> Reply:
        return error("not found", 404)

    def vehicle_id(self, vehicle: int) -> str:
        return vehicle_id(vehicle)

    def driver_id(self, driver: int) -> str:
        return driver_id(driver)

    def listing(self, asked: Asked, items: Sequence[Told], most: int = 512) -> Reply:
        """A page from the cursor on; its last has an empty cursor."""
        cursor, limit = self.cursor(asked), self.limit_of(asked, most)
        start = cursor["n"] if cursor else 0
        on = start + limit < len(items)
        after = self.after(asked, n=start + limit) if on else ""
        return paged(items[start : start + limit], after, more=on)

    def stream(self, asked: Asked, changes: Changes, most: int = 100) -> Reply:
        """What changed since, oldest first; its cursor can be used for ever after."""
        since, until = self.window(asked, start=True)
        cursor, limit = self.cursor(asked), self.limit_of(asked, most, 100)
        key = tuple(cursor["k"]) if cursor else (since - 1, "~")
        items = sorted(
            (one for one in changes if since <= one[0] < until and one[:2] > key),
            key=lambda one: one[:2],
        )
        some = items[:limit]
        last = some[-1][:2] if some else key
        more, endless = len(items) > limit, "endTime" not in asked.query
        after = self.after(asked, k=list(last)) if more or endless else ""
        return paged([told for _, _, told in some], after, more=more)

    # parameters and cursors

    def window(
        self, asked: Asked, *, needed: bool = False, start: bool = False
    ) -> tuple[int, int]:
        now, found = self.now(), {}
        for name in ("startTime", "endTime"):
            text = asked.one(name)
            if not text and (needed or (start and name == "startTime")):
                raise refuse(wrong(f"{name} is required"), 400)
            at = instant(text.replace(" ", "+")) if text else now + 1
            if at is None:
                raise refuse(wrong(f"invalid {name}: {text}"), 400)
            found[name] = at
        if asked.one("endTime") and found["endTime"] <= found["startTime"] - 1:
            raise refuse(wrong("endTime must be after startTime"), 400)
        return found["startTime"], found["endTime"]

    def limit_of(self, asked: Asked, most: int, usual: int = 0) -> int:
        text = asked.one("limit", str(usual or most))
        if not text.isdecimal() or not 1 <= int(text) <= most:
            said = f"limit must be lesser or equal than {most} but got value {text}"
            raise refuse(wrong(said), 400)
        return int(text)

    def tagged(self, asked: Asked, vehicle: int, name: str = "tagIds") -> bool:
        wanted = asked.all(name)
        return not wanted or GROUPS[vehicle % 2]["id"] in wanted

    def after(self, asked: Asked, **place: Any) -> str:
        return opaque(place | {"made": self.now(), "for": print_of(asked)})

    def cursor(self, asked: Asked) -> Told | None:
        text = asked.one("after")
        if not text:
            return None
        try:
            found = msgspec.json.decode(base64.b64decode(text, validate=True))
            good = found["for"] == print_of(asked)
        except (binascii.Error, msgspec.DecodeError, ValueError, TypeError, KeyError):
            good = False
        if not good or self.now() - found["made"] > LIVES:
            raise refuse(wrong("Invalid pagination cursor."), 400)
        return dict(found)


def opaque(what: Any) -> str:
    """A cursor: nobody but the vendor can read it."""
    return base64.b64encode(JSON.encode(what)).decode()


def print_of(asked: Asked) -> str:
    """All that has to stay as it was from page to page."""
    said = sorted((k, v) for k, v in asked.query.items() if k != "after")
    return uuid_of(asked.path, said)[:8]


def wrong(message: str) -> Told:
    return {"message": message, "requestId": uuid_of(message)[:12]}


def error(message: str, status: int, **headers: str) -> Reply:
    return reply(wrong(message), status, request_id=uuid_of(message)[:12], **headers)


def paged(items: Sequence[Told | bytes], after: str, *, more: bool) -> Reply:
    """A page in its envelope; records may be written already."""
    data = b",".join(
        one if isinstance(one, bytes) else JSON.encode(one) for one in items
    )
    where = JSON.encode({"endCursor": after, "hasNextPage": more})
    return reply(b'{"data":[%b],"pagination":%b}' % (data, where))
