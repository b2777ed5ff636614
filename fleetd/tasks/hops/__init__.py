"""Whether a vendor's webhook would get here: a probe to `public_url`, hop by hop."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from typing import TYPE_CHECKING

import httpx
import msgspec
import trio
from msgspec import Struct

from fleetd.errors import FleetdError
from fleetd.masking import MASK
from fleetd.reach import Proxies, Way
from fleetd.tasks.addresses import PORTS, address_of, to_paste
from fleetd.tasks.hops.trip import Heard, Trip, answered
from fleetd.tasks.hops.words import (
    ANSWER_S,
    CONNECT_S,
    LONGEST,
    LOOKUP_S,
    broken,
    is_ours,
    stranger,
)
from fleetd.tasks.listen import PATH
from fleetd.tasks.probes import HEADER, Arrival, Probe

if TYPE_CHECKING:
    from fleetd.tasks.board import Board

ALL_S = 20.0
QUEUED_S = 5.0  # what a relay may take after its own answer
SOON_D = 14  # a certificate that ends sooner is worth a word


class HopError(FleetdError):
    """A hop that a vendor's webhook would not get over."""


class Tested(Struct, frozen=True):
    """What came of a probe: the hops that were fine, the first that was not."""

    source: str
    url: str
    ok: bool
    said: str
    hops: tuple[str, ...] = ()
    failed: str = ""
    notes: tuple[str, ...] = ()


async def test(board: Board, source: str) -> Tested:
    """Send a probe the way a vendor's webhook comes, and say how far it got."""
    walk = Walk(board, source)
    failed = ""
    try:
        with trio.fail_after(ALL_S):
            await walk.go()
    except HopError as bad:
        failed = MASK.mask(str(bad))
    except trio.TooSlowError:
        failed = f"no whole answer in {ALL_S:g} s"
    line = " · ".join([*walk.hops, failed] if failed else walk.hops)
    url, notes = to_paste(board.house, source), tuple(walk.notes)
    return Tested(source, url, not failed, line, tuple(walk.hops), failed, notes)


class Walk:
    """The way of one probe, hop by hop."""

    def __init__(self, board: Board, source: str) -> None:
        self._board, self._source = board, source
        self._table = board.house.sources[source]
        self.hops: list[str] = []
        self.notes: list[str] = []
        self._trip = Trip()
        self._secure = False

    async def go(self) -> None:
        """Raise `HopError` at the first hop that does not hold."""
        whole = address_of(self._board.house, self._source)
        if not whole:
            raise HopError(
                "webhooks.public_url is not set: no vendor can send anything"
            )
        url = httpx.URL(whole)
        await self._look_up(url)
        if url.scheme != "https":
            self.notes.append("no TLS (http): most vendors send to https only")
        body = msgspec.json.encode({"fleetd": "probe", "source": self._source})
        receives = self._table.receives
        probe, heard = await self._send(url, body if receives else b"")
        if probe.arrival is None and heard is not None and is_ours(heard):
            again, _ = await self._send(url, b"")  # goes in by any path
            probe.arrival = again.arrival
        self._judge(probe, heard)
        if not receives:
            self.notes.append(
                f"{self._source} has no webhook_secret yet: its path is 404 to vendors"
            )

    # the name

    async def _look_up(self, url: httpx.URL) -> None:
        if proxy := Proxies("", self._board.world.environ).of(url):
            where = httpx.URL(proxy)
            port = where.port or PORTS.get(where.scheme)
            self.hops.append(f"through the proxy {where.host}:{port}")
            return
        if is_address(url.host):
            return
        with trio.move_on_after(LOOKUP_S) as limit:
            found = await addresses(url.host)
        if limit.cancelled_caught:
            raise HopError(f"DNS: {url.host} is not told in {LOOKUP_S:g} s")
        self.hops.append("DNS ok")
        inner = [one for one in found if not ipaddress.ip_address(one).is_global]
        if inner and url.host != "localhost":
            self.notes.append(
                f"{url.host} is {inner[0]} as seen from here, an address of the inside: "
                "the way that vendors come by was not tried"
            )

    # the request

    async def _send(self, url: httpx.URL, body: bytes) -> tuple[Probe, Heard | None]:
        """The probe as it fared, and what answered; `HopError` where nothing of either."""
        board, headers = self._board, self._headers()
        way = Way(timeout=ANSWER_S, connect_timeout=CONNECT_S)
        options = way.options(board.world.environ)
        options["event_hooks"] = {}  # our own answer says nothing of clock and network
        trip = self._trip = Trip()
        heard = None
        with board.probes.sending(self._path(), headers, body) as (probe, token):
            more = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
            async with board.world.client(**options) as http:
                request = http.build_request(
                    "POST", url, content=body, extensions={"trace": trip.trace},
                    headers={**headers, **more, HEADER: token},
                )  # fmt: skip
                try:
                    heard = await answered(http, request)
                except httpx.HTTPError as bad:
                    self._secured()
                    if probe.arrival is None:
                        raise HopError(broken(bad, trip, url)) from bad
            self._secured()
            if heard is not None and heard.status < 300:
                with trio.move_on_after(QUEUED_S):
                    await probe.arrived.wait()
        return probe, heard

    def _path(self) -> str:
        """The path under which it has to arrive."""
        auth = self._table.auth
        key = f"/{auth.key[0].reveal()}" if auth and auth.key else ""
        return f"{PATH}{self._source}{key}"

    def _headers(self) -> dict[str, str]:
        """The headers of a vendor's request that must not get lost.

        What proves the sender goes as it is. A signature only lends its name: what was
        signed, somebody on the way could send once more, as if the vendor had.
        """
        webhook, table = self._board.providers[self._source].webhook, self._table
        found: dict[str, str] = {}
        if webhook is not None and table.webhook_secret:
            secret, now = table.webhook_secret[0].reveal(), self._board.world.now()
            for name, value in webhook.sign(b"", secret, now).items():
                found[name] = secrets.token_hex(20) if webhook.signs else value
        for name, one in table.auth.header.items() if table.auth else ():
            found[name] = one.reveal()
        return {k: v for k, v in found.items() if k.lower() != "content-type"}

    def _secured(self) -> None:
        """TLS came about, whatever came after."""
        expires = self._trip.expires
        if expires is None or self._secure:
            return
        self._secure = True
        days = (expires - self._board.world.now()).days
        self.hops.append(f"TLS ok, expires in {days} d")
        if days < SOON_D:
            self.notes.append(f"the certificate ends in {days} d: is it being renewed?")

    # what came of it

    def _judge(self, probe: Probe, heard: Heard | None) -> None:
        if (came := probe.arrival) is None:
            assert heard is not None
            raise HopError(stranger(heard))
        took = (came.at - self._trip.began) * 1000
        self.hops.append(f"reached this fleetd in {took:.0f} ms")
        if wrong := self._wrong(probe, came):
            raise HopError(wrong)
        if heard is None:
            raise HopError(
                "but its answer did not get back: the vendor would try again"
            )
        if heard.status != 200:
            back = f"but its answer came back as {heard.status}"
            raise HopError(
                f"{back}: a proxy changes it, and the vendor would try again"
            )
        self._mention(came)

    def _wrong(self, probe: Probe, came: Arrival) -> str:
        """What would be refused of a vendor's webhook that came like this."""
        if came.path != probe.path:
            was, wanted = self._without_key(came.path), self._without_key(probe.path)
            return f"but as {was} instead of {wanted}: a proxy changes the path"
        if came.method != "POST":
            return f"but as {came.method} instead of POST"
        if came.lost:
            names = ", ".join(came.lost)
            return f"but without the header {names} as it was: a proxy changes it"
        if came.body_changed:
            return "but with another body: no signature would fit it any more"
        if came.refused:
            return f"which takes nothing in just now: {came.refused}"
        return ""

    def _without_key(self, path: str) -> str:
        auth = self._table.auth
        for key in auth.key.reveal() if auth and auth.key else ():
            path = path.replace(key, "KEY")
        return MASK.mask(path)[:LONGEST]

    def _mention(self, came: Arrival) -> None:
        """What this says of the addresses that are let in."""
        auth = self._table.auth
        if auth is None or not auth.addresses:
            return
        if came.behind and came.for_whom == came.came_from:
            self.notes.append(
                f"a proxy at {came.came_from} is none of webhooks.trusted_proxies: all "
                "webhooks seem to come from there, which auth.addresses judges"
            )
        else:
            self.notes.append(
                f"it came from {came.for_whom}; that auth.addresses lets the vendor in "
                "cannot be proven from here"
            )


async def addresses(host: str) -> list[str]:
    """What a name stands for; `HopError` where nothing does."""
    try:
        found = await trio.socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as bad:
        if isinstance(bad, OSError) and bad.errno == socket.EAI_AGAIN:
            why = "cannot be looked up just now: is there a network?"
        else:
            why = "has no address: is the name right, and its record made?"
        raise HopError(f"DNS: {host} {why}") from bad
    return [str(one[4][0]).partition("%")[0] for one in found]


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
