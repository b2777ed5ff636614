"""Signing a sample as its vendor would, for who may not see the secret."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from fleetd.errors import UsageError
from fleetd.tasks.control.order import Order, known

if TYPE_CHECKING:
    from fleetd.tasks.board import Board


async def sign(board: Board, order: Order) -> dict[str, Any]:
    """The headers that make a body one of the vendor's."""
    name = known(order.text("source"), board.house.sources, "source")
    try:
        body = base64.b64decode(order.text("body", ""), validate=True)
    except binascii.Error as bad:
        raise UsageError("the body is no base64") from bad
    source, provider = board.house.sources[name], board.providers.get(name)
    if provider is None or provider.webhook is None or not source.receives:
        raise UsageError(f"{name} receives no webhooks: it has no webhook_secret")
    if not source.webhook_secret:
        return {"headers": {}}
    secret = source.webhook_secret.reveal()[0]
    return {"headers": dict(provider.webhook.sign(body, secret, board.world.now()))}
