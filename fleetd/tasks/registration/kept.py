"""What fleetd remembers of webhooks it registered: never a secret, only the file of one."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from fleetd.config import Source
from fleetd.providers.contract import Provider, Registered
from fleetd.store import Store
from fleetd.tasks.addresses import same


class Made(Struct, frozen=True):
    """A webhook that fleetd made. `mark` names its secret, `file` holds one of the vendor's.

    Once `retires_ms` is set another one has taken its place, and it goes by then.
    """

    id: str
    name: str
    url: str
    mark: str = ""
    file: str = ""
    retires_ms: int | None = None


class Intent(Struct, frozen=True):
    """A webhook asked for; until the answer is there nobody knows whether it was made."""

    name: str
    url: str
    mark: str
    before: tuple[str, ...]  # the ids that were there already

    def meant(self, one: Registered) -> bool:
        """Whether this is the one that was asked for."""
        fresh = one.id not in self.before and same(one.url, self.url)
        return fresh and one.name in ("", self.name)


class Kept(Struct, frozen=True):
    """The registration of one source at one vendor (`at`).

    `by_hand` are the ids of others with its URL. `trouble` is what is wrong with it (gone,
    disabled, moved, secret), `why` says it.
    """

    at: str = ""
    made: tuple[Made, ...] = ()
    intent: Intent | None = None
    by_hand: tuple[str, ...] = ()
    looked_ms: int = 0
    trouble: str = ""
    why: str = ""

    @property
    def standing(self) -> Made | None:
        """The one that counts."""
        return next((one for one in self.made if one.retires_ms is None), None)


def place_of(source: Source, provider: Provider) -> str:
    """Where the ids of a registration mean something: another vendor gives the same ones."""
    return f"{provider.name} {source.base_url or provider.base_url}"


def recall(store: Store, name: str, source: Source, provider: Provider) -> Kept:
    """What is kept of a source; nothing where it speaks of another place, or of none."""
    at = place_of(source, provider)
    try:
        found = msgspec.convert(store.recall(name_of(name)), Kept, strict=False)
    except msgspec.ValidationError:
        return Kept(at)
    return found if found.at == at else Kept(at)


async def remember(store: Store, source: str, kept: Kept) -> None:
    """Keep it over restarts."""
    await store.remember(name_of(source), msgspec.to_builtins(kept))


def name_of(source: str) -> str:
    return f"hooks:{source}"
