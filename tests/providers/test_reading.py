"""Lists in a vendor's JSON as they come: whole, of one alone, empty, or something else."""

from __future__ import annotations

import pytest

from fleetd.providers.reading import objects, texts

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
