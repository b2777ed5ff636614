"""What fleetd itself has to say of a source, as events of kind alert in its log."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from msgspec.structs import replace

from fleetd.event import Alert, AnyEvent, Record, moment_of
from fleetd.masking import MASK
from fleetd.providers.contract import Provider
from fleetd.store import Store
from fleetd.tasks.intake import Arrival, take_in

OURS = "fleetd"
LONGEST = 500


async def announce(
    store: Store, source: str, what: str, text: str, *, about: str = "",
    vehicle: str | None = None, detail: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Keep an alert of our own, counted like any record of its source.

    `what` is its type (`feed_held`), `about` the feed or thing it speaks of.
    """
    received = store.next_received_ms()
    event = Alert(
        id=f"{OURS}:{what}:{about}:{received}",
        at=moment_of(received),
        vehicle=vehicle,
        type=what,
        text=MASK.mask(text)[:LONGEST],
        detail={"by": OURS, "about": about, **(detail or {})},
    )
    provider = Provider(OURS, {OURS: partial(_itself, event)})
    arrival = Arrival(source, provider, received, "poll")
    append = take_in(arrival, [Record(OURS, b"{}")], store.directory)
    await store.append(replace(append, ours=True))


def _itself(event: AnyEvent, _body: bytes) -> Iterator[AnyEvent]:
    yield event
