"""The control socket: everything the status port tells, and whatever changes something."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from fleetd.errors import (
    ConfigError,
    FleetdError,
    PayloadError,
    StoreError,
    UsageError,
)
from fleetd.masking import MASK
from fleetd.tasks.control import (
    backfill,
    fetch,
    letters,
    places,
    replay,
    sample,
    webhook,
)
from fleetd.tasks.control.order import Order
from fleetd.tasks.report import Reports
from fleetd.web import Handler, Request, Response

if TYPE_CHECKING:
    from fleetd.tasks.board import Board

PATH = "/control/"
ACTIONS: Mapping[str, Callable[[Board, Order], Awaitable[Any]]] = {
    "pause": places.pause,
    "resume": places.resume,
    "skip": places.skip,
    "forget": places.forget,
    "replay": replay.replay,
    "backfill": backfill.backfill,
    "fetch": fetch.fetch,
    "jobs": replay.change,
    "dead": letters.dead,
    "sign": sample.sign,
    "webhook": webhook.webhook,
}
STATUS: tuple[tuple[type[FleetdError], int, int], ...] = (
    (UsageError, 400, 2),  # what it is, the status, the command's exit status
    (ConfigError, 409, 78),
    (PayloadError, 422, 1),
    (StoreError, 503, 74),
    (FleetdError, 503, 1),
)
logger = structlog.get_logger()


def handler(board: Board) -> Handler:
    """The control socket: who may open it may do all of this."""
    reports = Reports(board)

    async def answer(request: Request) -> Response:
        if not request.path.startswith(PATH):
            return await reports.answer(request)
        if request.method != "POST":
            return refused(405, "post it", 2)
        action = request.path.removeprefix(PATH)
        if action not in ACTIONS:
            return refused(
                404, f"there is no {action!r}; there are: {', '.join(ACTIONS)}", 2
            )
        return await act(board, action, request.body)

    return answer


async def act(board: Board, action: str, body: bytes) -> Response:
    """Do one thing, and say what came of it."""
    try:
        order = Order.read(body)
        found = await ACTIONS[action](board, order)
    except FleetdError as bad:
        status, code = next((s, c) for kind, s, c in STATUS if isinstance(bad, kind))
        return refused(status, str(bad), code)
    if not order.flag("dry_run"):
        logger.info("commanded", action=action, order=order.told())
    return Response(200, MASK.mask(msgspec.json.encode(found)))


def refused(status: int, why: str, code: int) -> Response:
    """What could not be done, with the exit status of the command."""
    said = {"error": MASK.mask(why), "exit": code}
    return Response(status, msgspec.json.encode(said))
