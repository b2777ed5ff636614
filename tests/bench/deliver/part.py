"""What a part of the bench says of its far side."""

from __future__ import annotations

import msgspec


class Far(msgspec.Struct, frozen=True):
    """Where it goes: the keys of its table in the config, and who takes it there."""

    sink: str
    pids: tuple[int, ...] = ()
