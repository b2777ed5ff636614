"""How many examples a property is tried with: few and always the same, or a search."""

from __future__ import annotations

from hypothesis import settings

FEWEST = 50


def tries(searching: int) -> int:
    """So many where `--hypothesis-profile=search` goes looking, a quarter at the gate."""
    if settings.get_current_profile_name() == "search":
        return searching
    return max(searching // 4, FEWEST)
