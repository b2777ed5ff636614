"""A source's webhook at its vendor: listed, tried out, registered, taken away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from fleetd.errors import FleetdError, UsageError
from fleetd.providers.contract import Registered
from fleetd.tasks.addresses import same, shown, to_paste
from fleetd.tasks.control.order import Order, known
from fleetd.tasks.hops import test
from fleetd.tasks.registration import registration_of

if TYPE_CHECKING:
    from fleetd.tasks.board import Board

ACTIONS = ("list", "test", "add", "remove")
MOST = 200  # of what others registered


async def webhook(board: Board, order: Order) -> dict[str, Any]:
    """Do one of the four for a source; list and test take all that have webhooks, too."""
    action = known(order.text("action"), ACTIONS, "action")
    names = list(_meant(board, order.text("source", ""), action))
    if action == "list":
        return {"sources": [await _listed(board, one) for one in names]}
    if action == "test":
        tested = [await test(board, one) for one in names]
        return {"sources": msgspec.to_builtins(tested)}
    registration = registration_of(board, names[0])
    if action == "remove":
        gone = await registration.remove()
        title = registration.console.title
        return {"source": names[0], "title": title, "removed": gone}
    rotate, untested = order.flag("rotate"), order.flag("untested")
    done = await registration.add(rotate=rotate, untested=untested)
    found: dict[str, Any] = msgspec.to_builtins(done)
    return found


def _meant(board: Board, typed: str, action: str) -> Iterator[str]:
    """The sources that are spoken of."""
    sources = board.house.sources
    if typed:
        name = known(typed, sources, "source")
        if board.providers[name].webhook is None:
            raise UsageError(f"{name}: {sources[name].provider} sends no webhooks")
        yield name
        return
    if action in {"add", "remove"}:
        raise UsageError(f"webhook {action} takes the name of a source")
    every = [name for name in sources if board.providers[name].webhook is not None]
    able = [name for name in every if action == "list" or sources[name].receives]
    if not able:
        raise UsageError("no source receives webhooks: none has a webhook_secret")
    yield from able


async def _listed(board: Board, source: str) -> dict[str, Any]:
    """What to paste and where, and what is registered there as far as that can be asked."""
    provider, registration = board.providers[source], registration_of(board, source)
    told: dict[str, Any] = {
        "source": source, "provider": provider.name,
        "title": provider.title or provider.name, "url": to_paste(board.house, source),
        "where": provider.where, "receives": board.house.sources[source].receives,
        "trouble": board.unregistered.get(source, ""), "registered": None, "why": "",
    }  # fmt: skip
    if provider.hooks is None:
        return {**told, "why": f"{told['title']} has no API that tells"}
    try:
        listed = await registration.listed()
    except FleetdError as bad:
        return {**told, "why": str(bad)}
    made = {one.id for one in registration.kept.made}
    rows = [_row(one, registration.url, made) for one in listed.values()]
    rows.sort(key=lambda one: WHOSE.index(one["whose"]))
    return {**told, "registered": rows[:MOST]}


WHOSE = ("fleetd", "by hand", "other")


def _row(one: Registered, url: str, made: set[str]) -> dict[str, Any]:
    """One of the vendor's webhooks; of a URL that is not ours only where it leads."""
    here = same(one.url, url)
    whose = "fleetd" if one.id in made else "by hand" if here else "other"
    return {
        "id": one.id, "name": one.name, "url": one.url if here else shown(one.url),
        "enabled": one.enabled, "actions": len(one.actions), "whose": whose,
    }  # fmt: skip
