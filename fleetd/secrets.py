"""Secrets by place, found once at start, and the one filter that masks their values."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import msgspec
from msgspec import Struct

from fleetd.errors import ConfigError
from fleetd.masking import MASK, MASKED, Mask, mask_fields

__all__ = [
    "MASK",
    "MASKED",
    "Mask",
    "Secret",
    "Secrets",
    "Survey",
    "Text",
    "find",
    "mask_fields",
    "resolve",
    "survey",
]
SCHEMES = ("env", "file", "secret", "plain")
NAME = re.compile(r"[A-Za-z0-9_.-]{1,255}")
LARGEST = 64 * 1024
HINT = (
    "this looks like the secret itself; write where it is:"
    ' "env:NAME", "file:/path" or "secret:name"'
    ' ("plain:VALUE" if it must stand in this file)'
)
UNDER_SYSTEMD = (
    "under systemd: an EnvironmentFile= of root's, or secret: with LoadCredential="
)


class MissingError(Exception):
    """The place does not hold a usable secret."""


class UnseenError(Exception):
    """Only the service itself can look there."""


class Secret:
    """Where a secret is; its value only through `reveal()`, after `resolve`."""

    __slots__ = ("_value", "scheme", "where")
    word: ClassVar[str] = "secret"

    def __init__(self, place: str) -> None:
        scheme, colon, where = place.partition(":")
        if not colon or scheme not in SCHEMES or not where:
            raise ValueError(HINT)
        if scheme in ("env", "secret") and not _is_name(where):
            raise ValueError(f"{scheme}: takes a name of letters, digits and _ . -")
        if "\0" in where:
            raise ValueError(f"{scheme}: takes no NUL")
        self.scheme, self.where = scheme, where
        self._value: str | None = where if scheme == "plain" else None

    @classmethod
    def read(cls, value: object, base: Path) -> Secret:
        """From the config; a relative file is relative to the config file."""
        if not isinstance(value, str):
            raise ValueError(HINT)  # noqa: TRY004  msgspec reports ValueError
        if value.startswith("file:") and len(value) > len("file:"):
            return cls(f"file:{base / Path(value[len('file:') :]).expanduser()}")
        return cls(value)

    @property
    def place(self) -> str:
        """How the config names it; never the value."""
        return f"{self.scheme}:{MASKED if self.scheme == 'plain' else self.where}"

    @property
    def known(self) -> bool:
        """Whether the value was found."""
        return self._value is not None

    def reveal(self) -> str:
        """The value itself; keep it out of every name, log and error."""
        if self._value is None:
            raise RuntimeError(f"{self.place} was not resolved")
        return self._value

    def look(self, environ: Mapping[str, str]) -> str:
        """The value as it stands at its place now, or why there is none."""
        if self.scheme == "env":
            found = from_environ(self.where, environ)
        elif self.scheme == "secret":
            found = from_credentials(self.where, environ)
        elif self.scheme == "file":
            found = from_file(Path(self.where), private=True)
        else:
            found = self.where
        if not found.strip():
            raise MissingError(f"{self.place} is empty")
        return found.strip()

    def settle(self, value: str) -> None:
        """Keep the value, and mask it from now on."""
        self._value = value
        MASK.add(value)

    def __repr__(self) -> str:
        return f"<{self.place}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        mine = (self.scheme, self.where, self._value)
        return mine == (other.scheme, other.where, other._value)

    def __hash__(self) -> int:
        return hash((self.scheme, self.where))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not copied out of the process")


class Text(Secret):
    """A value that may be a secret or not: a literal stays what it is."""

    __slots__ = ()
    word: ClassVar[str] = "text or secret"

    def __init__(self, place: str) -> None:
        scheme = place.partition(":")[0]
        if scheme in SCHEMES:
            super().__init__(place)
            return
        if re.match(r"(?i)(bearer|basic|token|apikey) +\S|\w+://[^/]*:[^/]*@", place):
            raise ValueError(HINT)
        self.scheme, self.where = "literal", place
        self._value: str | None = place

    @property
    def place(self) -> str:
        return self.where if self.scheme == "literal" else super().place

    def settle(self, value: str) -> None:
        if self.scheme != "literal":
            super().settle(value)


class Secrets(tuple[Secret, ...]):
    """One secret, or several while they are rotated; any of them counts."""

    __slots__ = ()
    word: ClassVar[str] = "secret, or a list of them"
    most: ClassVar[int] = 10

    @classmethod
    def read(cls, value: object, base: Path) -> Secrets:
        listed = value if isinstance(value, list) else [value]
        if not 0 < len(listed) <= cls.most:
            raise ValueError(f"takes one secret, or a list of up to {cls.most}")
        return cls(Secret.read(one, base) for one in listed)

    def reveal(self) -> tuple[str, ...]:
        """The values, in the order of the file."""
        return tuple(one.reveal() for one in self)


class Survey(Struct, frozen=True):
    """What looking for every secret of a config found, each as `key: what`."""

    found: tuple[tuple[Secret, str], ...]
    missing: tuple[str, ...]
    unseen: tuple[str, ...]
    plain: tuple[str, ...]
    short: tuple[str, ...]


def survey(tree: Any, environ: Mapping[str, str]) -> Survey:
    """Look at the place of every secret in a tree of structs, and change nothing."""
    found: list[tuple[Secret, str]] = []
    missing, unseen, plain, short = [], [], [], []
    for key, secret in find(tree):
        try:
            value = secret.look(environ)
        except MissingError as why:
            missing.append(f"{key}: {why}")
            continue
        except UnseenError as why:
            unseen.append(f"{key}: {why}")
            continue
        found.append((secret, value))
        if secret.scheme == "plain":
            plain.append(f"{key}: the secret stands in the config file itself (plain:)")
        if secret.scheme != "literal" and len(value) < Mask.shortest:
            short.append(
                f"{key}: shorter than {Mask.shortest} characters, never masked"
            )
    words = (tuple(one) for one in (missing, unseen, plain, short))
    return Survey(tuple(found), *words)


def resolve(tree: Any, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Find every secret, or raise `ConfigError` naming each that is not there.

    Returns what deserves a warning at every start.
    """
    seen = survey(tree, environ)
    lost = seen.missing + seen.unseen
    if lost:
        raise ConfigError("\n".join(lost))
    for secret, value in seen.found:
        secret.settle(value)
    return seen.plain + seen.short


def find(tree: Any, where: str = "") -> Iterator[tuple[str, Secret]]:
    """Every secret below, with the config key that names it."""
    if isinstance(tree, Secret):
        yield where, tree
    elif isinstance(tree, Struct):
        for field in msgspec.structs.fields(tree):
            inner = "" if field.name in LAID_OVER else field.encode_name
            yield from find(getattr(tree, field.name), _below(where, inner))
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from find(value, _below(where, str(key)))
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from find(value, where)


LAID_OVER = frozenset({"settings"})  # the plug-in's keys stand in its table itself


def _below(where: str, key: str) -> str:
    return ".".join(one for one in (where, key) if one)


def from_environ(name: str, environ: Mapping[str, str]) -> str:
    if name not in environ:
        raise MissingError(f"env:{name} is not set ({UNDER_SYSTEMD})")
    found = environ[name]
    if any("\ud800" <= one <= "\udfff" for one in found):  # bytes of no letter
        raise MissingError(f"env:{name} is not UTF-8 text")
    return found


def from_credentials(name: str, environ: Mapping[str, str]) -> str:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise UnseenError(
            f"secret:{name} is for the service to see: no $CREDENTIALS_DIRECTORY here"
        )
    return from_file(Path(folder, name), private=False)


def from_file(path: Path, *, private: bool) -> str:
    """The text of a small regular file; `private` refuses one that others can read."""
    try:
        return _decoded(_body(path, private=private), path)
    except PermissionError as bad:
        raise UnseenError(f"file:{path} is not readable by this user") from bad
    except OSError as bad:
        raise MissingError(f"file:{path}: {bad.strerror}") from bad


def _body(path: Path, *, private: bool) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode):
            raise MissingError(f"file:{path} is not a regular file")
        if private and state.st_mode & 0o077:
            raise MissingError(f"file:{path} can be read by others: chmod 600 {path}")
        return os.read(handle, LARGEST + 1)
    finally:
        os.close(handle)


def _decoded(body: bytes, path: Path) -> str:
    if len(body) > LARGEST:
        raise MissingError(f"file:{path} is over {LARGEST} bytes, no secret")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as bad:
        raise MissingError(f"file:{path} is not UTF-8 text") from bad


def _is_name(text: str) -> bool:
    return NAME.fullmatch(text) is not None and text not in {".", ".."}
