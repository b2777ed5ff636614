"""Times in every form that vendors write, read as one moment in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fleetd.providers.loconav.told import moment_in
from fleetd.providers.reading import as_moment

AT = datetime(2026, 5, 12, 14, tzinfo=UTC)


@pytest.mark.parametrize(
    "said",
    ["2026-05-12T14:00:00Z", "2026-05-12t14:00:00z", "2026-05-12 14:00:00",
     "2026-05-12T14:00:00.000000000Z", "2026-05-12T19:30:00+05:30",
     "2026-05-12T19:30:00+0530", "2026-05-12T19:30:00.0 +05:30", "20260512T140000Z",
     "2026-05-12T14:00:00 UTC", "2026-05-12T14:00:00 GMT", " 2026-05-12T14:00Z ",
     "/Date(1778594400000)/", "/Date(1778594400000+0000)/", 1778594400,
     1778594400000, "1778594400", "1778594400000", 1778594400.0],
)  # fmt: skip
def test_every_form_of_a_time_is_one_moment(said):
    assert as_moment(said) == AT
    assert moment_in(UTC, said) == AT


def test_a_leap_second_is_the_second_before_it():
    assert as_moment("2026-05-12T13:59:60Z") == AT.replace(
        hour=13, minute=59, second=59
    )


@pytest.mark.parametrize(
    "said",
    ["", " ", "now", "2026-13-01", "2026-05-12T25:00:00Z", "0001-01-01T00:00:00Z",
     "/Date(x)/", 2**63 - 1, str(2**63 - 1), -1, 0, True, None, [], "NaN", 1e308],
)  # fmt: skip
def test_what_is_no_time_is_none(said):
    assert as_moment(said) is None
