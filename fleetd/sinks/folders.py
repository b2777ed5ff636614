"""What a refusal of the operating system means for a sink that is a folder."""

from __future__ import annotations

import errno
import os
from functools import partial
from pathlib import Path

from fleetd.errors import FleetdError, HeldError, TransientError
from fleetd.world import World

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
SHORT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN})
REFUSED = frozenset({errno.EACCES, errno.EPERM})


def verdict(code: int, where: str, folder: Path) -> FleetdError:
    """The error that says it to the engine; `where` is the path that was refused."""
    said = os.strerror(code)
    if code in FULL:
        why = f"the disk of {folder} is full ({said}); free some space"
        return TransientError(why, counts=False)
    if code in SHORT:
        return TransientError(f"{folder}: {said}", counts=False)
    if code == errno.ENOENT:
        if where == str(folder) or not folder.parent.exists():
            return HeldError(_missing(folder.parent))
        return TransientError(f"{where or folder} went away meanwhile", counts=False)
    if code in REFUSED:
        return HeldError(_forbidden(folder))
    return HeldError(f"{folder} cannot be written: {said}; see to the disk or the path")


async def check_folder(folder: Path, world: World) -> str:
    """Say whether the folder could be written, or raise why not; nothing is made."""
    return str(await world.in_thread(partial(_looked, folder)))


def _looked(folder: Path) -> str:
    place = folder if folder.exists() else folder.parent
    if not place.is_dir():
        raise HeldError(_missing(place))
    if not os.access(place, os.W_OK | os.X_OK):
        raise HeldError(_forbidden(place))
    state = os.statvfs(place)
    free = state.f_bavail * state.f_frsize / (1 << 30)
    return f"{folder} can be written, {free:.1f} GiB free"


def _missing(place: Path) -> str:
    return f"{place} is not there; make it, or mount its disk"


def _forbidden(place: Path) -> str:
    return f"fleetd may not write in {place}; give its user the right"
