"""The destinations fleetd knows: the file name is the kind."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from fleetd.errors import ConfigError
from fleetd.sinks.contract import Sink

HELPERS = frozenset({"answers", "contract", "folders", "telling", "wording"})


def names() -> list[str]:
    """Every kind of sink that the config may name."""
    found = (one.name for one in pkgutil.iter_modules(__path__))
    return sorted(name for name in found if name not in HELPERS)


@cache
def load(kind: str) -> Sink:
    """The sink declared in the file of that name, or `ConfigError`."""
    if kind not in names():
        raise ConfigError(f"no sink {kind!r}; there are: {', '.join(names())}")
    sink = importlib.import_module(f"{__name__}.{kind}").SINK
    assert isinstance(sink, Sink)
    return sink
