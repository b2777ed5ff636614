"""Limits as a vendor keeps them: sliding windows that remember every request."""

from __future__ import annotations

from array import array
from collections import deque
from typing import Any

from msgspec import Struct

JITTER_S = 0.3  # a busy machine lets requests wait for each other that were sent apart


class Tier(Struct, frozen=True):
    """So many requests within so many seconds, of one credential."""

    name: str
    limit: int
    within: float = 1.0


class Meter:
    """What one credential asked for under one tier."""

    def __init__(self, tier: Tier) -> None:
        self.tier = tier
        self.times = array("d")  # taken
        self.refused = array("d")
        self.over = 0  # of the refused, those that no jitter explains
        self._window: deque[float] = deque()

    def wait(self, now: float) -> float:
        """Seconds until the next request would be taken; 0 is now."""
        window, tier = self._window, self.tier
        while window and window[0] <= now - tier.within:
            window.popleft()
        if len(window) < tier.limit:
            return 0.0
        return max(window[len(window) - tier.limit] + tier.within - now, 0.001)

    def take(self, now: float) -> None:
        self._window.append(now)
        self.times.append(now)

    def most(self) -> int:
        """The most requests within one window, refused ones too."""
        every = sorted([*self.times, *self.refused])
        first, most = 0, 0
        for n, at in enumerate(every):
            while every[first] <= at - self.tier.within:
                first += 1
            most = max(most, n - first + 1)
        return most

    def told(self) -> dict[str, Any]:
        taken, refused = len(self.times), len(self.refused)
        spent = self.times[-1] - self.times[0] if taken > 1 else 0.0
        allowed = self.tier.limit / self.tier.within
        return {
            "tier": self.tier.name,
            "limit": self.tier.limit,
            "within": self.tier.within,
            "taken": taken,
            "refused": refused,
            "most": self.most(),
            "first": self.times[0] if taken else None,
            "last": self.times[-1] if taken else None,
            "used": round((taken - 1) / spent / allowed, 4) if spent else 0.0,
        }


class Limiter:
    """Every meter there is: one a credential and tier."""

    def __init__(self) -> None:
        self.meters: dict[tuple[str, str], Meter] = {}

    def ask(self, credential: str, tiers: list[Tier], now: float) -> float:
        """0 when the request may pass (it is counted then), else seconds to wait."""
        meters = [self._meter(credential, tier) for tier in tiers]
        wait, worst = max(
            ((m.wait(now), m) for m in meters), key=first, default=(0.0, None)
        )
        if wait and worst is not None:
            worst.refused.append(now)
            worst.over += wait > JITTER_S
            return wait
        for meter in meters:
            meter.take(now)
        return 0.0

    def _meter(self, credential: str, tier: Tier) -> Meter:
        key = credential, tier.name
        if key not in self.meters or self.meters[key].tier != tier:
            self.meters[key] = Meter(tier)
        return self.meters[key]

    def over(self) -> int:
        """Requests that came over a limit, by more than how they were received."""
        return sum(one.over for one in self.meters.values())

    def told(self) -> list[dict[str, Any]]:
        return [
            {"credential": credential, **meter.told()}
            for (credential, _), meter in sorted(self.meters.items())
        ]


def first(pair: tuple[float, Any]) -> float:
    return pair[0]
