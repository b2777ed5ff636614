"""Say why a vehicle is not where it should be: its last fix, what came today, what sinks did.

The vehicle is an id, number, VIN or plate, whole or glob.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from fleetd import config
from fleetd.cli import _client, _show
from fleetd.cli._show import many, span

SOUGHT = "newest million events"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vehicle", metavar="VEHICLE")
    parser.add_argument("--source", metavar="NAME", help="only what it told; or a,b")
    parser.add_argument("--sink", metavar="NAME", help="only what this sink did")
    parser.add_argument("--since", metavar="WHEN", help="by arrival; since midnight")
    parser.add_argument("--json", action="store_true", help="one JSON document")


def main(chosen: argparse.Namespace) -> int:
    house = config.load(chosen.config)
    params = _show.params(chosen, ("vehicle", "source", "sink", "since"))
    found = _client.reader(house).get("/api/why", params)
    if chosen.json:
        _show.document(found)
        return 0
    since = "today" if not chosen.since else f"since {found['since']}"
    for unit in found["units"]:
        print(_show.printable(" · ".join(said(unit, since))))
    if found["more"]:
        print(
            f"and {many(found['more'])} more vehicles: a name that fits fewer tells of them"
        )
    return 0


def said(unit: dict[str, Any], since: str) -> Iterator[str]:
    """One line a source: the fix, the counts, the quality, the sinks."""
    names = [unit["number"], unit["id"], unit["vin"], unit["plate"]]
    title = ", ".join(dict.fromkeys(name for name in names if name))
    yield f"{unit['source']} {title}: {last_fix(unit)}"
    yield ", ".join(counts(unit, since))
    if quality := list(worth(unit["quality"])):
        yield ", ".join(quality)
    for name, sink in unit["sinks"].items():
        yield f"sink {name}: {of_sink(sink)}"


def last_fix(unit: dict[str, Any]) -> str:
    fix, age = unit["last_fix"], unit["last_fix_age_s"]
    if fix is None:
        return f"no fix in the {'log' if unit['sought_everywhere'] else SOUGHT}"
    at = fix["at"] or fix["received_at"]
    old = f", {span(age)} ago" if age is not None and age >= 0 else ", in the future"
    return f"last fix {at}{old} (seq {fix['seq']})"


def counts(unit: dict[str, Any], since: str) -> Iterator[str]:
    yield f"{since} {many(unit['stored'])} stored"
    for why, n in unit["counted_out"].items():
        yield f"{many(n)} {'' if why == 'duplicate' else 'filtered '}{why}"
    letters = [one for one in unit["dead"] if one["side"] == "source"]
    if letters:
        yield f"{len(letters)} dead (dead letter {letters[0]['id']}: {letters[0]['why']})"
    if not unit["whole"]:
        yield f"in the {SOUGHT} at most"


def worth(quality: dict[str, Any]) -> Iterator[str]:
    if quality["filled"] is not None:
        yield f"columns {quality['filled']:.0%} filled"
    if quality["no_fix"]:
        yield f"{quality['no_fix']:.1%} without a fix"
    if quality["jumps"]:
        yield f"{many(quality['jumps'])} jumps"
    if quality["usual_gap_s"] is not None:
        gaps = span(quality["usual_gap_s"]), span(quality["longest_gap_s"])
        yield f"a fix every {gaps[0]}, longest gap {gaps[1]}"


def of_sink(sink: dict[str, Any]) -> str:
    if sink["why"]:
        return str(sink["why"])
    parts = [f"{many(sink['passed'])} done", f"{many(sink['waiting'])} waiting"]
    if sink["dead"]:
        parts.append(f"{len(sink['dead'])} dead (seq {sink['dead'][0]})")
    return ", ".join(parts)
