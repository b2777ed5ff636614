"""Every key of the config changes something, and a test here shows it (P10)."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path

from fleetd import providers, sinks
from fleetd.config.keys import keys, keys_of

HERE = Path(__file__).parent


def every_key() -> set[str]:
    found = {one.path for one in keys()}
    for name in providers.names():
        if settings := providers.load(name).settings:
            where = f"sources.NAME ({name})"
            found |= {one.path for one in keys_of(where, settings, {})}
    for name in sinks.names():
        where = f"sinks.NAME ({name})"
        found |= {one.path for one in keys_of(where, sinks.load(name).config, {})}
    return found


def shown() -> Counter[str]:
    found: Counter[str] = Counter()
    for path in HERE.glob("test_*.py"):
        module = importlib.import_module(f"tests.end_to_end.{path.stem}")
        for name, one in vars(module).items():
            if name.startswith("test_"):
                found.update(getattr(one, "shows", ()))
    return found


def test_every_key_has_a_test_that_shows_what_it_changes():
    assert sorted(every_key() - set(shown())) == []


def test_no_test_shows_a_key_that_is_gone():
    assert sorted(set(shown()) - every_key()) == []
