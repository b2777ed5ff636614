"""Everything known of one event: as received, as normalized, and who was sent it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import msgspec

from fleetd import config
from fleetd.cli import _client, _show
from fleetd.errors import UsageError

BODY_SHOWN = 4_000


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("seq", type=int, metavar="SEQ", help="its place in the log")
    parser.add_argument("--json", action="store_true", help="one JSON document")


def main(chosen: argparse.Namespace) -> int:
    house = config.load(chosen.config)
    if chosen.seq < 1:
        raise UsageError("the first event of a log has seq 1")
    found = _client.reader(house).get("/api/show", {"seq": str(chosen.seq)})
    if chosen.json:
        _show.document(found)
        return 0
    for line in told(found):
        print(_show.printable(line))
    return 0


def told(found: dict[str, Any]) -> Iterator[str]:
    """The event for people."""
    event = found["event"]
    if event is None:
        yield f"event {found['seq']} is damaged: its checksum does not fit"
    else:
        yield f"event {event['seq']}: {event['kind']} of {event['source']}, {event['origin']}"
        yield pretty(event)
    yield from received(found["received"])
    yield ""
    others = found["revisions"]
    yield "revisions: " + (
        ", ".join(f"seq {one['seq']} (revision {one['revision']})" for one in others)
        or "no other copy near by"
    )
    yield from deliveries(found)


def received(raw: dict[str, Any] | None) -> Iterator[str]:
    yield ""
    if raw is None:
        yield "as received: the vendor's bytes are no longer kept (store.keep_raw)"
        return
    signed = f", signed {raw['signed_at']}" if raw["signed_at"] else ""
    yield f"as received {raw['received_at']} on {raw['feed']}, part {raw['part']}"
    yield f"signature: {raw['signature'] or 'none'}{signed}"
    for name, value in raw["headers"].items():
        yield f"  {name}: {value}"
    body = raw["body"] if raw["body"] is not None else f"base64 {raw['body_base64']}"
    more = len(body) - BODY_SHOWN
    yield body[:BODY_SHOWN] + (
        f" ... {more} characters more (--json)" if more > 0 else ""
    )


def deliveries(found: dict[str, Any]) -> Iterator[str]:
    if not found["deliveries"]:
        yield "deliveries: none that carried it"
    for one in found["deliveries"]:
        status = f" {one['status']}" if one["status"] else ""
        job = f", replay {one['generation']}" if one["generation"] else ""
        yield (
            f"delivery: {one['at']} to {one['sink']}: {one['verdict']}{status} in "
            f"{one['ms']} ms, {one['events']} events (seq {one['first']} to "
            f"{one['last']}){job}"
        )
        if one["answer"]:
            yield f"  answered: {one['answer']}"
    for one in found["dead"]:
        yield f"dead letter {one['id']} of {one['name']}: {one['why']}"


def pretty(event: Any) -> str:
    """Indented JSON."""
    return msgspec.json.format(msgspec.json.encode(event)).decode()
