"""Samsara's feeds: every sample means what its golden file says."""

from __future__ import annotations

import json
import os

import pytest

from tests.providers.samsara_pages import FEEDS, SAMPLES, feed_of, read


@pytest.mark.parametrize("path", SAMPLES, ids=[path.stem for path in SAMPLES])
def test_a_page_means_what_its_golden_file_says(path):
    golden = path.with_suffix(".events.json")
    found = read(path)
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")

    assert found == json.loads(golden.read_text())


def test_every_feed_has_a_sample():
    assert {feed_of(path).name for path in SAMPLES} == set(FEEDS)
