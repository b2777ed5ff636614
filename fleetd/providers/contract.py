"""What a vendor's file may say: pure functions over bytes, no network and no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from fleetd.event import AnyEvent, Record
from fleetd.web import Request


class Ask(Struct, frozen=True):
    """One request to the vendor, said and not yet sent. `path` is below the base URL."""

    path: str
    params: Mapping[str, str] = {}
    method: str = "GET"
    json: Any = None
    headers: Mapping[str, str] = {}


class Page(Struct, frozen=True):
    """What an answer held: records, where the feed goes on, and whether more waits now.

    `complete` is True only on the page that ends a whole listing.
    """

    records: Sequence[Record]
    bookmark: str | None = None
    more: bool = False
    complete: bool = False


class Unpacked(Struct, frozen=True):
    """A webhook body split into records; `empty` counts what says nothing (probes)."""

    records: Sequence[Record]
    empty: int = 0


Verify = Callable[[Request, Sequence[str]], datetime | None]
Unpack = Callable[[Request], Unpacked]
Normalize = Callable[[bytes], Iterable[AnyEvent]]


class Webhook(Struct, frozen=True):
    """The push half of a vendor.

    `verify(request, secrets)` answers when the request was signed (None where the vendor
    signs no time) or raises `SignatureError`. `unpack` splits the body: a body that is
    not what was promised raises `PayloadError` and becomes a dead letter with a 200.
    `refusal` is the vendor's answer to a bad signature, `keep` the headers worth
    keeping beside the bytes (lower case; never one that holds a secret), `sign` makes
    the headers of a sample for `fleetd send`. `configure` takes the source's own keys
    (`[sources.x.verify]` …) for vendors whose signature is a matter of configuration,
    and gives the webhook as configured.
    """

    verify: Verify
    unpack: Unpack
    sign: Callable[[bytes, str, datetime], Mapping[str, str]]
    refusal: int = 401
    keep: tuple[str, ...] = ("content-type", "user-agent")
    good_secret: Callable[[str], str | None] = lambda _secret: None


class Feed(Struct, frozen=True):
    """One endpoint worth asking again and again.

    `ask(bookmark, now)` says the next request, or None when there is nothing to ask;
    `unpack(ask, body, now)` reads its answer. `begin(moment)` is the bookmark that
    makes a new source read back to then; without it a feed has no past.
    """

    name: str
    every: float
    ask: Callable[[str | None, datetime], Ask | None]
    unpack: Callable[[Ask, bytes, datetime], Page]
    begin: Callable[[datetime], str] | None = None


class Provider(Struct, frozen=True):
    """A vendor, declared: the last statement of its file.

    `normalize` maps a record's feed to the pure function that reads it. `secret_fields`
    names JSON keys, at any depth, whose values are masked before anything is stored.
    `answer` makes the vendor its own far side (the demo). `configured` gives the
    provider as one source's own extra keys shape it; `settings` is the struct of those.
    """

    name: str
    normalize: Mapping[str, Normalize]
    title: str = ""
    base_url: str = ""
    webhook: Webhook | None = None
    feeds: tuple[Feed, ...] = ()
    authorize: Callable[[str], Mapping[str, str]] | None = None
    secret_fields: frozenset[str] = frozenset()
    answer: Callable[[Ask, datetime], bytes] | None = None
    settings: type[Struct] | None = None
    configured: Callable[[Any], Provider] | None = None
    typed: bool = True  # it knows its types: an event of kind `other` is then drift
    where: str = ""  # where in the vendor's console a webhook is made
