"""The vendors fleetd knows: the file name is the registration."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from fleetd.errors import ConfigError
from fleetd.providers.contract import Provider

HELPERS = frozenset({"contract", "reading", "signing", "windows"})


def names() -> list[str]:
    """Every provider that a source may name."""
    found = (one.name for one in pkgutil.iter_modules(__path__))
    return sorted(name for name in found if name not in HELPERS)


@cache
def load(name: str) -> Provider:
    """The provider declared in the file of that name, or `ConfigError`."""
    if name not in names():
        raise ConfigError(f"no provider {name!r}; there are: {', '.join(names())}")
    provider = importlib.import_module(f"{__name__}.{name}").PROVIDER
    assert isinstance(provider, Provider)
    return provider
