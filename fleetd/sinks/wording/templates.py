"""An operator's own words for an event: a text with names in it, and nothing that acts."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from fleetd.config.units import unknown
from fleetd.event import KINDS
from fleetd.sinks.wording.events import VALUES


class Template(str):
    """A text with `{names}` in it: only those there are, no attributes, no formats."""

    __slots__ = ()

    @classmethod
    def read(cls, value: object) -> Template:
        if not isinstance(value, str) or not 0 < len(value) <= 2000:
            raise ValueError("a template is a text of up to 2000 characters")
        try:
            parts = list(string.Formatter().parse(value))
        except ValueError as bad:
            raise ValueError(f"{bad} in a template; write {{{{ for a brace") from bad
        for _, name, spec, conversion in parts:
            if name is not None and name not in VALUES:
                raise ValueError(unknown("name", name[:40], tuple(VALUES)))
            if spec or conversion:
                raise ValueError(
                    f"a template takes {{{name}}} as it is, without a format"
                )
        return cls(value)

    def filled(self, values: Mapping[str, str]) -> Iterator[tuple[str, bool]]:
        """Its pieces; True for those that stand in the template itself."""
        for own, name, _, _ in string.Formatter().parse(self):
            if own:
                yield own, True
            if name is not None:
                yield values.get(name, ""), False


class Templates(dict[str, Template]):
    """One template a kind, or `default` for all others."""

    word: ClassVar[str] = "table of text by kind"

    @classmethod
    def read(cls, value: object, _base: Path) -> Templates:
        if not isinstance(value, Mapping):
            raise ValueError('takes a table: { safety = "{what} {vehicle} {at}" }')  # noqa: TRY004
        for kind in value:
            if kind != "default" and kind not in KINDS[1:]:
                raise ValueError(unknown("kind", str(kind), ("default", *KINDS[1:])))
        return cls({kind: Template.read(one) for kind, one in value.items()})

    def of(self, kind: str) -> Template | None:
        return self.get(kind) or self.get("default")
