"""Small disks of the test's own: images on loop devices, mounted, frozen, cut."""

from __future__ import annotations

import subprocess
import time
from contextlib import suppress
from pathlib import Path

AT_ONCE = "lazy_itable_init=0,lazy_journal_init=0"


class Disks:
    """Images and mounts below one folder, all gone at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mounts: list[Path] = []
        self._frozen: set[Path] = set()

    def make(self, name: str, kind: str, mib: int, within: Path | None = None) -> Path:
        """A fresh image, mounted; its file lies in `within`, else in our folder."""
        image = (within or self.folder) / f"{name}.img"
        with image.open("wb") as file:
            file.truncate(mib << 20)
        words = {
            "xfs": ("-q", "-m", "reflink=1"),
            "ext4": ("-q", "-F", "-m", "0", "-E", AT_ONCE),
        }
        run(f"mkfs.{kind}", *words[kind], str(image))
        return self.mount(image, name)

    def mount(self, image: Path, name: str) -> Path:
        place = self.folder / name
        place.mkdir()
        run("mount", "-o", "loop", str(image), str(place))
        self._mounts.append(place)
        return place

    def cut(self, image: Path, copy: Path) -> Path:
        """The disk as it is at this moment, in one step, while others write to it."""
        run("cp", "--reflink=always", str(image), str(copy))
        return copy

    def freeze(self, place: Path) -> None:
        """From now on nothing that writes to this disk comes back."""
        run("fsfreeze", "-f", str(place))
        self._frozen.add(place)

    def thaw(self, place: Path) -> None:
        run("fsfreeze", "-u", str(place))
        self._frozen.discard(place)

    def unmount(self, place: Path) -> None:
        """Let go of it; by force when somebody still holds it."""
        self._mounts.remove(place)
        for _ in range(20):
            if subprocess.run(
                ["umount", str(place)], capture_output=True, check=False
            ).returncode:
                time.sleep(0.1)
            else:
                return
        run("umount", "-l", str(place))

    def close(self) -> None:
        for place in tuple(self._frozen):
            with suppress(subprocess.CalledProcessError):
                self.thaw(place)
        for place in reversed(self._mounts.copy()):
            self.unmount(place)


def fill(place: Path) -> Path:
    """Take all the room that is left there, to the last block."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        for step in (1 << 20, 4096):
            with suppress(OSError):
                while file.write(bytes(step)):
                    pass
    return filler


def run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")
