"""How long to wait: buckets, breakers and backoff, on a clock that is handed in."""

from __future__ import annotations

import math
import random
from collections import deque
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST = 300.0  # seconds: no wait that we choose ourselves is longer
LONGEST_ASKED = 3600.0  # nor one that a far side asks for
PROBE_EVERY = 60.0
PROBE_STEP = 0.1  # of the full rate, a minute
TINY = 1e-9  # so that rounding lets nothing go early, and nobody waits for nothing
SAME_NEWS = 1.0
LOWEST = 1 / 16  # of the full rate: where cuts end
ONCE = 0.95  # of the rate is left after the first refusal in a minute
MARGIN = 0.016  # below a vendor's limit: what the road between us may bunch together
GUARD = 0.0125  # of a window: how much longer than the vendor's we hold it to be
WINDOWS = (1.0, 60.0)  # seconds, in which vendors count
HANDFUL = 10  # calls in a window
AHEAD = 0.005  # of a window, for a quota: it hears how late its calls may have come
LOOSENS = 0.003  # of each window: by so much bunches drift apart again
LATEST = 0.2  # seconds by which a call may be held to have come late
LATE_SHARE = 0.009  # of the time, that may be lost by holding so
PROMPT = 0.05  # seconds: who comes later than that was not kept waiting
DRIFT = 0.02  # of a step, a call: what is usual changes slowly
MOST_UNDER_WAY = 64
CATCH_UP = 0.25  # seconds: what is later than this is lost


class Bucket:
    """Tokens that say when the next call may go; it begins empty unless told otherwise.

    `reserve` tokens are only for what is urgent. No window of time holds more calls
    than `burst + rate * window`, whatever is asked of it.
    """

    def __init__(
        self,
        rate: float,
        burst: int,
        *,
        tokens: float = 0.0,
        filled_at: float = 0.0,
        reserve: int = 0,
    ) -> None:
        self.full = self.rate = rate
        self.burst = max(1, burst)
        self.reserve = min(reserve, self.burst - 1)
        self._tokens = min(tokens, self.burst)
        self._filled_at = filled_at
        self._probed_at = filled_at
        self._cut_at = -math.inf

    def wait(self, now: float, *, urgent: bool = False) -> float:
        """How long until a call may go; nothing is taken yet."""
        self._fill(now)
        missing = 1.0 + (0 if urgent else self.reserve) - self._tokens
        return self._until(missing, now) if missing > TINY else 0.0

    def _until(self, missing: float, now: float) -> float:
        """How long it takes to fill, with the steps the rate takes meanwhile."""
        rate, at = self.rate, now
        probe = self._probed_at + PROBE_EVERY
        while rate < self.full and missing > rate * (probe - at):
            missing -= rate * (probe - at)
            at, probe = probe, probe + PROBE_EVERY
            rate = min(self.full, rate + self.full * PROBE_STEP)
        return at - now + missing / rate + TINY

    def take(self, now: float, *, urgent: bool = False) -> float:
        """Take a token, and say how long to wait before using it."""
        wait = self.wait(now, urgent=urgent)
        self._tokens -= 1.0
        return wait

    def cut(self, now: float) -> None:
        """The far side says it is too much: half the rate, from empty.

        What comes within a second is the same news, from requests under way together.
        """
        self._fill(now)
        self._tokens = min(self._tokens, 0.0)
        if now < self._cut_at + SAME_NEWS:
            return
        self.rate = max(self.rate / 2, self.full * LOWEST)
        self._cut_at = self._probed_at = now

    def _fill(self, now: float) -> None:
        while self.rate < self.full and now >= self._probed_at + PROBE_EVERY:
            self._probed_at += PROBE_EVERY
            self._pour(self._probed_at)
            self.rate = min(self.full, self.rate + self.full * PROBE_STEP)
        self._pour(now)

    def _pour(self, now: float) -> None:
        gone = max(0.0, now - self._filled_at)
        self._tokens = min(float(self.burst), self._tokens + gone * self.rate)
        self._filled_at = max(now, self._filled_at)


class Quota(Bucket):
    """A bucket for far sides that count by the clock.

    No second and no minute holds more calls than the limit (or the burst, where that is
    more): a full bucket would bring its burst on top. It fills a little slower than that,
    or a bunch would come again with every window for ever. Where a window holds but a
    handful, the reserve comes on top: what is urgent would else wait most of a minute.
    A call that took longer than others may have come late, and counts as that much later.
    """

    def __init__(
        self, rate: float, burst: int, *, filled_at: float = 0.0, reserve: int = 0
    ) -> None:
        slower = rate / (1 + AHEAD + LOOSENS)
        super().__init__(slower, burst, filled_at=filled_at, reserve=reserve)
        self._windows = [
            (span * (1 + AHEAD), max(self.burst, math.ceil(rate * span - TINY)))
            for span in WINDOWS
        ]
        longest = max(most for _, most in self._windows) + self.reserve
        self._gone: deque[float] = deque(maxlen=longest)
        self._usual = self._spilt = 0.0
        self._allowed, self._allowed_at = LATEST, filled_at

    def wait(self, now: float, *, urgent: bool = False) -> float:
        return max(super().wait(now, urgent=urgent), self._room_at(urgent) - now)

    def _room_at(self, urgent: bool) -> float:
        """From when on no window is full."""
        at = -math.inf
        for span, most in self._windows:
            room = most + (self.reserve if urgent and most < HANDFUL else 0)
            if len(self._gone) >= room:
                at = max(at, self._gone[-room] + span)
        return at

    def take(self, now: float, *, urgent: bool = False) -> float:
        room_at = self._room_at(urgent)
        wait = super().take(now, urgent=urgent)
        if room_at > now + wait - PROMPT:  # a window it was that kept it waiting
            self._allowed -= self._spilt / self.rate
        self._spilt = 0.0
        self._gone.append(now + wait)
        return wait

    def _pour(self, now: float) -> None:
        gone = max(0.0, now - self._filled_at)
        self._spilt += max(0.0, self._tokens + gone * self.rate - self.burst)
        super()._pour(now)

    def landed(self, went: float, now: float) -> None:
        """A call that went then has been answered.

        Holding it to be late delays one a window later. What others catch up with by
        saved tokens costs nothing; of the rate, no more is spent than comes in with time.
        """
        took = now - went
        usual, self._usual = self._usual, took  # the first may be late with all of it
        if usual:
            self._usual = usual = min(took, usual + DRIFT * (took - usual))
        refill = LATE_SHARE * max(0.0, now - self._allowed_at)
        self._allowed = min(LATEST, self._allowed + refill)
        self._allowed_at = now
        late = min(took - usual, LATEST, self._affordable())
        for number in range(1, min(len(self._gone), MOST_UNDER_WAY) + 1):
            if self._gone[-number] == went:
                self._gone[-number] += late
                return

    def _affordable(self) -> float:
        """By how much a call may be held late.

        While hardly anything was lost, by as much as tokens can still be saved for; and
        then by less and less.
        """
        free = self.burst - self.reserve - 1 - self._tokens
        saved = max(0.0, free) / self.rate if self._allowed > LATEST / 2 else 0.0
        return max(0.0, self._allowed) / 2 + saved


class Spacing:
    """Departures at even steps just under a limit, however late each one really leaves.

    Slots stand at nominal times, so that a sleep that overshoots loses nothing; what is
    late is caught up with, at twice the pace at most, and nothing is saved up while
    nobody waits. No second and no minute holds more departures than the limit allows,
    whatever happened. Those let go and not yet gone are pending: a cold connection makes
    a request late, and the far side counts it when it comes.
    """

    def __init__(self, limit: float, now: float) -> None:
        self.full = self.rate = limit
        self.pending = 0
        self.paused_until = self._cut_at = self._last = -math.inf
        self._slot = now + self.step  # it begins empty
        self._probed_at = now
        self._windows: list[tuple[float, int]] = []
        self._gone: deque[float] = deque()
        self.limit(limit)

    @property
    def step(self) -> float:
        """Seconds from one departure to the next."""
        return (1 + MARGIN) / self.rate

    def limit(self, limit: float) -> None:
        """Keep to another limit from now on; what was cut of the old stays cut."""
        self.full, self.rate = limit, limit * self.rate / self.full
        self._windows = [
            (span * (1 + GUARD), max(1, math.ceil(limit * span - TINY)))
            for span in WINDOWS
        ]
        most = max(most for _, most in self._windows)
        self._gone = deque(self._gone, maxlen=most)

    def due(self, now: float) -> float:
        """From when on the next may go; never, while those pending fill a window."""
        self._probe(now)
        at = max(self._slot, self.paused_until, self._last + self.step / 2)
        for span, most in self._windows:
            room = most - self.pending
            if room <= 0:
                return math.inf
            if len(self._gone) >= room:
                at = max(at, self._gone[-room] + span)
        return at

    def take(self, now: float, since: float) -> None:
        """Let one go, which has waited since then; `gone` says when it has left."""
        meant = max(self._slot, self.paused_until, since, now - CATCH_UP)
        self._slot, self._last = meant + self.step, now
        self.pending += 1

    def gone(self, now: float) -> None:
        """One that was pending has left."""
        self.pending -= 1
        self._gone.append(now)

    def lately(self, now: float) -> int:
        """How many left within the last minute."""
        return sum(1 for one in self._gone if one > now - WINDOWS[-1])

    def pause(self, until: float) -> None:
        """Nothing goes before then."""
        self.paused_until = max(self.paused_until, until)

    def cut(self, now: float) -> bool:
        """The far side says it is too much; False for old news.

        Once may be the road's fault, which bunched what left evenly: a little less. Again
        within a minute, and it means the rate itself: half of it. What is refused during a
        pause had left before it.
        """
        self._probe(now)
        if now < max(self._cut_at + SAME_NEWS, self.paused_until):
            return False
        calm = now >= self._cut_at + PROBE_EVERY
        self.rate = max(self.rate * (ONCE if calm else 0.5), self.full * LOWEST)
        self._slot = max(self._slot, now + self.step)
        self._cut_at = self._probed_at = now
        return True

    def _probe(self, now: float) -> None:
        while self.rate < self.full and now >= self._probed_at + PROBE_EVERY:
            self._probed_at += PROBE_EVERY
            self.rate = min(self.full, self.rate + self.full * PROBE_STEP)


class Backoff:
    """Waits that grow with failures in a row, jittered so that clients do not march."""

    def __init__(
        self, chance: random.Random, *, base: float = 1.0, longest: float = LONGEST
    ) -> None:
        self._chance = chance
        self._base = base
        self._longest = longest
        self.failures = 0
        self._last = base

    def failed(self) -> float:
        """Count a failure, and say how long to wait.

        Decorrelated jitter with a floor that rises to a third of the longest wait: with
        the usual fixed floor the median grows by a tenth a failure, far too slowly.
        """
        self.failures += 1
        low = max(self._base, min(self._last, self._longest / 3))
        high = max(low, min(self._longest, self._last * 3))
        self._last = self._chance.uniform(low, high)
        return self._last

    def succeeded(self) -> None:
        """The next failure is a first one."""
        self.failures, self._last = 0, self._base


class Breaker(Backoff):
    """The same failures as state: closed, or open from the fifth on."""

    opens_at = 5

    @property
    def state(self) -> str:
        return "open" if self.failures >= self.opens_at else "closed"


class Meter:
    """How many a second went through lately."""

    memory = 60.0

    def __init__(self, now: float) -> None:
        self._rate, self._at = 0.0, now

    def add(self, count: int, now: float) -> float:
        """Note that so many went through; the rate as it is now."""
        fading = math.exp((self._at - now) / self.memory)
        self._rate = self._rate * fading + count / self.memory
        self._at = now
        return self._rate


def retry_after(
    header: str | None, now: datetime, *, longest: float = LONGEST_ASKED
) -> float | None:
    """What a `Retry-After` asks for: seconds, fractions or a date; None for nonsense.

    A date in the past and a negative number are no wait; an absurd one is capped.
    """
    text = (header or "").strip()[:64]
    try:
        asked = float(text)
    except ValueError:
        moment = http_date(text)
        if moment is None:
            return None
        asked = (moment - now).total_seconds()
    if math.isnan(asked):
        return None
    return min(max(asked, 0.0), longest)


def http_date(text: str) -> datetime | None:
    """The moment of an HTTP date, aware; None for what is none."""
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
