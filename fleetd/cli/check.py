"""Validate the config file and what it points to, and print the webhook URLs.

Secrets that only the service can see are said to be so, and pass. With --live every
source and sink gets one harmless call, the clock is compared and one fsync timed.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import trio
from msgspec import Struct

from fleetd import config, logs, providers, secrets, sinks
from fleetd.cli import _live
from fleetd.cli._live import Finding
from fleetd.config import House, Source
from fleetd.errors import ConfigError
from fleetd.masking import MASK
from fleetd.reach import Proxies, trusted
from fleetd.web.listeners import TLS
from fleetd.world import World

DONE, FAILED, CONFIG = 0, 1, 78
OTHERS = 0o077


class Hook(Struct, frozen=True):
    """Where a vendor is told to send to, and where in its console that is said."""

    source: str
    provider: str
    url: str
    where: str


class Verdict(Struct, frozen=True):
    """All that a check found."""

    file: str
    ok: bool
    errors: list[str] = []
    warnings: list[str] = []
    notes: list[str] = []
    webhooks: list[Hook] = []
    live: list[Finding] = []


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--live", action="store_true", help="also call every place")
    parser.add_argument("--json", action="store_true", help="one JSON document")


def main(chosen: argparse.Namespace) -> int:
    world = World()
    try:
        path = config.find(chosen.config, world.environ)
        house = config.fitted(config.load(path), providers.load, sinks.load)
    except ConfigError as bad:
        if not chosen.json:
            raise
        errors = MASK.mask(str(bad)).splitlines()
        show(Verdict(str(chosen.config or ""), ok=False, errors=errors), as_json=True)
        return CONFIG
    verdict = judge(house, world)
    if chosen.live and verdict.ok:
        logs.setup("error")
        live = trio.run(_live.call_everything, house, world)
        fine = all(one.ok for one in live)
        verdict = msgspec.structs.replace(verdict, live=live, ok=fine)
    show(verdict, as_json=chosen.json)
    if verdict.ok:
        return DONE
    return CONFIG if verdict.errors else FAILED


def judge(house: House, world: World) -> Verdict:
    """Everything that can be said without calling anybody."""
    seen = secrets.survey(house, world.environ)
    for secret, value in seen.found:
        secret.settle(value)
    errors = [config.placed(house, one) for one in seen.missing]
    notes = list(seen.unseen)
    try:
        config.judge_secrets(house, providers.load)
    except ConfigError as bad:
        errors += str(bad).splitlines()
    errors += proxies(house, world)
    for why, passes in [*certificates(house), *data_folder(house.daemon.data)]:
        (notes if passes else errors).append(
            why if passes else config.placed(house, why)
        )
    return Verdict(
        file=str(house.path),
        ok=not errors,
        errors=errors,
        warnings=[*seen.plain, *seen.short, *doubts(house)],
        notes=[*notes, *remarks(house)],
        webhooks=list(hooks(house)),
    )


def certificates(house: House) -> Iterator[tuple[str, bool]]:
    """What is wrong with files of certificates; True where the service may see more."""
    door = house.webhooks
    if door.tls_cert and door.tls_key:
        hidden = [one for one in (door.tls_cert, door.tls_key) if unseen(one)]
        try:
            if hidden:
                yield f"webhooks: {hidden[0]} is for the service to see", True
            else:
                TLS(door.tls_cert, door.tls_key)
        except ConfigError as bad:
            yield f"webhooks.tls_cert: {bad}", False
    for name, source in house.sources.items():
        if source.ca and unseen(source.ca):
            yield f"sources.{name}.ca: {source.ca} is for the service to see", True
            continue
        try:
            trusted(source.ca)
        except ConfigError as bad:
            yield f"sources.{name}.{bad}", False


def proxies(house: House, world: World) -> Iterator[str]:
    """What is wrong with the proxies of sources that poll, the environment's among them."""
    for name, source in house.sources.items():
        if not polls(source) or (source.proxy and not source.proxy.known):
            continue
        try:
            Proxies(source.proxy.reveal() if source.proxy else "", world.environ)
        except ConfigError as bad:
            yield config.placed(house, f"sources.{name}.{bad}")


def unseen(path: Path) -> bool:
    """Whether the file may be there for others, but not for us."""
    try:
        with path.open("rb"):
            return False
    except PermissionError:
        return True
    except OSError:
        return False


def data_folder(path: Path) -> Iterator[tuple[str, bool]]:
    """Whether the log can live there, as far as this user can tell."""
    there = path
    try:
        while not there.exists() and there != there.parent:
            there = there.parent
        is_folder = there.is_dir()
    except PermissionError:
        yield f"daemon.data: {path} is for the service to see", True
        return
    if not is_folder:
        yield f"daemon.data: {there} is not a folder", False
    elif not os.access(there, os.W_OK | os.X_OK):
        yield f"daemon.data: {there} is not writable by this user", True


def doubts(house: House) -> Iterator[str]:
    """What is allowed and probably not meant."""
    takings = [
        table.taking(sinks.load(table.kind).takes) for table in house.sinks.values()
    ]
    if not house.sources:
        yield "no sources: nothing will ever come in"
    if not house.sinks:
        yield "no sinks: events stay in the log and go nowhere"
    elif not any("safety" in taking.kinds for taking in takings):
        yield "no sink takes `safety`: crashes and SOS would ring nowhere"
    if house.webhooks.public_url.startswith("http://"):
        yield "webhooks.public_url is not https: vendors send nowhere else"
    for name, source in house.sources.items():
        if not source.receives and not polls(source):
            keys = "`webhook_secret` (receives) and no `token` (polls)"
            yield f"sources.{name}: no {keys}: nothing can come from it"
    if is_open(house.daemon.data):
        yield f"daemon.data: everybody may look into {house.daemon.data}: chmod 750 it"
    plain = any(one.scheme == "plain" for _key, one in secrets.find(house))
    if plain and house.path.stat().st_mode & OTHERS:
        yield f"{house.path} holds secrets and others can read it: chmod 600 it"


def is_open(folder: Path) -> bool:
    """Whether more than its owner and group get into a folder that is there."""
    try:
        return bool(folder.stat().st_mode & 0o007)
    except OSError:
        return False


def remarks(house: House) -> Iterator[str]:
    receiving = [name for name, one in house.sources.items() if one.receives]
    if receiving and not house.webhooks.public_url:
        yield "webhooks.public_url is not set: the URLs are this box's own"
    for name, source in house.sources.items():
        vendor = config.configured(source, providers.load)
        real = vendor.answer is None
        if real and vendor.webhook and polls(source) and not source.receives:
            yield f"sources.{name}: only polls (no webhook_secret: its path is 404)"


def polls(source: Source) -> bool:
    """Whether there is anything to ask, and the means to ask it."""
    vendor = config.configured(source, providers.load)
    return bool(vendor.feeds) and (source.token is not None or bool(vendor.answer))


def hooks(house: House) -> Iterator[Hook]:
    """What to paste at each vendor."""
    base = house.webhooks.public_url or own_url(house)
    for name, source in house.sources.items():
        if source.receives:
            vendor = config.configured(source, providers.load)
            key = "/KEY" if source.auth and source.auth.key else ""
            where = vendor.where
            if key:
                where = f"{where}; KEY is the value of sources.{name}.auth.key".strip(
                    "; "
                )
            url = f"{base}/webhooks/{name}{key}"
            yield Hook(name, vendor.title or vendor.name, url, where)


def own_url(house: House) -> str:
    scheme = "https" if house.webhooks.tls_cert else "http"
    return next(
        (f"{scheme}://{bind}" for bind in house.webhooks.bind if bind.port),
        f"{scheme}://localhost",
    )


def show(verdict: Verdict, *, as_json: bool) -> None:
    if as_json:
        body = msgspec.json.encode(MASK.deep(msgspec.to_builtins(verdict)))
        print(body.decode())
        return
    for line in lines(verdict):
        print(MASK.mask(line))


def lines(verdict: Verdict) -> Iterator[str]:
    """The verdict for people, what is wrong first."""
    yield verdict.file
    yield from (f"  error    {one}" for one in verdict.errors)
    yield from (f"  warning  {one}" for one in verdict.warnings)
    yield from (f"  note     {one}" for one in verdict.notes)
    for one in verdict.live:
        yield f"  {'ok' if one.ok else 'FAILED':<7}  {one.name}: {one.said}"
    if verdict.webhooks:
        yield "webhooks, to paste at each vendor:"
    for hook in verdict.webhooks:
        yield f"  {hook.source}  {hook.url}"
        yield f"      {hook.provider}: {hook.where or 'its webhook settings'}"
    yield "this will do" if verdict.ok else "this will not do"
