"""What names a request: the same for each repeat of it, and for nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from fleetd.event import Entry


def key_of(name: str, generation: int, entries: Sequence[Entry]) -> str:
    """The same for every repeat of the same entries to the same sink.

    Their places in the log are part of it: two copies of one event that came in one
    millisecond differ in nothing else that names them.
    """
    ids = "\n".join([  # a list: a generator costs half as much again
        f"{one.seq}\t{one.source}\t{one.event.kind}\t{one.event.id}\t{one.revision}"
        for one in entries
    ])  # fmt: skip
    return digest_of(f"{name}\n{generation}\n{ids}")


def digest_of(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
