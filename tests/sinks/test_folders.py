"""What the system says to a sink that is a folder, in words that help."""

from __future__ import annotations

import errno

import pytest

from fleetd.errors import HeldError, TransientError
from fleetd.sinks.folders import verdict


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        (errno.ENOSPC, TransientError, "is full .*; free some space"),
        (errno.EDQUOT, TransientError, "is full"),
        (errno.EMFILE, TransientError, "Too many"),
        (errno.ENOENT, TransientError, "went away meanwhile"),
        (errno.EROFS, HeldError, "Read-only"),
        (errno.EACCES, HeldError, "give its user the right"),
        (errno.EIO, HeldError, "see to the disk"),
    ],
)
def test_what_the_system_says_is_a_verdict(tmp_path, code, kind, said):
    found = verdict(code, "", tmp_path / "lake")

    assert isinstance(found, kind)
    assert getattr(found, "counts", False) is False
    with pytest.raises(kind, match=said):
        raise found


def test_a_folder_that_cannot_be_made_wants_its_disk(tmp_path):
    lake = tmp_path / "lake"

    assert "mount its disk" in str(verdict(errno.ENOENT, str(lake), lake))
    assert "mount its disk" in str(verdict(errno.ENOENT, "", lake / "in" / "it"))
