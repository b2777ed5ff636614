"""What a notification says, in plain words; each destination writes it in its own form.

Whatever comes from data is cleaned here: one line, no control or direction characters,
short. What is a mention or a link in a destination's markup is that sink's to escape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import tzinfo

from msgspec import Struct

from fleetd.event import Entry
from fleetd.sinks.wording.events import facts, is_over, url_of, values_of, what, who
from fleetd.sinks.wording.templates import Template, Templates
from fleetd.sinks.wording.words import clean, cut, grouped, local, span, words

__all__ = [
    "Message",
    "Row",
    "Template",
    "Templates",
    "clean",
    "cut",
    "digest",
    "is_over",
    "local",
    "message",
    "tally",
    "what",
    "who",
    "words",
]
TITLE = 120
NAMED = 5
MOST_ROWS = 12


class Row(Struct, frozen=True):
    """A line: what it is about, and what there is to say of it."""

    name: str
    text: str


class Message(Struct, frozen=True):
    """One message in plain text: nothing in it is markup, but for a template's own words.

    `said` is a template filled in, piece by piece: True where the operator wrote it. It
    stands for the title, which still names the message.
    """

    title: str
    rows: tuple[Row, ...] = ()
    foot: str = ""
    url: str = ""
    said: tuple[tuple[str, bool], ...] = ()

    @property
    def plain(self) -> str:
        """All of it as text."""
        rows = (
            f"{row.name}: {row.text}" if row.text else row.name for row in self.rows
        )
        said = "".join(piece for piece, _ in self.said)
        return "\n".join((said or self.title, *rows))


def message(
    entries: Sequence[Entry],
    zone: tzinfo,
    templates: Mapping[str, Template],
    more: Sequence[Row] = (),
) -> Message:
    """What these entries come to: one in full, several by kind and vehicle, many summed up."""
    foot = origin(entries)
    if len(entries) == 1:
        return _alone(entries[0], zone, templates, more)
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        key = what(entry.event), who(entry)
        groups.setdefault(key, []).append(entry)
    if len(groups) == 1:
        ((about, whose), group) = next(iter(groups.items()))
        title = f"{about}, {grouped(len(group))} times · {whose}"
        rows = (Row("When", span(group, zone)), *rows_of(group[-1], zone, last=True))
        return Message(cut(title, TITLE), (*rows, *more), foot)
    rows = tuple(_summed(groups, zone))
    return Message(total(entries), (*rows, *more), foot)


def digest(text: str) -> Message:
    """What the engine has to say of events that are too old to ring for."""
    return Message(clean(text, 600))


def _alone(
    entry: Entry, zone: tzinfo, templates: Mapping[str, Template], more: Sequence[Row]
) -> Message:
    event = entry.event
    template = templates.get(event.kind) or templates.get("default")
    title, foot = cut(f"{what(event)} · {who(entry)}", TITLE), origin([entry])
    if template is not None:
        said = tuple(template.filled(values_of(entry, zone)))
        return Message(title, tuple(more), foot, url_of(event), said)
    rows = (*rows_of(entry, zone), *more)
    return Message(title, rows, foot, url_of(event))


def _summed(groups: dict[tuple[str, str], list[Entry]], zone: tzinfo) -> Iterator[Row]:
    """A row for each kind and vehicle while they are few, else one for each kind."""
    if len(groups) <= MOST_ROWS:
        for (about, whose), group in groups.items():
            often = f"{grouped(len(group))} times, " if len(group) > 1 else ""
            yield Row(f"{about} · {whose}", often + span(group, zone))
        return
    kinds: dict[str, Counter[str]] = {}
    for (about, whose), group in groups.items():
        kinds.setdefault(about, Counter())[whose] += len(group)
    ordered = sorted(kinds.items(), key=lambda one: -one[1].total())
    for about, of in ordered[:MOST_ROWS]:
        yield Row(about, _spread(of))
    if rest := ordered[MOST_ROWS:]:
        count = sum(of.total() for _, of in rest)
        yield Row(f"{len(rest)} other kinds", grouped(count))


def _spread(of: Counter[str]) -> str:
    """`88, of 25 vehicles; most: TX-104 (40), TX-7 (11)`."""
    named = ", ".join(f"{whose} ({grouped(n)})" for whose, n in of.most_common(NAMED))
    if len(of) <= NAMED:
        return f"{grouped(of.total())}: {named}"
    return f"{grouped(of.total())}, of {grouped(len(of))} vehicles; most: {named}"


def total(entries: Sequence[Entry]) -> str:
    """`12 events: 9 harsh brake, 3 fault P0420`."""
    kinds = Counter(what(entry.event) for entry in entries)
    return tally(len(entries), kinds)


def tally(count: int, kinds: Mapping[str, int]) -> str:
    """So many events, and of what, the most frequent first."""
    named = sorted(kinds.items(), key=lambda one: -one[1])
    said = ", ".join(f"{grouped(n)} {small(kind)}" for kind, n in named[:NAMED])
    more = ", …" if len(named) > NAMED else ""
    events = "event" if count == 1 else "events"
    return cut(f"{grouped(count)} {events}: {said}{more}", TITLE + 80)


def small(text: str) -> str:
    """As it stands within a sentence."""
    return text[:1].lower() + text[1:]


def origin(entries: Sequence[Entry]) -> str:
    """Where it can be looked up."""
    names = sorted({clean(entry.source, 40) for entry in entries})
    seqs = sorted(entry.seq for entry in entries)
    where = f"fleetd show {seqs[0]}"
    if len(seqs) > 1:
        where = f"events {seqs[0]} to {seqs[-1]}"
    return f"{', '.join(names[:NAMED])} · {where}"


def rows_of(entry: Entry, zone: tzinfo, *, last: bool = False) -> Iterator[Row]:
    return (Row(*fact) for fact in facts(entry, zone, last=last))
