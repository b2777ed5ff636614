"""Every key of `fleetd.toml`: its type, default and meaning, for the README."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, UNSET, Struct
from msgspec.structs import FieldInfo

from fleetd.config.read import without_none
from fleetd.config.shape import (
    Auth,
    Daemon,
    SinkTable,
    Source,
    Status,
    Store,
    Vehicles,
    Webhooks,
    keys_in,
)

TABLES: Final[dict[str, type[Struct]]] = {
    "daemon": Daemon,
    "webhooks": Webhooks,
    "status": Status,
    "store": Store,
    "vehicles": Vehicles,
    "sources.NAME": Source,
    "sources.NAME.auth": Auth,
    "sinks.NAME": SinkTable,
}
PLAIN: Final = {str: "text", int: "number", float: "number", bool: "true or false"}
UNWRITTEN: Final = {  # what the code decides where the file says nothing
    "sources.NAME.feeds": "the provider's own",
    "sources.NAME.since": "now for positions, all for directories",
    "sources.NAME.base_url": "the provider's own",
    "sources.NAME.lookback": "the feed's own",
    "sources.NAME.timeout": "the provider's own: 30s, Motive 90s, Geotab 190s",
    "sources.NAME.proxy": "`HTTPS_PROXY` and its like, less `NO_PROXY`",
    "sources.NAME (sheets).columns": "by what headers are usually called",
    "sources.NAME (sheets).key": "the column that is `id`",
    "sinks.NAME.takes": "the sink's own",
    "sinks.NAME.sources": "all",
    "sinks.NAME.vehicles": "all",
    "sinks.NAME.rate": "the sink's limit",
    "sinks.NAME.batch": "the sink's own",
    "sinks.NAME.linger": "the sink's own",
    "sinks.NAME.start": "now for sinks that notify, else oldest",
    "sinks.NAME (slack).timezone": "daemon.timezone",
    "sinks.NAME (teams).timezone": "daemon.timezone",
    "sinks.NAME (email).timezone": "daemon.timezone",
}
DOCS: Final = {
    "daemon.data": "the folder of the log, the lock and the control socket",
    "daemon.timezone": "how typed times, days and reports are read; data is UTC",
    "daemon.log_level": "what is logged: this level and graver",
    "daemon.log_format": "`auto`: for people on a terminal, JSON elsewhere",
    "webhooks.bind": "where vendors' requests arrive: `host:port`, `[v6]:port`,"
    " `unix:/path`, or `systemd` (the socket named webhooks)",
    "webhooks.public_url": "what vendors are given, as `check` prints it",
    "webhooks.trusted_proxies": "whose `X-Forwarded-For` counts",
    "webhooks.tls_cert": "certificate chain, PEM; read again on reload",
    "webhooks.tls_key": "its key, PEM, without a passphrase",
    "webhooks.max_body": "the largest body taken, after inflation; more is 413",
    "webhooks.max_in_flight": "of all bodies being received; more is 503",
    "webhooks.answer_within": "no answer later than this: 503 where the disk is slower",
    "status.bind": "health, metrics and status; not loopback only with `token`",
    "status.token": "what a caller must send as `Authorization: Bearer`",
    "store.max_disk": "the law: what the log may take; `auto` is 20 % of the"
    " filesystem, at least 4 GiB",
    "store.keep": "how long events stay, or a table by kind with `default`; a wish",
    "store.keep_raw": "how long the vendors' own bytes stay; a wish",
    "store.dedupe_window": "how far back in device time a repeat is known as one",
    "store.keep_ledger": "how long the counts by hour stay",
    "sources.NAME.provider": "the vendor",
    "sources.NAME.token": "the API credential; the source polls when given",
    "sources.NAME.webhook_secret": "what webhooks are signed with; the path exists"
    " when given. A list while it is rotated",
    "sources.NAME.auth": "for senders that cannot sign; all that is given must hold",
    "sources.NAME.auth.key": "the last part of the path: `/webhooks/NAME/KEY`",
    "sources.NAME.auth.header": "headers that must be there, as `{ X-Key = SECRET }`",
    "sources.NAME.auth.addresses": "where requests may come from",
    "sources.NAME.feeds": "what is polled, and how often where that is to differ",
    "sources.NAME.since": "how far a new source reads back: a time word, or `all`",
    "sources.NAME.lookback": "how far behind where it stands a feed by time reads again:"
    " devices send late",
    "sources.NAME.tags": "only vehicles that bear one of these tags or groups (name or"
    " id as the vendor lists it), and those that no listing has told of yet",
    "sources.NAME.org": "the account's name or id: asked at start and every day, and"
    " nothing is taken from another one",
    "sources.NAME.remove_after": "in how many whole listings in a row a record must be"
    " missing to be taken for removed",
    "sources.NAME.remove_brake": "the part of all that may be removed at once; where it"
    " were more, none is",
    "vehicles.file": "the fleet's own list, CSV: provider, id, fleet_number, vin, plate;"
    " its number wins, its VIN fills in, and equal ones are one truck",
    "sources.NAME.base_url": "another API address, as for the EU",
    "sources.NAME.reconcile": "how often what was heard is compared with what the vendor"
    " lists, and the missing fetched",
    "sources.NAME.timeout": "how long an answer may let one wait for more of it;"
    " the whole may take four times as long",
    "sources.NAME.connect_timeout": "how long a connection may take to stand",
    "sources.NAME.max_page": "how large an answer may be, unpacked; one beyond it holds"
    " its feed; while one is read it takes some five times as much memory",
    "sources.NAME.ca": "certificates to trust beside the system's, PEM",
    "sources.NAME.ca_only": "trust those of `ca` alone",
    "sources.NAME.proxy": "`http://host:port` or https; as a secret where it has a"
    " password; `direct`: none, whatever the environment says",
    "sources.NAME.was": "the name it had before, so that its history stays its own",
    "sinks.NAME.kind": "the destination",
    "sinks.NAME.takes": "the kinds of events that go there",
    "sinks.NAME.sources": "the sources whose events go there",
    "sinks.NAME.vehicles": "globs over provider id, VIN and fleet number, any case",
    "sinks.NAME.rate": "requests a second; only lower than the known limit",
    "sinks.NAME.batch": "the most events in one request",
    "sinks.NAME.linger": "how long a batch waits to be fuller",
    "sinks.NAME.parallel": "requests at a time; a vehicle stays in order",
    "sinks.NAME.hold": "how long a sink that is stuck may pin the log",
    "sinks.NAME.max_age": "older events are not rung one by one (sinks that notify)",
    "sinks.NAME.start": "where a new sink begins; decided once",
    "sinks.NAME.was": "the name it had before, so that its cursor stays its own",
}


class Key(Struct, frozen=True):
    """One key an operator may write."""

    path: str
    type: str
    default: str
    doc: str


def keys() -> list[Key]:
    """All of ours, in the order of the file; plug-ins have more of their own."""
    return [
        one for where, table in TABLES.items() for one in keys_of(where, table, DOCS)
    ]


def keys_of(where: str, table: type[Struct], docs: Mapping[str, str]) -> Iterator[Key]:
    """The keys of one table; for a plug-in's struct too, with docs of its own."""
    names = keys_in(table)
    for field in msgspec.structs.fields(table):
        path = f"{where}.{field.encode_name}"
        if field.encode_name in names:
            kind = type_of(field.type)
            default = UNWRITTEN.get(path) or default_of(field)
            yield Key(path, kind, default, docs.get(path, ""))


def type_of(kind: Any) -> str:
    """A type in an operator's words."""
    kind = without_none(kind)
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ", ".join(f'"{one}"' for one in inside)
    if origin in (tuple, list):
        return f"list of {type_of(inside[0])}"
    if origin is dict:
        return f"table of {type_of(inside[1])}"
    if isinstance(kind, type) and issubclass(kind, Path):
        return "path"
    if isinstance(kind, type) and issubclass(kind, Struct):
        return "table"
    return str(getattr(kind, "word", None) or PLAIN.get(kind, str(kind)))


def default_of(field: FieldInfo) -> str:
    """A default as it would be written, `required`, or nothing where there is none."""
    if field.required:
        return "required"
    made = field.default
    if made is NODEFAULT:
        made = field.default_factory() if field.default_factory else None
    if made is None or made is UNSET or made in ((), {}, ""):
        return ""
    if isinstance(made, tuple):
        return "[" + ", ".join(f'"{one}"' for one in made) + "]"
    if isinstance(made, str) or hasattr(made, "word"):
        return f'"{made}"'
    return str(made)
