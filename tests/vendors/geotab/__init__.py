"""MyGeotab: JSON-RPC at one path, sessions, feeds by version, a silent cap on plain gets.

The key is the password of `fleetd-service@acme.test`. The database `acme_haul` is here,
`acme_moved` on the same port under another name, `acme_waking` is away for its first
calls; any other is unknown. `limited@acme.test` may not see exceptions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from tests.vendors.base import DAY, Asked, Fix, Reply, Tier, instant, reply
from tests.vendors.geotab.people import Listed
from tests.vendors.geotab.rows import KINDS, Step, Wire
from tests.vendors.truth import draw

MOST, CAP = 50_000, 5_000
SHIFT = 24  # a version is the second something became known, and a number within it
LAST = (1 << SHIFT) - 1
LOCKED_AFTER, LOCKED_FOR = 5, 15 * 60
SESSION_CALLS = 400
KEEPS = 90 * DAY  # a version from before is no longer known
DATABASES = frozenset({"acme_haul", "acme_moved", "acme_waking"})
USERS = frozenset({"fleetd-service@acme.test", "limited@acme.test"})
HIDDEN = frozenset({"ExceptionEvent", "DutyStatusLog"})
SORTABLE = frozenset({"Device", "User", "Zone", "Trip"})
EDGED = frozenset({"LogRecord", "StatusData"})
TYPES = frozenset({*KINDS, "DeviceStatusInfo", "Device", "User", "Zone"})


class RpcError(Exception):
    def __init__(self, kind: str, message: str, code: int = -32000) -> None:
        super().__init__(kind)
        self.kind, self.message, self.code = kind, message, code


class Geotab(Listed):
    vendor = "geotab"
    carries = frozenset(
        {
            "provider", "provider_vehicle_id", "vin", "fleet_number", "timestamp",
            "latitude", "longitude", "speed_mph",
        }
    )  # fmt: skip

    def __init__(self, *given: Any, **wishes: Any) -> None:
        super().__init__(*given, **wishes)
        self.sessions: dict[str, list[Any]] = {}  # id -> [database, user, calls left]
        self.logins = 0
        self.failed: list[float] = []
        self.waking = 3
        self.over = 0

    def routes(self) -> dict[str, Callable[..., Reply]]:
        return {"POST /apiv1": self.call}

    # who may ask, and how often

    def refused(self, asked: Asked) -> Reply | None:
        """Nothing yet: an error here is the answer to a call, with a 200."""
        return None if asked.path == "/apiv1" else self.unknown(asked)

    def credential(self, asked: Asked) -> str:
        whose = _params(asked).get("credentials") or _params(asked)
        return f"{whose.get('database')}/{whose.get('userName')}"

    def tiers(self, asked: Asked) -> Sequence[Tier]:
        body = asked.json()
        method = body.get("method") if isinstance(body, dict) else ""
        kind = _params(asked).get("typeName")
        many = {"Authenticate": 10, "GetFeed": 60, "GetCountOf": 100}.get(str(method))
        if method == "Get":
            many = {"ExceptionEvent": 2000, "DeviceStatusInfo": 900}.get(str(kind), 650)
        named = f"{method} {kind}" if kind else str(method)
        return (Tier(named, many, 60.0),) if many else ()

    def busy(self, after: float) -> Reply:
        """Over a limit: by turns an error in a 200 and a 429."""
        self.over += 1
        text = "API calls quota exceeded. Maximum admitted 60 per 1m."
        body = _error(RpcError("OverLimitException", text), old=False)
        status = 200 if self.over % 2 else 429
        return reply(body, status, retry_after=str(max(math.ceil(after), 1)))

    def told(self) -> dict[str, Any]:
        return super().told() | {"logins": self.logins}

    # calls

    def call(self, asked: Asked) -> Reply:
        body = asked.json()
        try:
            return reply(
                {"result": self._result(body, asked), "jsonrpc": "2.0", "id": 1}
            )
        except RpcError as error:
            return reply(_error(error, old=draw("old", len(self.log)) < 0.3))

    def _result(self, body: Any, asked: Asked) -> Any:
        if not isinstance(body, dict) or not isinstance(body.get("params"), dict):
            raise RpcError("JsonSerializerException", "Invalid JSON", -32700)
        method, params = body.get("method"), body["params"]
        if method == "Authenticate":
            return self.authenticate(params, asked.headers.get("host", ""))
        methods = {"GetFeed": self.feed, "Get": self.get, "GetCountOf": self.count}
        if method not in methods:
            raise RpcError("MissingMethodException", f"no {method}", -32601)
        self._admit(params, asked.headers.get("host", ""))
        if params.get("typeName") not in TYPES:
            raise RpcError("MissingMethodException", "The method could not be found")
        if self._limited(params) and params["typeName"] in HIDDEN:
            raise RpcError("InvalidPermissionsException", "The user may not view this")
        return methods[method](params)

    def authenticate(self, params: Wire, host: str) -> Wire:
        self.logins += 1
        database, user = params.get("database"), params.get("userName")
        if database not in DATABASES:
            raise RpcError("DbUnavailableException", f"UnknownDatabase {database}")
        if database == "acme_waking" and self.waking > 0:
            self.waking -= 1
            raise RpcError("DbUnavailableException", "Initializing")
        now = self.clock.steady()
        self.failed = [at for at in self.failed if at > now - LOCKED_FOR]
        locked = len(self.failed) >= LOCKED_AFTER
        if locked or user not in USERS or params.get("password") != self.key:
            self.failed.append(now)
            raise RpcError("InvalidUserException", "Incorrect login credentials")
        session = f"s{self.logins}x{draw('session', self.logins):.9f}"
        self.sessions[session] = [database, user, SESSION_CALLS]
        whose = {"database": database, "sessionId": session, "userName": user}
        moved = _elsewhere(host) if database == "acme_moved" else "ThisServer"
        return {"credentials": whose, "path": moved}

    def _admit(self, params: Wire, host: str) -> None:
        whose = params.get("credentials")
        whose = whose if isinstance(whose, dict) else {}
        session = self.sessions.get(str(whose.get("sessionId")))
        fits = session and session[:2] == [whose.get("database"), whose.get("userName")]
        if not session or not fits:
            raise RpcError("InvalidUserException", "Incorrect login credentials")
        if session[0] == "acme_moved" and host.startswith("127."):
            raise RpcError("DbUnavailableException", "UnknownDatabase acme_moved")
        session[2] -= 1
        if session[2] < 0:
            del self.sessions[str(whose["sessionId"])]
            raise RpcError("InvalidUserException", "Incorrect login credentials")

    def _limited(self, params: Wire) -> bool:
        return bool(params["credentials"].get("userName") == "limited@acme.test")

    # feeds

    def feed(self, params: Wire) -> Wire:
        kind, search = params["typeName"], params.get("search") or {}
        limit = min(_whole(params.get("resultsLimit", MOST)), MOST)
        if kind == "DeviceStatusInfo" and search:
            raise RpcError("ArgumentException", "DeviceStatusInfo takes no search")
        if set(search) - {"fromDate"}:
            raise RpcError("ArgumentException", "search: only fromDate")
        if kind in {"Device", "User", "Zone"}:
            raise RpcError("ArgumentException", f"no feed of {kind} here")
        after = self._after(params, search, kind)
        states = kind == "DeviceStatusInfo"
        rows, version = (
            self._states(after) if states else self._page(kind, after, limit)
        )
        return {"data": self.mixed(rows), "toVersion": f"{version:016x}"}

    def _after(self, params: Wire, search: Wire, kind: str) -> int:
        version = params.get("fromVersion")
        if version is not None:
            try:
                after = int(version, 16)
            except (TypeError, ValueError) as bad:
                raise RpcError(
                    "ArgumentException", "fromVersion is no version"
                ) from bad
            if after >> SHIFT < self.now() - KEEPS:
                raise RpcError("ArgumentException", "fromVersion is too old a version")
            return after
        if "fromDate" in search:
            since = max(_moment(search["fromDate"]), self.now() - KEEPS)
            return (since << SHIFT) - 1
        return 0 if kind == "DeviceStatusInfo" else self.now() << SHIFT | LAST

    def _page(self, kind: str, after: int, limit: int) -> tuple[list[Any], int]:
        """The rows behind a version, in the order in which they became known."""
        now, second, stride = self.now(), max(after, 0) >> SHIFT, 60
        found: list[tuple[int, Step]] = []
        while second <= now and len(found) <= limit:
            until = min(second + stride, now + 1)
            fresh = _numbered(self.steps(kind, second, until))
            found += [one for one in fresh if one[0] > after]
            second = until
            stride = min(stride * 2, DAY) if len(fresh) < limit / 4 else stride
        version = found[limit - 1][0] if len(found) > limit else now << SHIFT | LAST
        return [step.make(f"{n:016x}") for n, step in found[:limit]], version

    def _states(self, after: int) -> tuple[list[Any], int]:
        now = self.now()
        rows = []
        for vehicle in range(self.truth.vehicles):
            known = self.known(self.truth.fixes(vehicle, now - 2 * DAY, now + 1))
            if known and self.dice.known_at(vehicle, known[-1].at) << SHIFT > after:
                rows.append(self._state(known[-1]))
        return rows, now << SHIFT | LAST

    def _state(self, fix: Fix) -> Wire:
        return {
            **self._placed(fix),
            "driver": self._driver(fix.driver),
            "bearing": fix.heading,
            "currentStateDuration": "00:10:00",
            "isDriving": fix.engine == "On",
            "isDeviceCommunicating": True,
            "isHistoricLastDriver": fix.driver is None,
            "groups": [{"id": "GroupVehicleId"}],
            "exceptionEvents": [],
        }

    # gets

    def get(self, params: Wire) -> list[Any]:
        kind = params["typeName"]
        limit = _whole(params.get("resultsLimit", MOST))
        if limit > MOST:
            text = f"Results limit ({limit}) exceeds the maximum of {MOST}"
            raise RpcError("OverLimitException", text)
        search = params.get("search") or {}
        if kind in {"Device", "User", "Zone"}:
            rows = self.listed(self.directory(kind))
        elif "fromDate" in search and "toDate" in search:
            rows = self._past(kind, search)
        else:
            raise RpcError("ArgumentException", "search: fromDate and toDate")
        if (sort := params.get("sort")) is not None:
            rows = _sorted(kind, sort, rows)
        return rows[: min(limit, CAP)]

    def count(self, params: Wire) -> int:
        return len(self.directory(params["typeName"]))

    def _past(self, kind: str, search: Wire) -> list[Any]:
        since, until = _moment(search["fromDate"]), _moment(search["toDate"])
        device = (search.get("deviceSearch") or {}).get("id")
        if kind in EDGED and device is None:
            raise RpcError("ArgumentException", "search: deviceSearch")
        vehicles = [
            n
            for n in range(self.truth.vehicles)
            if device is None or self.vehicle_id(n) == device
        ]
        latest: dict[str, Step] = {}
        early = since if kind in EDGED else since - 2 * DAY
        for step in self.steps(kind, early, self.now() + 1, vehicles, until):
            if since <= step.at <= until:
                latest[step.key] = step
        rows = [one.make(f"{one.known << SHIFT:016x}") for one in latest.values()]
        if kind == "LogRecord" and vehicles:
            edges = [self._made_up(vehicles[0], at) for at in (since, until)]
            rows = [edges[0], *rows, edges[1]]
        return self.mixed(rows)

    def _made_up(self, vehicle: int, at: int) -> Wire:
        """The point that the server makes up at an edge; every other one has no id."""
        fix = msgspec.structs.replace(self.truth.last(vehicle, at), at=at)
        return {**self._placed(fix), "id": None if at % 2 else f"x{at:X}"}


def _params(asked: Asked) -> Wire:
    body = asked.json()
    found = body.get("params") if isinstance(body, dict) else None
    return found if isinstance(found, dict) else {}


def _error(error: RpcError, *, old: bool) -> Wire:
    """An error in the newer shape, or the one of older servers."""
    told: Wire = {"message": error.message, "code": error.code}
    if old:
        told["errors"] = [{"name": error.kind, "message": error.message}]
    else:
        told["data"] = {"id": "0", "type": error.kind, "requestIndex": 0}
    return {"jsonrpc": "2.0", "id": 1, "error": told}


def _elsewhere(host: str) -> str:
    """The same port by another name."""
    return f"localhost:{host.rpartition(':')[2]}"


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RpcError("ArgumentException", "resultsLimit is no number")
    return value


def _moment(text: object) -> int:
    found = instant(text) if isinstance(text, str) else None
    if found is None:
        raise RpcError("ArgumentException", "a date is no date")
    return found


def _numbered(steps: Iterator[Step]) -> list[tuple[int, Step]]:
    """Steps with their versions."""
    found, second, number = [], -1, 0
    for one in sorted(steps, key=lambda one: one[:4]):
        number = number + 1 if one.known == second else 0
        second = one.known
        found.append((second << SHIFT | number, one))
    return found


def _sorted(kind: str, sort: Wire, rows: list[Any]) -> list[Any]:
    if kind not in SORTABLE or sort.get("sortBy") != "id":
        text = "Can not sort by id. Supported sortable fields are version, date."
        raise RpcError("ArgumentException", text)
    after = sort.get("offset")
    every = sorted(rows, key=lambda one: one["id"])
    return [one for one in every if after is None or one["id"] > after]
