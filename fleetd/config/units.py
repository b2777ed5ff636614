"""What a config value may be beyond text and numbers.

Every type here has `word`, its name for an operator, and `read(value, base)`, which
raises `ValueError` with the hint; `base` is the folder of the config file.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final, Self

from fleetd import when
from fleetd.event import KINDS

SIZE_UNITS: Final = {
    "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
}  # fmt: skip
SIZE: Final = re.compile(r"([0-9]{1,16})(\.[0-9]{1,6})? ?([KMGT]i?B|B)")
BIND: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:/\s]+):([0-9]{1,5})")
NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
URL: Final = re.compile(
    r"https?://([^\s/@?#:\[\]]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?([/?][^\s#]*)?"
)
NAMES: Final = "a name is 1 to 32 of a-z 0-9 _ - and begins with a letter or digit"
FOREVER: Final = 1000 * 365 * 86_400.0


class Seconds(float):
    """A duration, written `30s`, `5m`, `2h`, `7d`."""

    __slots__ = ()
    word: ClassVar[str] = "duration"

    @classmethod
    def read(cls, value: object, _base: Path) -> Seconds:
        found = when.seconds(value) if isinstance(value, str) else None
        if found is None or found > FOREVER:
            raise ValueError('takes a duration with its unit: "30s", "5m", "2h", "7d"')
        return cls(found)

    def __str__(self) -> str:
        for unit in ("d", "h", "m", "s"):
            count = float(self) / when.UNITS[unit]
            if count >= 1 and count == int(count):
                return f"{int(count)}{unit}"
        return f"{float(self):g}s"


class Size(int):
    """A number of bytes, written `1MiB`, `4GiB`, `20GB`."""

    __slots__ = ()
    word: ClassVar[str] = "size"

    @classmethod
    def read(cls, value: object, _base: Path) -> Size:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(value)
        found = SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
        if found is None:
            raise ValueError('takes a size: "512KiB", "1MiB", "4GiB", "20GB"')
        unit = SIZE_UNITS[found[3]]
        return cls(int(found[1]) * unit + int(float(found[2] or 0) * unit))

    def __str__(self) -> str:
        for unit in ("TiB", "GiB", "MiB", "KiB"):
            if self and self % SIZE_UNITS[unit] == 0:
                return f"{self // SIZE_UNITS[unit]}{unit}"
        return f"{int(self)}B"


class MaxDisk(Size):
    """How much disk the log may take; 0 stands for `auto`."""

    __slots__ = ()
    word: ClassVar[str] = 'size, or "auto"'
    least: ClassVar[int] = 64 << 20

    @classmethod
    def read(cls, value: object, base: Path) -> MaxDisk:
        if value == "auto":
            return cls(0)
        size = Size.read(value, base)
        if size < cls.least:
            raise ValueError('takes a size of at least "64MiB", or "auto"')
        return cls(size)

    def of(self, filesystem: int) -> int:
        """What this means on a filesystem of that size: a fifth, at least 4 GiB."""
        return int(self) or max(filesystem // 5, 4 << 30)

    def __str__(self) -> str:
        return super().__str__() if self else "auto"


class Keep(dict[str, Seconds]):
    """How long events are kept: one duration, or one a kind beside `default`."""

    word: ClassVar[str] = "duration, or a table of them by kind"

    @classmethod
    def read(cls, value: object, base: Path) -> Keep:
        table = value if isinstance(value, Mapping) else {"default": value}
        for kind in table:
            if kind != "default" and kind not in KINDS[1:]:
                raise ValueError(unknown("kind", kind, ("default", *KINDS[1:])))
        read = {kind: Seconds.read(one, base) for kind, one in table.items()}
        return cls({"default": Seconds(30 * 86_400), **read})

    def of(self, kind: str) -> float:
        """Seconds to keep events of that kind."""
        return float(self.get(kind, self["default"]))

    @property
    def longest(self) -> float:
        return float(max(self.values()))

    def __str__(self) -> str:
        return str(self["default"])


class Feeds(dict[str, Seconds | None]):
    """Which feeds are polled, and how often where that is not the provider's own."""

    word: ClassVar[str] = "list of feeds, or a table of feed = duration"

    @classmethod
    def read(cls, value: object, base: Path) -> Feeds:
        if isinstance(value, Mapping):
            return cls({name: _every(one, base) for name, one in value.items()})
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            return cls(dict.fromkeys(value))
        raise ValueError('takes ["vehicles"] or { positions = "30s" }')


def _every(value: object, base: Path) -> Seconds:
    every = Seconds.read(value, base)
    if every < 1:
        raise ValueError('a feed is asked every "1s" at most')
    return every


class Bind(str):
    """Where to listen: host:port, [v6]:port, unix:/path or systemd."""

    __slots__ = ()
    word: ClassVar[str] = "address"

    @classmethod
    def read(cls, value: object, base: Path) -> Bind:
        if value == "systemd":
            return cls(value)
        if isinstance(value, str) and re.fullmatch(r"unix:[^\0]+", value):
            return cls(f"unix:{base / value.removeprefix('unix:')}")
        found = BIND.fullmatch(value) if isinstance(value, str) else None
        if found is None or int(found[2]) >= 1 << 16:
            raise ValueError(
                'takes "host:port", "[v6]:port", "unix:/path" or "systemd"'
            )
        return cls(found[0])

    @property
    def host(self) -> str:
        """The name or address without its brackets; empty for what is not TCP."""
        found = BIND.fullmatch(self)
        return found[1].strip("[]") if found else ""

    @property
    def port(self) -> int:
        found = BIND.fullmatch(self)
        return int(found[2]) if found else 0

    @property
    def local(self) -> bool:
        """Whether only this box can reach it: loopback, or a unix socket."""
        if self.startswith("unix:") or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class Network(str):
    """An address or a network, as `10.0.0.0/8`."""

    __slots__ = ()
    word: ClassVar[str] = "address or network"

    @classmethod
    def read(cls, value: object, _base: Path) -> Network:
        try:
            return cls(ipaddress.ip_network(str(value), strict=False))
        except ValueError as bad:
            raise ValueError('takes an address or a network: "10.0.0.0/8"') from bad

    @property
    def net(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        return ipaddress.ip_network(self)


class Url(str):
    """An http or https address, without credentials in it."""

    __slots__ = ()
    word: ClassVar[str] = "URL"

    @classmethod
    def read(cls, value: object, _base: Path) -> Self:
        if not isinstance(value, str) or not URL.fullmatch(value):
            raise ValueError('takes a URL such as "https://fleet.example.com"')
        return cls(value)


class BaseUrl(Url):
    """A URL that paths are put behind; empty where there is none."""

    __slots__ = ()

    @classmethod
    def read(cls, value: object, base: Path) -> Self:
        if value == "":
            return cls("")
        read = super().read(value, base).rstrip("/")
        if "?" in read:
            raise ValueError("takes a URL without a query")
        return cls(read)


class Name(str):
    """The name of a source or a sink."""

    __slots__ = ()
    word: ClassVar[str] = "name"

    @classmethod
    def read(cls, value: object, _base: Path) -> Name:
        if not isinstance(value, str) or not NAME.fullmatch(value):
            raise ValueError(NAMES)
        return cls(value)


def unknown(what: str, word: str, known: tuple[str, ...]) -> str:
    """`no kind "safty"; did you mean "safety"?`, or else all there are."""
    close = nearest(word, known)
    if close:
        return f'no {what} "{word}"; did you mean "{close}"?'
    return f'no {what} "{word}"; there are: {", ".join(known) or "none"}'


def nearest(word: str, known: tuple[str, ...]) -> str | None:
    """The known word most like this one, if any is."""
    from difflib import get_close_matches  # only when something is wrong

    close = get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return close[0] if close else None
