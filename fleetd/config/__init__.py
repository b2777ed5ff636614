"""`fleetd.toml` into frozen structs; secrets by place, not value."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from fleetd import secrets, when
from fleetd.config.read import Reader
from fleetd.config.report import Report, Where, lines_of
from fleetd.config.roster import read_roster
from fleetd.config.shape import (
    Auth,
    Daemon,
    House,
    Part,
    SinkTable,
    Source,
    Status,
    Store,
    Vehicles,
    Webhooks,
    keys_in,
)
from fleetd.config.units import (
    NAME,
    NAMES,
    BaseUrl,
    Bind,
    Feeds,
    Keep,
    MaxDisk,
    Name,
    Network,
    Seconds,
    Size,
    Url,
    nearest,
    unknown,
)
from fleetd.errors import ConfigError, UsageError
from fleetd.event import KINDS
from fleetd.masking import MASK
from fleetd.world import wall_clock

__all__ = [
    "Auth",
    "BaseUrl",
    "Bind",
    "Daemon",
    "Feeds",
    "House",
    "Keep",
    "MaxDisk",
    "Name",
    "Network",
    "Part",
    "Seconds",
    "SinkTable",
    "Size",
    "Source",
    "Status",
    "Store",
    "Url",
    "Vehicles",
    "Webhooks",
    "configured",
    "find",
    "fitted",
    "judge_secrets",
    "load",
    "nearest",
    "parse",
    "placed",
    "ready",
    "warnings",
]  # fmt: skip
LARGEST = 1 << 20
SYSTEM = Path("/etc/fleetd/fleetd.toml")
ROOMS: dict[str, type[Struct]] = {
    "daemon": Daemon,
    "webhooks": Webhooks,
    "status": Status,
    "store": Store,
    "vehicles": Vehicles,
}
TABLES = (*ROOMS, "sources", "sinks")
AT_LINE = re.compile(r" \(at line (\d+), column (\d+)\)$")
Load = Callable[[str], Any]  # `providers.load` or `sinks.load`


def ready(
    path: Path | None, environ: Mapping[str, str], vendor: Load, sink: Load
) -> House:
    """The file as a daemon needs it: read, fitted, and every secret found."""
    house = fitted(load(path, environ), vendor, sink)
    try:
        secrets.resolve(house, environ)
    except ConfigError as bad:
        lines = str(bad).splitlines()
        raise ConfigError("\n".join(placed(house, one) for one in lines)) from bad
    judge_secrets(house, vendor)
    return house


def load(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> House:
    """Read the file, or raise `ConfigError` with all that is wrong in it."""
    path = find(path, environ)
    try:
        with path.open("rb") as file:
            body = file.read(LARGEST + 1)
        text = body.decode("utf-8-sig")
    except PermissionError as bad:
        advice = "the user that runs fleetd has to read it (chgrp fleetd, chmod 640)"
        raise ConfigError(f"{path}: {bad.strerror}; {advice}") from bad
    except OSError as bad:
        raise ConfigError(f"{path}: {bad.strerror}") from bad
    except UnicodeDecodeError as bad:
        line = body.count(b"\n", 0, bad.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text") from bad
    if len(body) > LARGEST:
        raise ConfigError(f"{path}: over {LARGEST} bytes")
    return parse(text, path)


def find(given: Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """Which file: the one given, `$FLEETD_CONFIG`, `./fleetd.toml`, the one in /etc."""
    named = given or (environ.get("FLEETD_CONFIG") or None)
    if named:
        return Path(named).absolute()
    for path in (Path("fleetd.toml"), SYSTEM):
        if path.exists():
            return path.absolute()
    raise ConfigError(f"no fleetd.toml here and no {SYSTEM}; `fleetd init` writes one")


def data_of(path: Path) -> Path | None:
    """The data folder that a file names, whatever else is wrong in it."""
    try:
        values = tomllib.loads(path.read_text("utf-8-sig"))
        return path.parent / Path(values["daemon"]["data"]).expanduser()
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def parse(text: str, path: Path) -> House:
    """What stands in the text of a config file at that path."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as bad:
        at = AT_LINE.search(str(bad))
        line = f":{at[1]}" if at else ""
        raise ConfigError(f"{path}{line}: {AT_LINE.sub('', str(bad))}") from bad
    except RecursionError as bad:
        raise ConfigError(f"{path}: nested too deeply") from bad
    report = Report(path, lines_of(text))
    for name in values:
        if name not in TABLES:
            report.unknown((name,), TABLES)
    reader = Reader(report, path.parent)
    rooms = {
        name: reader.table(kind, values.get(name, {}), (name,))
        for name, kind in ROOMS.items()
    }
    sources = _named(reader, Source, values, "sources")
    sinks = _named(reader, SinkTable, values, "sinks")
    report.end()
    house = House(**rooms, sources=sources, sinks=sinks, path=path, lines=report.lines)  # type: ignore[arg-type]
    _agree(house, report)
    report.end()
    return house


def _named(
    reader: Reader, kind: type[Struct], values: Mapping[str, Any], room: str
) -> dict[str, Any]:
    """The tables below `[sources]` or `[sinks]`; what is not ours is its plug-in's."""
    tables = values.get(room, {})
    if not isinstance(tables, dict):
        reader.report.add((room,), f"takes tables: [{room}.NAME]")
        return {}
    found, common = {}, keys_in(kind)
    for name, table in tables.items():
        where = (room, name)
        if not NAME.fullmatch(name):
            reader.report.add(where, NAMES)
        if not isinstance(table, dict):
            reader.report.add(where, f"takes a table: [{room}.{name}]")
            continue
        ours = {key: one for key, one in table.items() if key in common}
        rest = {key: one for key, one in table.items() if key not in common}
        first = common[0]
        if first not in table:
            reader.missing((*where, first), tuple(rest))
            continue
        part = Part(where, rest, common)
        found[name] = reader.table(kind, ours, where, extra={"own": part})
    return found


def _agree(house: House, report: Report) -> None:
    """Complain where tables that are right by themselves do not fit together."""
    for room, tables in (("sources", house.sources), ("sinks", house.sinks)):
        for name, table in tables.items():
            if table.was is not None and table.was in tables:
                report.add((room, name, "was"), f'"{table.was}" is still there')
    for room, bind in _twice(house):
        report.add((room, "bind"), f"{bind} is bound already, and only once to be had")
    for name, source in house.sources.items():
        if source.since is not None and source.since != "all":
            try:
                when.resolve(source.since, wall_clock(), house.daemon.timezone.info)
            except UsageError as bad:
                report.add(("sources", name, "since"), f'{bad}, or "all"')
    for name, sink in house.sinks.items():
        for why, key in _routing(sink, tuple(house.sources)):
            report.add(("sinks", name, key), why)


def _twice(house: House) -> Iterator[tuple[str, str]]:
    """Addresses that a room names though it, or the one before, has them already."""
    seen: set[str] = set()
    for room, binds in (
        ("webhooks", house.webhooks.bind),
        ("status", house.status.bind),
    ):
        for bind in binds:
            if bind in seen and bind != "systemd":
                yield room, bind
            seen.add(bind)


def _routing(sink: SinkTable, sources: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for kind in sink.takes or ():
        if kind not in KINDS[1:]:
            yield unknown("kind", kind, KINDS[1:]), "takes"
    for source in sink.sources or ():
        if source not in sources:
            yield unknown("source", source, sources), "sources"
    for key in ("takes", "sources"):
        if getattr(sink, key) == ():
            yield "is empty, so nothing would ever go there; leave it out for all", key


def fitted(house: House, vendor: Load, sink: Load) -> House:
    """The house with each plug-in's own keys read into its `settings`.

    `vendor` and `sink` give the plug-in of a name, or raise `ConfigError`.
    """
    report = Report(house.path, house.lines)
    reader = Reader(report, house.path.parent)
    sources = {
        name: _fit_source(reader, source, vendor)
        for name, source in house.sources.items()
    }
    zone = house.daemon.timezone
    sinks = {
        name: _fit_sink(reader, table, sink, zone)
        for name, table in house.sinks.items()
    }
    roster = read_roster(house, vendor, report)
    report.end()
    return msgspec.structs.replace(house, sources=sources, sinks=sinks, roster=roster)


def _fit_source(reader: Reader, source: Source, vendor: Load) -> Source:
    where, report = source.own.where, reader.report
    try:
        provider = vendor(source.provider)
    except ConfigError as bad:
        report.add((*where, "provider"), str(bad))
        return source
    before = len(report.bad)
    settings = _settings(reader, provider.settings, source.own)
    if provider.configured:
        if len(report.bad) > before:
            return source
        try:
            provider = provider.configured(settings)
        except (ConfigError, ValueError) as bad:
            report.told(
                where, str(bad), (*own_keys(provider.settings), *source.own.common)
            )
            return source
    for key, why in _useless(source, provider):
        report.add((*where, key), why)
    return msgspec.structs.replace(source, settings=settings)


def own_keys(settings: type[Struct] | None) -> tuple[str, ...]:
    return keys_in(settings) if settings else ()


def _useless(source: Source, provider: Any) -> Iterator[tuple[str, str]]:
    """Keys that this provider has no use for."""
    feeds = tuple(feed.name for feed in provider.feeds)
    for feed in source.feeds or ():
        if feed not in feeds:
            yield "feeds", unknown("feed", feed, feeds)
    if source.token is not None and not feeds:
        yield "token", f"{source.provider} has nothing to poll"
    if source.org is not None and provider.whoami is None:
        yield "org", f"{source.provider} does not say whose account it is"
    if source.lookback is not None and not feeds:
        yield "lookback", f"{source.provider} has nothing to poll"
    if source.receives and provider.webhook is None:
        key = "auth" if source.webhook_secret is None else "webhook_secret"
        yield key, f"{source.provider} sends no webhooks"


def _fit_sink(
    reader: Reader, table: SinkTable, sink: Load, zone: when.Zone
) -> SinkTable:
    where, report = table.own.where, reader.report
    try:
        plug = sink(table.kind)
    except ConfigError as bad:
        report.add((*where, "kind"), str(bad))
        return table
    if table.rate is not None and table.rate > plug.most:
        limit = f"at most {plug.most:g} requests a second, what {table.kind} allows"
        report.add((*where, "rate"), limit)
    own = table.own
    if "timezone" in own_keys(plug.config) and "timezone" not in own.values:
        values = {**own.values, "timezone": str(zone)}  # the daemon's, unless told
        own = msgspec.structs.replace(own, values=values)
    settings = _settings(reader, plug.config, own)
    return msgspec.structs.replace(table, settings=settings)


def _settings(reader: Reader, kind: type[Struct] | None, own: Part) -> Struct | None:
    """A plug-in's own keys in its own struct; without a struct it has none."""
    if kind is not None:
        return reader.table(kind, own.values, own.where, known=own.common)
    for key in own.values:
        reader.report.unknown((*own.where, key), own.common)
    return None


def judge_secrets(house: House, vendor: Load) -> None:
    """Raise where a vendor knows that a secret cannot be one of its own."""
    report = Report(house.path, house.lines)
    for name, source in house.sources.items():
        provider = configured(source, vendor)
        webhook, token = provider.webhook, source.token
        if token is not None and token.known:
            why = provider.good_token(token.reveal())
            if why:
                report.add(("sources", name, "token"), MASK.mask(why))
        for secret in source.webhook_secret or ():
            if webhook is None or not secret.known:
                continue
            why = webhook.good_secret(secret.reveal())
            if why:
                report.add(("sources", name, "webhook_secret"), MASK.mask(why))
    report.end()


def configured(source: Source, vendor: Load) -> Any:
    """The provider of a fitted source, as the source's own keys shape it."""
    provider = vendor(source.provider)
    return provider.configured(source.settings) if provider.configured else provider


def warnings(house: House) -> list[str]:
    """What is allowed and still worth a line at every start."""
    return [
        f"{key}: the secret stands in the config file itself (plain:)"
        for key, secret in secrets.find(house)
        if secret.scheme == "plain"
    ]


def placed(house: House, said: str) -> str:
    """`sources.north.token: why`, with the file and the line in front."""
    key: Where = tuple(said.partition(":")[0].split("."))
    line = Report(house.path, house.lines).line(key)
    return f"{house.path}:{line}: {said}" if line else f"{house.path}: {said}"
