"""Lists in a vendor's JSON as they come: whole, of one alone, empty, or something else."""

from __future__ import annotations

import tracemalloc

import pytest

from fleetd.event.words import vin_of
from fleetd.providers.loconav.names import name_of
from fleetd.providers.reading import objects, snake, texts, tidied

ONE = {"id": 7, "name": "west"}


@pytest.mark.parametrize(
    ("record", "found"),
    [
        ({"a": [ONE, None, "x", ONE]}, [ONE, ONE]),
        ({"a": ONE}, [ONE]),
        ({"a": {}, "b": [ONE]}, [ONE]),
        ({"a": [], "b": [ONE]}, []),
        ({"a": None, "b": ONE}, [ONE]),
        ({"a": "x"}, []),
        ({}, []),
    ],
)
def test_a_list_of_one_may_come_as_the_one_alone(record, found):
    assert objects(record, "a", "b") == found


@pytest.mark.parametrize(
    ("record", "found"),
    [
        ({"a": [ONE, "east", 3, None, {}]}, ("west", "east", "3")),
        ({"a": ONE}, ("west",)),
        ({"a": {"id": 7}}, ("7",)),
        ({"a": {}}, ()),
        ({"a": "x"}, ()),
    ],
)
def test_the_texts_of_a_list_are_its_own_or_the_names_of_its_objects(record, found):
    assert texts(record, "a") == found


def test_texts_as_long_as_novels_are_not_remembered():
    """Each of these is told once, and a log runs for years."""
    tracemalloc.start()
    for n in range(100):
        novel = f"Novel {n} " + "x" * 100_000
        tidied({novel: 1})
        snake(novel)
        assert vin_of(novel) is None
        assert name_of(novel).startswith(f"novel_{n}_")
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    assert held < 1_000_000
    assert vin_of(" " * 200 + "1fujgldr5clbp8834 ") == "1FUJGLDR5CLBP8834"
