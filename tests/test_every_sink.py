"""What every kind of sink keeps to: found by its file, declared, documented, bounded."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import msgspec
import pytest

from fleetd import sinks
from fleetd.event import KINDS
from fleetd.sinks.contract import Sink

KINDS_OF_SINK = sinks.names()


@pytest.fixture(params=KINDS_OF_SINK)
def sink(request) -> Sink:
    return sinks.load(request.param)


def module_of(sink: Sink):
    return sys.modules[sink.open.__module__]


def test_the_sinks_of_the_core_are_there():
    assert {"file", "http"} <= set(KINDS_OF_SINK)


def test_helpers_are_not_sinks():
    assert not {"contract", "answers"} & set(KINDS_OF_SINK)


def test_its_file_says_how_a_repeat_is_harmless_or_that_it_is_not(sink):
    assert "repeat" in (module_of(sink).__doc__ or "").lower()


def test_it_is_declared_by_the_last_statement_of_its_file(sink):
    source = inspect.getsource(module_of(sink)).rstrip()
    last = source[source.rindex("\nSINK = ") :]

    assert last.startswith("\nSINK = Sink(")
    assert "\ndef " not in last


def test_its_numbers_make_sense(sink):
    assert 1 <= sink.batch <= 10_000
    assert 0 <= sink.batch_bytes <= 64 << 20
    assert sink.per_second > 0
    assert sink.burst >= 1
    assert 0 <= sink.linger <= 60
    assert sink.takes
    assert set(sink.takes) <= set(KINDS)


def test_its_config_refuses_keys_it_does_not_know(sink):
    assert issubclass(sink.config, msgspec.Struct)
    assert sink.config.__struct_config__.forbid_unknown_fields
    assert sink.config.__struct_config__.frozen


def test_its_keys_do_not_hide_those_that_every_sink_has(sink):
    from fleetd.config import SinkTable
    from fleetd.config.shape import keys_in

    own = {field.encode_name for field in msgspec.structs.fields(sink.config)}
    assert not own & set(keys_in(SinkTable))


def test_it_can_be_checked_without_writing(sink):
    assert sink.check is not None
    assert (sink.check.__doc__ or "").strip()


def test_it_neither_waits_nor_retries_by_itself(sink):
    source = Path(module_of(sink).__file__).read_text()

    for word in (
        "trio.sleep",
        "time.sleep",
        "backoff",
        "Bucket",
        "asyncio",
        "requests.",
    ):
        assert word not in source, word
