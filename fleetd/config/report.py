"""All that is wrong with a config file, each with its line, said at once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from fleetd.config.units import nearest
from fleetd.errors import ConfigError

Where = tuple[str, ...]
KEY = re.compile(
    r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*="""
)
TABLE = re.compile(r"\s*\[\[?([^\[\]]+)\]\]?\s*(?:#.*)?")
BARE = re.compile(r"[A-Za-z0-9_-]+")


class Report:
    """Collects complaints about one file; `end` raises them together."""

    def __init__(self, path: Path, lines: Mapping[Where, int]) -> None:
        self.path, self.lines = path, lines
        self.bad: list[str] = []

    def add(self, where: Where, why: str) -> None:
        line = self.line(where)
        place = f"{self.path}:{line}" if line else f"{self.path}"
        self.bad.append(f"{place}: {dotted(where)}: {why}")

    def told(self, where: Where, why: str, keys: tuple[str, ...]) -> None:
        """Pass on what a plug-in says of its table; `key: why` goes to the key."""
        key, colon, rest = why.partition(": ")
        if colon and key in keys:
            self.add((*where, key), rest)
        else:
            self.add(where, why)

    def unknown(self, where: Where, known: tuple[str, ...]) -> None:
        """Complain about a key that nobody reads, with the nearest that is read."""
        close = nearest(where[-1], known)
        if close:
            self.add(where, f"no such key; did you mean `{close}`?")
        else:
            self.add(where, f"no such key; there are: {', '.join(known) or 'none'}")

    def line(self, where: Where) -> int | None:
        """The line of that key, else of the nearest thing around it, or within."""
        for length in range(len(where), 0, -1):
            if (line := self.lines.get(where[:length])) is not None:
                return line
        within = (line for key, line in self.lines.items() if key[:1] == where[:1])
        return min(within, default=None)

    def end(self) -> None:
        """Raise all of it as one `ConfigError`, if there is any."""
        if self.bad:
            raise ConfigError("\n".join(self.bad))


def lines_of(text: str) -> dict[Where, int]:
    """Where each table and key first stands; a search of the text, not a parse."""
    found: dict[Where, int] = {}
    table: Where = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := TABLE.fullmatch(line):
            table = split(header[1])
            found.setdefault(table, number)
        elif key := KEY.match(line):
            found.setdefault(table + split(key[1]), number)
    return found


def split(key: str) -> Where:
    """`sources."a b".token` as its parts; empty when it is none."""
    try:
        value: object = tomllib.loads(f"{key.strip()} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    parts: list[str] = []
    while isinstance(value, dict):
        name, value = next(iter(value.items()))
        parts.append(name)
    return tuple(parts)


def dotted(where: Where) -> str:
    """The path of a key as TOML would write it."""
    bare = (one if BARE.fullmatch(one) else f'"{one}"' for one in where)
    return ".".join(bare)
