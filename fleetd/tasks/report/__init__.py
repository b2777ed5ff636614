"""Answers what is asked about fleetd: health, metrics, status, events; changes nothing."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import apsw
import msgspec
import trio

from fleetd.config import Bind
from fleetd.errors import FleetdError, FullError, StoreError, UsageError
from fleetd.masking import MASK
from fleetd.metrics import CONTENT_TYPE
from fleetd.store import small
from fleetd.tasks.report import api, document, exposition
from fleetd.tasks.report.asked import Asked
from fleetd.tasks.report.rows import Live, Rows, look
from fleetd.tasks.report.shape import Document
from fleetd.web import Handler, Request, Response, complaint

if TYPE_CHECKING:
    from fleetd.tasks.board import Board

__all__ = ["Document", "Reports", "handler"]
WRITER_S = 10.0
LONGEST_WAIT = 60.0
FRESH_S = 1.0
MOST_PARAMS = 32
ALIASES = {"/live": "/healthz", "/ready": "/readyz"}


def handler(board: Board, token: str | None, binds: Iterable[Bind]) -> Handler:
    """The status port: read-only, for whoever may ask there."""
    reports, hosts = Reports(board), Hosts(binds)

    async def answer(request: Request) -> Response:
        if not hosts.meant(request):
            return complaint(421, "this is not the name or address fleetd is bound to")
        if token is not None and not allowed(request, token):
            return complaint(
                401, "a token is needed", (("WWW-Authenticate", "Bearer"),)
            )
        return await reports.answer(request)

    return answer


class Hosts:
    """Which names a request may be for: what is bound, so that no foreign page asks.

    Bound everywhere it goes by this box's name in whatever domain: to look the domain up
    could hold up all webhooks for as long as DNS does not answer.
    """

    def __init__(self, binds: Iterable[Bind]) -> None:
        found = {bind.host.lower() for bind in binds}
        self._any = bool(found & {"0.0.0.0", "::", "*"})  # noqa: S104  a comparison
        if self._any or any(bind.local for bind in binds if bind.host):
            found |= {"localhost", "127.0.0.1", "::1"}
        self._names = found
        self._own = first_label(socket.gethostname().lower()) if self._any else ""

    def meant(self, request: Request) -> bool:
        """Whether the `Host` of a request is one of ours; unix sockets need none."""
        if request.peer == "unix":
            return True
        name = host_of(request.header("host"))
        anywhere = self._any and (is_address(name) or first_label(name) == self._own)
        return name in self._names or anywhere


def first_label(name: str) -> str:
    return name.partition(".")[0]


def host_of(header: str) -> str:
    """The name or address in a `Host` header, without its port."""
    name = header.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0]


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def allowed(request: Request, token: str) -> bool:
    """Whether the request carries the token, compared in constant time."""
    scheme, _, given = request.header("authorization").partition(" ")
    same = hmac.compare_digest(given.strip().encode(), token.encode())
    return same and scheme.lower() == "bearer"


class Reports:
    """Everything that may be asked; used by the status port and the control socket."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._doc: tuple[float, Document, Rows, Live] | None = None
        self._checked: tuple[float, str] = (-1e9, "")
        self._lock = trio.Lock()

    async def answer(self, request: Request) -> Response:
        """One question; every secret is masked in what goes out."""
        if request.method not in {"GET", "HEAD"}:
            return complaint(405, "ask with GET", (("Allow", "GET, HEAD"),))
        try:
            found = await self._answer(request)
        except UsageError as bad:
            return complaint(400, MASK.mask(str(bad)))
        except FleetdError as bad:
            return complaint(503, MASK.mask(str(bad)))
        return msgspec.structs.replace(found, body=MASK.mask(found.body))

    async def _answer(self, request: Request) -> Response:
        path = ALIASES.get(request.path, request.path)
        fixed = {
            "/healthz": self.healthz, "/readyz": self.readyz, "/health": self.health,
            "/metrics": self.metrics, "/api/status": self.status,
        }  # fmt: skip
        if path in fixed:
            return await fixed[path]()
        if path in api.ANSWERS:
            return await self.asked(path, params_of(request.query))
        paths = ", ".join([*fixed, *api.ANSWERS])
        return complaint(404, f"nothing here; there are: {paths}")

    async def healthz(self) -> Response:
        """200 while the loop turns and the writer answers; a full disk counts."""
        why = await self.stuck()
        if why:
            return complaint(503, why)
        return Response(200, b'{"ok":true}')

    async def readyz(self) -> Response:
        """200 while a webhook would be taken in."""
        why = self._board.refusing() or await self._slow()
        if why:
            return complaint(503, why)
        return Response(200, b'{"ready":true}')

    async def _slow(self) -> str:
        """Why a webhook would not be on the disk in time; empty where it would."""
        within = self._board.house.webhooks.answer_within
        try:
            await self._board.store.join(small.Nothing(), within=within)
        except TimeoutError:
            return f"the disk takes longer than {within} (webhooks.answer_within)"
        return ""

    async def health(self) -> Response:
        """The status document; 503 when unhealthy, for monitors that see only that."""
        doc, _, _ = await self.document()
        status = 503 if doc.state == "unhealthy" else 200
        return Response(status, msgspec.json.encode(doc))

    async def status(self) -> Response:
        doc, _, _ = await self.document()
        return Response(200, msgspec.json.encode(doc))

    async def metrics(self) -> Response:
        doc, rows, live = await self.document()
        text = exposition.page(doc, rows.snap, live, self._board.metrics)
        return Response(200, text, CONTENT_TYPE)

    async def document(self) -> tuple[Document, Rows, Live]:
        """The state of everything; asked often, it is looked at once a second."""
        async with self._lock:
            now = trio.current_time()
            if self._doc is None or now - self._doc[0] >= FRESH_S:
                with suppress(FleetdError):
                    await self._board.freshen()
                live = self._board.live()
                stuck = await self.stuck()
                if stuck:
                    live = msgspec.structs.replace(
                        live, refusing=live.refusing or stuck
                    )
                house = self._board.house
                rows = await self._read(partial(look, house=house, live=live))
                doc = document.document(house, live, rows)
                self._doc = now, doc, rows, live
            return self._doc[1:]

    async def stuck(self) -> str:
        """Why the writer does not answer; asked at most once a second."""
        at, why = self._checked
        if trio.current_time() - at < FRESH_S:
            return why
        why = "the log's writer has not answered for 10 s"
        with trio.move_on_after(WRITER_S):
            try:
                await self._board.store.join(small.Nothing())
                why = ""
            except FullError:
                why = ""
            except StoreError as bad:
                why = str(bad)
        self._checked = trio.current_time(), why
        return why

    async def asked(self, path: str, params: Mapping[str, str]) -> Response:
        """A question to the log, and with `wait` its answer once there is something."""
        board = self._board
        asked = Asked(board.house, board.world.now(), params)
        until = trio.current_time() + min(asked.whole("wait", 0), LONGEST_WAIT)
        while True:
            seen = board.store.newest
            found = await self._read(partial(api.ANSWERS[path], asked))
            left = until - trio.current_time()
            quiet = (
                path == "/api/events" and found.get("events") == [] and found["done"]
            )
            if not quiet or left <= 0 or board.ending:
                return Response(200, api.encode(found))
            with trio.move_on_after(left):
                if board.store.newest == seen:
                    await board.store.wait_for_growth()

    async def _read(self, work: Any) -> Any:
        try:
            return await self._board.store.reading(lambda reader: work(reader.db))
        except apsw.Error as bad:
            raise StoreError(f"the log cannot be read: {bad}") from bad


def params_of(query: str) -> dict[str, str]:
    """The parameters of a query, or `UsageError`."""
    try:
        return dict(
            parse_qsl(query, keep_blank_values=True, max_num_fields=MOST_PARAMS)
        )
    except ValueError as bad:
        raise UsageError(f"too many parameters: at most {MOST_PARAMS}") from bad
