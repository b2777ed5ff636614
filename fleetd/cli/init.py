"""Write the commented sample fleetd.toml; never over an existing file."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path
from shlex import quote

from fleetd.errors import DISK_FAULTS, FleetdError, StoreError

PACKAGED = Path(__file__).with_name("fleetd.toml")
CHECKOUT = Path(__file__).parents[2] / "fleetd.toml"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        type=Path,
        nargs="?",
        metavar="PATH",
        help="a file (its name has a dot), or a folder for fleetd.toml, made if missing",
    )


def main(chosen: argparse.Namespace) -> int:
    path = chosen.path or chosen.config or Path("fleetd.toml")
    if chosen.path and (path.is_dir() or not path.suffix):
        path = folder(path) / "fleetd.toml"
    write(path, sample())
    typed = f"fleetd -c {quote(str(path))}"
    print(f"{path} written. Next: {typed} check, then {typed} run")
    return 0


def folder(path: Path) -> Path:
    """The folder, made if it is missing."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as bad:
        raise FleetdError(f"{path}: {bad.strerror}") from bad
    return path


def sample() -> str:
    """The sample, from the wheel or from the checkout."""
    path = PACKAGED if PACKAGED.exists() else CHECKOUT
    return path.read_text(encoding="utf-8")


def write(path: Path, text: str) -> None:
    """A new file with this text, readable by its owner and group alone."""
    try:
        with path.open("x", encoding="utf-8") as file:
            path.chmod(0o640)
            file.write(text)
    except FileExistsError as bad:
        raise FleetdError(f"{path} is there already and was left as it is") from bad
    except OSError as bad:
        with suppress(OSError):
            path.unlink()  # a part of it, and ours: none was there
        kind = StoreError if bad.errno in DISK_FAULTS else FleetdError
        raise kind(f"{path}: {bad.strerror}") from bad
