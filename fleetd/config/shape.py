"""The tables of `fleetd.toml` as frozen structs, with their defaults."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec
from msgspec import Struct

from fleetd.config.units import (
    BaseUrl,
    Bind,
    Feeds,
    Keep,
    MaxDisk,
    Name,
    Network,
    Seconds,
    Size,
)
from fleetd.secrets import Secret, Secrets, Text
from fleetd.taking import Taking
from fleetd.when import Zone

DAY, HOUR = 86_400.0, 3600.0


class BadKeyError(ValueError):
    """A value that is wrong beside the others of its table."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(why)
        self.key = key


def within(key: str, value: float | None, low: float, high: float) -> None:
    """Complain about a number that is given and out of its bounds."""
    if value is not None and not low <= value <= high:
        raise BadKeyError(key, f"takes something between {low} and {high}")


class Part(Struct, frozen=True):
    """The keys of a table that belong to its plug-in, as they stand in the file."""

    where: tuple[str, ...]
    values: dict[str, Any]
    common: tuple[str, ...] = ()

    def __repr__(self) -> str:  # a `plain:` secret may be among the values
        return f"Part({'.'.join(self.where)}, {len(self.values)} keys)"


class Daemon(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the log lives, and how fleetd speaks."""

    data: Path
    timezone: Zone = Zone("local")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"


class Webhooks(Struct, frozen=True, forbid_unknown_fields=True):
    """The door that vendors push to."""

    bind: tuple[Bind, ...] = (Bind("127.0.0.1:8780"),)
    public_url: BaseUrl = BaseUrl("")
    trusted_proxies: tuple[Network, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    max_body: Size = Size(1 << 20)
    max_in_flight: Size = Size(32 << 20)
    answer_within: Seconds = Seconds(2.5)

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            missing = "tls_key" if self.tls_key is None else "tls_cert"
            raise BadKeyError(missing, "tls_cert and tls_key go together")
        within("max_body", self.max_body, Size(1 << 10), Size(1 << 30))
        if self.max_in_flight < self.max_body:
            raise BadKeyError(
                "max_in_flight", "less than max_body holds no body at all"
            )
        within("answer_within", self.answer_within, Seconds(0.1), Seconds(60))


class Status(Struct, frozen=True, forbid_unknown_fields=True):
    """The port for health, metrics and status."""

    bind: tuple[Bind, ...] = (Bind("127.0.0.1:8787"),)
    token: Secret | None = None

    def __post_init__(self) -> None:
        outside = [bind for bind in self.bind if not bind.local]
        if outside and self.token is None:
            why = f"{outside[0]} can be reached from outside: give status.token as well"
            raise BadKeyError("bind", why)


class Store(Struct, frozen=True, forbid_unknown_fields=True):
    """How much the log keeps, and how long."""

    max_disk: MaxDisk = MaxDisk(0)
    keep: Keep = Keep(default=Seconds(30 * DAY))
    keep_raw: Seconds = Seconds(7 * DAY)
    dedupe_window: Seconds = Seconds(7 * DAY)
    keep_ledger: Seconds = Seconds(400 * DAY)

    def __post_init__(self) -> None:
        within("dedupe_window", self.dedupe_window, Seconds(HOUR), Seconds(400 * DAY))


class Auth(Struct, frozen=True, forbid_unknown_fields=True):
    """How a sender that cannot sign proves itself; all that is given must hold."""

    key: Secrets | None = None
    header: dict[str, Secret] = {}
    addresses: tuple[Network, ...] = ()

    def __post_init__(self) -> None:
        if not (self.key or self.header or self.addresses):
            raise BadKeyError("", "takes key, header or addresses")


class Source(Struct, frozen=True, forbid_unknown_fields=True):
    """Where data comes from; `settings` are the provider's own keys, once fitted."""

    beside: ClassVar[tuple[str, ...]] = ("own", "settings")
    provider: str
    token: Secret | None = None
    webhook_secret: Secrets | None = None
    auth: Auth | None = None
    feeds: Feeds | None = None
    since: str | None = None
    lookback: Seconds | None = None
    tags: tuple[str, ...] = ()
    org: str | None = None
    remove_after: int = 3
    remove_brake: float = 0.1
    base_url: BaseUrl | None = None
    reconcile: Seconds = Seconds(HOUR)
    timeout: Seconds | None = None
    connect_timeout: Seconds = Seconds(10)
    max_page: Size = Size(64 << 20)
    ca: Path | None = None
    ca_only: bool = False
    proxy: Text | None = None
    was: Name | None = None
    own: Part = Part((), {})
    settings: Any = None

    def __post_init__(self) -> None:
        within("reconcile", self.reconcile, Seconds(10), Seconds(30 * DAY))
        within("timeout", self.timeout, Seconds(1), Seconds(600))
        within("connect_timeout", self.connect_timeout, Seconds(0.1), Seconds(120))
        within("max_page", self.max_page, Size(64 << 10), Size(1 << 30))
        if self.ca_only and self.ca is None:
            raise BadKeyError("ca_only", "believes nobody without `ca`")
        within("lookback", self.lookback, Seconds(0), Seconds(31 * DAY))
        within("remove_after", self.remove_after, 1, 1000)
        within("remove_brake", self.remove_brake, 0.0, 1.0)
        for key in ("tags", "org"):
            found = getattr(self, key)
            if any(
                not one.strip()
                for one in ([found] if key == "org" else found)
                if one is not None
            ):
                raise BadKeyError(key, "takes names or ids, not nothing")

    @property
    def wanted(self) -> frozenset[str]:
        """Its tags as they are compared: in small letters."""
        return frozenset(one.strip().lower() for one in self.tags)

    @property
    def receives(self) -> bool:
        """Whether its webhook path exists at all."""
        return self.webhook_secret is not None or self.auth is not None


class Vehicles(Struct, frozen=True, forbid_unknown_fields=True):
    """The fleet's own list of its vehicles."""

    file: Path | None = None


class SinkTable(Struct, frozen=True, forbid_unknown_fields=True):
    """Where data goes; `settings` are the sink's own `Config`, once fitted."""

    beside: ClassVar[tuple[str, ...]] = ("own", "settings")
    kind: str
    takes: tuple[str, ...] | None = None
    sources: tuple[str, ...] | None = None
    vehicles: tuple[str, ...] = ()
    rate: float | None = None
    batch: int | None = None
    linger: Seconds | None = None
    parallel: int = 1
    hold: Seconds = Seconds(14 * DAY)
    max_age: Seconds = Seconds(3600)
    start: Literal["now", "oldest"] | None = None
    was: Name | None = None
    own: Part = Part((), {})
    settings: Any = None

    def __post_init__(self) -> None:
        within("batch", self.batch, 1, 10_000)
        within("parallel", self.parallel, 1, 64)
        within("rate", self.rate, 0.0001, 100_000)
        within("hold", self.hold, Seconds(HOUR), Seconds(1000 * DAY))
        within("linger", self.linger, Seconds(0), Seconds(HOUR))

    def taking(self, takes: Iterable[str]) -> Taking:
        """What it takes, given what the sink takes by itself."""
        kinds = takes if self.takes is None else self.takes
        return Taking(frozenset(kinds), frozenset(self.sources or ()), self.vehicles)


class Row(Struct, frozen=True):
    """One vehicle of the fleet's own list."""

    provider: str
    id: str
    fleet_number: str = ""
    vin: str = ""
    plate: str = ""


class House(Struct, frozen=True):
    """The whole file."""

    beside: ClassVar[tuple[str, ...]] = ("path", "lines", "roster")
    daemon: Daemon
    webhooks: Webhooks = Webhooks()
    status: Status = Status()
    store: Store = Store()
    vehicles: Vehicles = Vehicles()
    sources: dict[str, Source] = {}
    sinks: dict[str, SinkTable] = {}
    path: Path = Path("fleetd.toml")
    lines: dict[tuple[str, ...], int] = {}
    roster: tuple[Row, ...] = ()  # what stands in `vehicles.file`


def keys_in(table: type[Struct]) -> tuple[str, ...]:
    """The keys an operator may write there."""
    beside: tuple[str, ...] = getattr(table, "beside", ())
    found = (field.encode_name for field in msgspec.structs.fields(table))
    return tuple(name for name in found if name not in beside)
