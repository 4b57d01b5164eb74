"""How much a service takes, found out by asking for more until it says no.

Two things may be limited: how many requests are in flight, and how many leave in a while. What a
refusal tells them apart by: a request that is refused though as many were taken together before is
one too many for the time; one that is refused where there never were so many may be one too many
at once.

    at once    the limit falls to what was taken, and rises by one after ever longer quiet spells
    in a while the pace becomes what was taken over the time that this and the pause took, and
               rises slowly, then faster, while nothing is refused

The service's own limit is thus met again and again, each time by about one request. Successes of
requests that left before a refusal say nothing about what came after it, and are ignored. Neither
grows while the limit is not really used. Nothing here reads a clock.

Source: TCP's congestion control, above all CUBIC (RFC 9438) for the shape of the growth; the
figures were chosen by simulation, docs/adr/0010.
"""

import math
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Final, Literal, TypeAlias

from batchgen.limits.settings import Concurrency

Limited: TypeAlias = Literal["at once", "in a while"]

# Requests after which more is tried again; longer, the more time a refusal costs.
_PATIENCE: Final = 60
_MOST_PATIENCE: Final = 600
_FIRST_SPELL: Final = 8.0
_SHORTEST_SPELL: Final = 4.0
_FEWEST_TOO_MANY: Final = 3
_MOST_OF_THEM: Final = 0.6
_FEW_OF_THEM: Final = 0.3
_REMEMBERED: Final = 200
_PATIENCE_A_LOST_REQUEST: Final = 10
# A refusal sooner than this after the last one: the pace was far too high.
_EARLY: Final = 60
_FIRST_PACE: Final = 0.97
_FIRST_PEAK: Final = 1.1
_CUT: Final = 0.97
_EARLY_CUT: Final = 0.9
_BURST_CUT: Final = 2
_EARLY_BURST_CUT: Final = 4
_MEMORY_S: Final = 120.0
_FEWEST_MEASURED: Final = 5
_LATENCY_WEIGHT: Final = 0.1


@dataclass(frozen=True, slots=True)
class Departure:
    """A request as it left: when, with how many in flight, itself included, and if paced."""

    at_s: float
    n_in_flight: int
    is_pace_used: bool


@dataclass(slots=True)
class _Pace:
    """Requests a second, and how many may leave together after a pause."""

    per_s: float
    peak_per_s: float
    burst: float
    patience: float
    n_since: int = 0
    depth: float = field(init=False)
    _tokens: float = 0.0
    _filled_s: float = 0.0

    def __post_init__(self) -> None:
        self.depth = 1 - self.per_s / self.peak_per_s

    def resume(self, at_s: float, pause_s: float) -> None:
        """Begin after a pause: what could have left meanwhile may leave now."""
        self._tokens = min(self.burst, self.per_s * pause_s)
        self._filled_s = at_s

    def wait_s(self, now_s: float) -> float:
        """Seconds until one may leave."""
        self._fill(now_s)
        return max(0.0, 1 - self._tokens) / self.per_s

    def take(self, now_s: float) -> bool:
        """One leaves; whether the next has to wait."""
        self._fill(now_s)
        self._tokens -= 1
        return self._tokens < 1

    def grow(self) -> None:
        """One more was taken: slowly up to the peak, past it faster and faster."""
        self.n_since += 1
        beyond = (self.n_since - self.patience) / self.patience
        self.per_s = self.peak_per_s * (1 + self.depth * beyond**3)

    def _fill(self, now_s: float) -> None:
        if now_s > self._filled_s:
            gained = (now_s - self._filled_s) * self.per_s
            self._tokens = min(self.burst, self._tokens + gained)
            self._filled_s = now_s


class Adaptive:
    """How many requests to one model may be in flight, and how fast they may leave."""

    def __init__(self, bounds: Concurrency) -> None:
        """Start with the first guess, and without a pace."""
        self._bounds = bounds
        self.limit = bounds.start
        self._is_searching = True  # nothing was refused yet
        self._most_taken = 0
        # How many left, and failed, by how many were in flight then.
        self._left_by_n = [0.0] * (bounds.highest + 1)
        self._failed_by_n = [0.0] * (bounds.highest + 1)
        self._wall = math.inf  # so many together were refused
        self._n_over_wall = 0
        self._n_quiet = 0
        self._quiet_spell = _FIRST_SPELL
        self._pace: _Pace | None = None
        self._latency_s: float | None = None
        self._departures_s: deque[float] = deque()
        self._left_s = -math.inf
        self._full_s = -math.inf  # when the limit was last reached
        self._cut_s = -math.inf
        self._refused_s = -math.inf  # when the first of the latest row of refusals left
        self._last_refused_s = -math.inf
        self._is_row_open = False  # nothing was taken since the latest refusal
        self._is_told = True
        self._is_guessing = False  # how long that row lasts, which nobody told
        self._kind: Limited = "at once"
        self._pace_before: _Pace | None = None

    @property
    def per_min(self) -> float | None:
        """The pace that was found; None while there is none."""
        return None if self._pace is None else self._pace.per_s * 60

    @property
    def latency_s(self) -> float:
        """What a request takes by now; 0 while nothing is known."""
        return self._latency_s or 0.0

    def wait_s(self, now_s: float, n_in_flight: int) -> float:
        """Seconds until one more may leave; infinite if one in flight has to end first."""
        if n_in_flight >= self.limit:
            return math.inf
        apart_s = self._left_s + self.latency_s / self.limit - now_s
        wait_s = 0.0
        # More than were ever taken at once: not at the same moment as others, or a limit on how
        # close they come would look like one on how many there are. The same after a refusal, or
        # all that waited for the pause to end would be refused together.
        is_trying = not self._is_searching and n_in_flight >= self._most_taken
        if is_trying or self._is_row_open or self._pace is not None:
            wait_s = apart_s
        if self._pace is not None:
            wait_s = max(wait_s, self._pace.wait_s(now_s))
        return max(0.0, wait_s)

    def leaves(self, now_s: float, n_in_flight: int) -> Departure:
        """One leaves; `n_in_flight` counts it."""
        self._left_s = now_s
        self._departures_s.append(now_s)
        while self._departures_s[0] < now_s - _MEMORY_S:
            self._departures_s.popleft()
        if n_in_flight >= self.limit:
            self._full_s = now_s
        self._left_by_n[n_in_flight] += 1
        if sum(self._left_by_n) > _REMEMBERED:
            self._left_by_n = [n / 2 for n in self._left_by_n]
            self._failed_by_n = [n / 2 for n in self._failed_by_n]
        is_pace_used = self._pace is not None and self._pace.take(now_s)
        return Departure(now_s, n_in_flight, is_pace_used)

    def leaves_late(self, departure: Departure, now_s: float) -> Departure:
        """One that might have left before leaves only now: what is measured counts from here."""
        self.forget(departure)
        self._departures_s.append(now_s)
        self._left_s = now_s
        return replace(departure, at_s=now_s)

    def taken(self, departure: Departure, now_s: float) -> None:
        """The service worked on a request, whatever came of it."""
        took_s = now_s - departure.at_s
        known_s = took_s if self._latency_s is None else self._latency_s
        self._latency_s = known_s + _LATENCY_WEIGHT * (took_s - known_s)
        if departure.at_s < self._cut_s:
            return
        self._is_row_open = False
        if self._is_guessing:
            # There was room again between the last that was refused and the first that was taken.
            self._is_guessing = False
            self._slow_down((self._last_refused_s + departure.at_s) / 2)
        self._most_taken = max(self._most_taken, departure.n_in_flight)
        if departure.n_in_flight >= self._wall:
            self._n_over_wall += 1
            if self._n_over_wall >= _FEWEST_TOO_MANY:
                # As many as were refused together are taken: it was not how many they were.
                self._wall, self._n_over_wall = departure.n_in_flight + 1, 0
                self._quiet_spell = max(_SHORTEST_SPELL, self._quiet_spell / 2)
        if self._full_s >= departure.at_s:
            self._grow()
        if departure.is_pace_used and self._pace is not None:
            self._pace.grow()

    def refused(
        self,
        departure: Departure,
        now_s: float,
        until_s: float,
        n_in_row: int,
        *,
        is_told: bool = True,
    ) -> None:
        """The service refused a request for there being too many; nothing leaves until then.

        Args:
            departure: The first that was refused since the pause before.
            now_s: When its answer came.
            until_s: When the pause ends.
            n_in_row: How many pauses there were without a request taken in between, from 1.
            is_told: Whether the service said how long; else it is a guess.
        """
        self._last_refused_s = departure.at_s
        self._is_told = is_told
        self._is_row_open = True
        if n_in_row == 1:
            self._refused_s = departure.at_s
            self._pace_before = self._pace
            # One alone is never too many at once.
            is_too_many = departure.n_in_flight > max(1, self._most_taken)
            self._kind = "at once" if is_too_many else "in a while"
            if is_too_many:
                self._fall(departure.n_in_flight - 1)
        self._cut_s = now_s
        self._is_guessing = False
        if self._kind == "in a while":
            self._slow_down(until_s)
            self._is_guessing = not is_told

    def was_too_many(self, departure: Departure, now_s: float) -> bool:
        """Take a failure as one too many at once, if it looks like that; whether it does.

        Some services say "overloaded" for a limit of how many there are. Then most of those that
        left with as many in flight fail, and few of those that left with less.
        """
        n = departure.n_in_flight
        self._failed_by_n[n] += 1
        if departure.at_s < self._cut_s or n <= 1:
            return False
        failed, left = sum(self._failed_by_n[n:]), sum(self._left_by_n[n:])
        is_here = failed >= _FEWEST_TOO_MANY and failed >= _MOST_OF_THEM * left
        failed_below, left_below = sum(self._failed_by_n[:n]), sum(self._left_by_n[:n])
        is_below = failed_below > _FEW_OF_THEM * left_below
        if not is_here or is_below:
            return False
        self._cut_s = now_s
        self._fall(n - 1)
        return True

    def crowded(self, departure: Departure) -> None:
        """There is no room for so many on our own side."""
        self._fall(departure.n_in_flight - 1)

    def forget(self, departure: Departure) -> None:
        """A request was refused, or never came to anything: it took nothing of any limit."""
        with suppress(ValueError):
            self._departures_s.remove(departure.at_s)

    def n_left_between(self, since_s: float, before_s: float) -> int:
        """How many left in this time that were not refused and did not fail, or not yet."""
        since = takewhile(lambda at_s: at_s >= since_s, reversed(self._departures_s))
        return sum(at_s < before_s for at_s in since)

    def start_over(self) -> None:
        """After an outage: as at the start, but for what is known of the service's own limits."""
        if self._is_searching:
            self.limit = self._bounds.start

    def _grow(self) -> None:
        if not self._is_searching:
            self._n_quiet += 1
            if self._n_quiet < self._quiet_spell:
                return
            self._n_quiet = 0
        self.limit = min(self._bounds.highest, self.limit + 1)

    def _fall(self, n_taken: int) -> None:
        if not self._is_searching:
            self._quiet_spell = min(_MOST_PATIENCE, self._quiet_spell * 2)
        self._is_searching = False
        self._n_quiet = 0
        self._wall, self._n_over_wall = n_taken + 1, 0
        for by_n in (self._left_by_n, self._failed_by_n):
            by_n[n_taken + 1 :] = [0.0] * len(by_n[n_taken + 1 :])
        self.limit = max(self._bounds.lowest, min(self.limit, n_taken))

    def _slow_down(self, until_s: float) -> None:
        """Leave at the pace that was taken, the pause included."""
        taken_per_s = self._measured_per_s(until_s)
        if taken_per_s is None:
            return
        pause_s = until_s - self._refused_s
        before = self._pace_before
        if before is None:
            per_s, peak_per_s = _FIRST_PACE * taken_per_s, _FIRST_PEAK * taken_per_s
            burst = taken_per_s * pause_s if self._is_told else 1.0
        else:
            is_early = before.n_since < _EARLY
            cut = _EARLY_CUT if is_early else _CUT
            per_s = min(before.per_s, max(_FIRST_PACE * taken_per_s, cut * before.per_s))
            peak_per_s = per_s / _CUT
            burst = before.burst / (_EARLY_BURST_CUT if is_early else _BURST_CUT)
        patience = max(_PATIENCE, _PATIENCE_A_LOST_REQUEST * per_s * pause_s)
        self._pace = _Pace(per_s, peak_per_s, max(1.0, burst), min(_MOST_PATIENCE, patience))
        self._pace.resume(until_s, pause_s)

    def _measured_per_s(self, until_s: float) -> float | None:
        """What was taken before the refusal, a second: the best of all spans that end with it."""
        best: float | None = None
        n = 0
        for left_s in reversed(self._departures_s):
            if left_s > self._refused_s:
                continue
            n += 1
            if n >= _FEWEST_MEASURED and until_s > left_s:
                best = max(best or 0.0, n / (until_s - left_s))
        return best

    def __repr__(self) -> str:
        """Show what was found."""
        pace = "" if self.per_min is None else f", {self.per_min:.1f}/min"
        return f"<Adaptive {self.limit} at once{pace}>"
