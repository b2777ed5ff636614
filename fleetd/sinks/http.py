"""Any HTTP endpoint that takes JSON: batches by count, bytes and age, signed if asked.

A repeat is the same body under the same `Idempotency-Key`: harmless where the far side
remembers keys, or upserts by (`source`, `id`). Else a repeat is a second copy. After a
crash the requests of its last moment come again (those under way and three more). While
one record is held back unproven, or with `parallel` above 1 one request is behind the
rest, what went beyond it is not noted yet and comes again after any stop, an orderly one
too: as many events as are looked at together, up to 20 000. A batch that got no answer
five times is halved. Their events may then come cut otherwise, under other keys, and only
(`source`, `id`) tells them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar, Literal
from urllib.parse import urlsplit

import httpx
from msgspec import Struct

from fleetd.config.units import Seconds
from fleetd.errors import HeldError
from fleetd.lines import printed
from fleetd.secrets import Secret, Text
from fleetd.sinks.answers import ask, judge, post, says_no
from fleetd.sinks.contract import Batch, Receipt, Sink, Write
from fleetd.world import World

TYPES = {"json": "application/json", "ndjson": "application/x-ndjson"}
ADDRESS = re.compile(r"https?://[^\s/@?#]+([/?][^\s]*)?")
HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VALUE = re.compile(r"([!-~]([\t -~]*[!-~])?)?")
AGENT = "fleetd"
OWN_HEADERS = frozenset(
    {"content-length", "content-type", "host", "idempotency-key", "transfer-encoding"}
)


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """`[sinks.NAME]` with `kind = "http"`."""

    docs: ClassVar[dict[str, str]] = {
        "url": "where batches are posted; redirects are never followed",
        "headers": "headers to send, each a text or a secret",
        "signing_secret": "adds Standard Webhooks headers, signed with it",
        "format": "a JSON array, or one event a line",
        "timeout": "how long one request may take",
    }
    url: Text
    headers: dict[str, Text] = {}
    signing_secret: Secret | None = None
    format: Literal["json", "ndjson"] = "json"
    timeout: Seconds = Seconds(15)

    def __post_init__(self) -> None:
        if self.url.scheme == "literal" and not is_address(self.url.where):
            raise ValueError('url: takes an address such as "https://example.com/in"')
        if not 0.5 <= self.timeout <= 25:
            raise ValueError('timeout: between "500ms" and "25s"')
        for name, value in self.headers.items():
            if name.lower() in OWN_HEADERS:
                raise ValueError(f"headers: {name} is set by fleetd itself")
            if not HEADER.fullmatch(name):
                raise ValueError(f'headers: "{name}" is no name of a header')
            if value.scheme == "literal" and not VALUE.fullmatch(value.where):
                raise ValueError(f"headers: {name} takes plain ASCII text in one line")


def is_address(text: str) -> bool:
    """Whether requests can be sent there at all."""
    try:
        urlsplit(text)  # it sees half a bracket, which httpx takes for a name
        return bool(ADDRESS.fullmatch(text) and httpx.URL(text).host)
    except (ValueError, httpx.InvalidURL):
        return False


class Endpoint:
    """One configured endpoint with its client."""

    def __init__(self, config: Config, world: World, http: httpx.AsyncClient) -> None:
        self._config, self._world, self._http = config, world, http
        self._secret = key_of(config.signing_secret)

    async def write(self, batch: Batch) -> Receipt:
        """Send a batch as one request; the body is a function of its entries alone."""
        body = body_of(batch.lines or printed(batch.entries), self._config.format)
        return await post(
            self._http,
            self._config.url.reveal(),
            batch.entries,
            now=self._world.now,
            within=self._config.timeout,
            disagrees=says_no,
            content=body,
            headers=self._headers(batch.key, body),
        )

    def _headers(self, key: str, body: bytes) -> dict[str, str]:
        own = {
            "Content-Type": TYPES[self._config.format],
            "Idempotency-Key": key,
            "User-Agent": AGENT,
        }
        if self._secret is not None:
            stamp = str(int(self._world.now().timestamp()))
            own |= signature(self._secret, key, stamp, body)
        return own | revealed(self._config)


def body_of(lines: Sequence[bytes], form: str) -> bytes:
    """A JSON array, or a line for each."""
    if form == "ndjson":
        return b"\n".join(lines) + b"\n"
    return b"[" + b",".join(lines) + b"]"


def signature(secret: bytes, key: str, stamp: str, body: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks."""
    signed = b".".join((key.encode(), stamp.encode(), body))
    digest = base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
    return {
        "webhook-id": key,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{digest}",
    }


def key_of(secret: Secret | None) -> bytes | None:
    """`whsec_` and base64, as Standard Webhooks has it, or the text itself."""
    if secret is None:
        return None
    text = secret.reveal()
    if text.startswith("whsec_"):
        try:
            return base64.b64decode(text.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            return text.encode()
    return text.encode()


def revealed(config: Config) -> dict[str, str]:
    return {name: value.reveal() for name, value in config.headers.items()}


async def check(config: Config, world: World) -> str:
    """Ask for OPTIONS: it reaches the host and the credentials, and writes nothing."""
    async with world.client(timeout=None) as http:
        answer = await ask(
            http,
            "OPTIONS",
            config.url.reveal(),
            within=config.timeout,
            headers={"User-Agent": AGENT} | revealed(config),
        )
    if answer.status < 400 or answer.status in (401, 403, 407):
        try:
            judge(answer, (), world.now())
        except HeldError as refused:
            raise HeldError(str(refused), status=answer.status) from None
    return f"{answer.host} answers (OPTIONS {answer.status}); nothing was written"


@asynccontextmanager
async def open_http(config: Config, world: World, place: str) -> AsyncIterator[Write]:
    """A client for the life of the sink; `place` is not used."""
    del place
    async with world.client(timeout=None) as http:
        yield Endpoint(config, world, http).write


SINK = Sink(
    config=Config,
    open=open_http,
    batch=500,
    batch_bytes=1 << 20,
    linger=0.1,
    per_second=50.0,
    fastest=1000.0,
    burst=10,
    check=check,
)
