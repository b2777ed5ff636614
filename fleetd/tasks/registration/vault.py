"""Secrets that a vendor chose, in files that only the service can read.

The newest of a source is always `secrets/<source>.webhook` in the data folder: the config
names that file once, and a rotation changes what is in it.
"""

from __future__ import annotations

import os
from pathlib import Path

from fleetd.errors import FleetdError
from fleetd.masking import MASK
from fleetd.secrets import MissingError, UnseenError, from_file


def place_of(data: Path, source: str) -> Path:
    """Where the newest secret of a source is."""
    return data / "secrets" / f"{source}.webhook"


def old_place_of(data: Path, source: str) -> Path:
    """Where the one before it is, for as long as it is accepted."""
    return data / "secrets" / f"{source}.webhook.old"


def prove(data: Path, source: str) -> None:
    """Raise where a secret could not be kept, before a vendor makes one."""
    place = place_of(data, source)
    try:
        _write(place.with_suffix(".proof"), " " * 256)
        place.with_suffix(".proof").unlink()
    except OSError as bad:
        raise _unwritable(place, bad) from bad


def keep(place: Path, secret: str) -> None:
    """Write it whole or not at all; mode 0600."""
    MASK.add(secret)
    try:
        fresh = place.with_name(f"{place.name}.new")
        _write(fresh, secret)
        fresh.replace(place)
        _settle(place.parent)
    except OSError as bad:
        raise _unwritable(place, bad) from bad


def renew(place: Path, old: Path, secret: str) -> None:
    """Keep a newer secret, and the one that was there as the old one."""
    if (before := read(place)) == secret:
        return
    if before:
        keep(old, before)
    keep(place, secret)


def anew(place: Path, old: Path, secret: str) -> None:
    """Keep a secret; nobody signs with one from before any more."""
    drop(old)
    keep(place, secret)


def drop(place: Path) -> None:
    """Forget a secret that nobody signs with any more."""
    try:
        place.unlink(missing_ok=True)
    except OSError as bad:
        raise _unwritable(place, bad) from bad


def read(place: Path) -> str:
    """The secret, masked from now on; empty where there is none to be had."""
    try:
        found = from_file(place, private=True).strip()
    except (MissingError, UnseenError):
        return ""
    MASK.add(found)
    return found


def _write(place: Path, text: str) -> None:
    place.parent.mkdir(mode=0o700, exist_ok=True)
    place.unlink(missing_ok=True)  # whatever it is, it is not written through
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _settle(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unwritable(place: Path, bad: OSError) -> FleetdError:
    return FleetdError(f"{place.parent}: a secret cannot be kept there: {bad.strerror}")
