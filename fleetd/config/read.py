"""Values of the file into structs, key by key, so that every fault is found."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from fleetd.config.report import Report, Where
from fleetd.config.shape import BadKeyError, keys_in
from fleetd.config.units import nearest, unknown

S = TypeVar("S", bound=Struct)
MISSING: Any = object()
PLACE = re.compile(r" - at `\$(.*)`$", re.DOTALL)
GOT = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")
WORDS = {
    "str": "text", "int": "a whole number", "float": "a number", "array": "a list",
    "object": "a table", "bool": "true or false", "null": "nothing",
}  # fmt: skip


class Reader:
    """Turns plain TOML values into typed ones; complaints go to its report."""

    def __init__(self, report: Report, base: Path) -> None:
        self.report, self.base = report, base

    def table(
        self,
        kind: type[S],
        values: object,
        where: Where,
        *,
        known: tuple[str, ...] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> S | None:
        """A struct of a table; None when something in it was complained about.

        `known` are keys of the same table that others read; `extra` are fields that
        do not stand in the file.
        """
        if not isinstance(values, dict):
            self.report.add(where, "takes a table")
            return None
        before, mine = len(self.report.bad), keys_in(kind)
        for key in values:
            if key not in mine:
                self.report.unknown((*where, key), (*mine, *known))
        fields = dict(extra or {})
        for field in msgspec.structs.fields(kind):
            if field.encode_name in mine and field.encode_name in values:
                place = (*where, field.encode_name)
                got = self.value(field.type, values[field.encode_name], place)
                fields[field.name] = got
            elif field.required and field.name not in fields:
                self.missing((*where, field.encode_name), tuple(values))
        if len(self.report.bad) > before:
            return None
        return self._made(kind, fields, where)

    def value(self, kind: Any, value: object, where: Where) -> Any:
        """One value of a type as a struct declares it."""
        inner = without_none(kind)
        if isinstance(value, dict):
            if isinstance(inner, type) and issubclass(inner, Struct):
                return self.table(inner, value, where)
            if get_origin(inner) is dict:
                of = get_args(inner)[1]
                items = value.items()
                return {key: self.value(of, one, (*where, key)) for key, one in items}
        try:
            return msgspec.convert(value, kind, dec_hook=self._hook)
        except (msgspec.ValidationError, RuntimeError) as bad:  # ~nobody has no home
            self.report.add(where, _plainly(str(bad), inner, value))
            return MISSING

    def missing(self, where: Where, there: tuple[str, ...]) -> None:
        """Complain about a key that has to be there, with what may have been meant."""
        close = nearest(where[-1], there)
        meant = f" (is `{close}` meant to be it?)" if close else ""
        self.report.add(where, f"is missing{meant}")

    def _made(self, kind: type[S], fields: dict[str, Any], where: Where) -> S | None:
        try:
            return kind(**fields)
        except BadKeyError as bad:
            self.report.add((*where, bad.key) if bad.key else where, str(bad))
        except (ValueError, TypeError) as bad:
            self.report.told(where, str(bad), keys_in(kind))
        return None

    def _hook(self, kind: type[Any], value: object) -> Any:
        if issubclass(kind, Path):
            if not isinstance(value, str) or not value or "\0" in value:
                raise ValueError("takes a path")
            return self.base / Path(value).expanduser()
        return kind.read(value, self.base)


def without_none(kind: Any) -> Any:
    """The type without its `| None`, where it has one."""
    if get_origin(kind) in (Union, UnionType):
        rest = [one for one in get_args(kind) if one is not type(None)]
        return rest[0] if len(rest) == 1 else kind
    return kind


def _plainly(message: str, kind: Any, value: object) -> str:
    """What msgspec says, in the words of the README."""
    place = PLACE.search(message)
    text = message[: place.start()] if place else message
    if get_origin(kind) is Literal and isinstance(value, str):
        return unknown("value", value, tuple(map(str, get_args(kind))))
    if got := GOT.match(text):
        wanted = [WORDS.get(one, one) for one in got[1].split(" | ") if one != "null"]
        text = f"takes {' or '.join(wanted)}, not {WORDS.get(got[2], got[2])}"
    return f"{text} (item {place[1]})" if place and place[1] else text
