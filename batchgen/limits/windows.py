"""Sums over a sliding window: what has left within the last minute, or ten, or today."""

import math
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from batchgen.limits.settings import Limits

# A window is held a little longer than the service's, so that jitter on the way never makes one
# too full: what leaves 60.6 s apart does not arrive within 60 s.
SAFETY: Final = 0.99
_ROUNDING: Final = 1e-9


class Demand(NamedTuple):
    """What a request takes of the limits, as far as can be told before it leaves."""

    tokens: int = 0
    usd: Decimal | None = None


NO_DEMAND: Final = Demand()


class Wait(NamedTuple):
    """How long until something may leave, infinite if something has to happen first; and why."""

    for_s: float
    why: str = ""


FREE: Final = Wait(0.0)


@dataclass(slots=True, eq=False)
class Entry:
    """What one request takes of a window: reserved when it may leave, settled when it has ended.

    Attributes:
        is_leaving: It may leave, and has not been seen to: it counts for as long as that lasts.
        is_counted: It is in its window.
    """

    at_s: float
    amount: float
    is_leaving: bool = False
    is_counted: bool = True


class Window:
    """Never more than `limit` within any `span_s` seconds.

    What is larger than the limit by itself leaves when nothing else is in the window: the service
    may take it, and waiting would not make it smaller.
    """

    def __init__(self, limit: float, span_s: float) -> None:
        """Start empty; times are seconds of one clock that does not go back."""
        self.limit = limit
        self._span_s = span_s / SAFETY
        self._entries: deque[Entry] = deque()
        self._overdue: list[Entry] = []  # so old, and still leaving
        self._total = 0.0

    def wait_s(self, now_s: float, amount: float) -> float:
        """Seconds until so much more fits; 0 if it does now, infinite if one has to leave first."""
        while self._entries and self._entries[0].at_s <= now_s - self._span_s:
            entry = self._entries.popleft()
            if entry.is_leaving:
                self._overdue.append(entry)
            else:
                self._forget(entry)
        left_s = 0.0
        over = self._total + amount - self.limit
        for entry in self._entries:
            if over <= _ROUNDING:
                break
            over -= entry.amount
            left_s = entry.at_s + self._span_s - now_s
        return math.inf if over > _ROUNDING and self._overdue else left_s

    def add(self, at_s: float, amount: float, *, is_leaving: bool = False) -> Entry:
        """Count what leaves now, or left before this run; entries come in the order of time."""
        entry = Entry(at_s, amount, is_leaving)
        self._entries.append(entry)
        self._total += amount
        return entry

    def leaves(self, entry: Entry, at_s: float) -> bool:
        """Count a request from now on, for it leaves only now; whether that was overdue.

        One that has left, and is in the window no more, stays out of it.
        """
        if not entry.is_counted:
            return False
        entry.at_s, entry.is_leaving = at_s, False
        is_overdue = entry in self._overdue
        if is_overdue:
            self._overdue.remove(entry)
            self._entries.append(entry)
        return is_overdue

    def end(self, entry: Entry) -> None:
        """Count a request no longer than any: it leaves no more, if it did not."""
        entry.is_leaving = False
        if entry in self._overdue:
            self._overdue.remove(entry)
            self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        entry.is_counted = False
        self._total -= entry.amount

    def settle(self, entry: Entry, amount: float) -> None:
        """Count what a request really took, in place of what was reserved for it."""
        if entry.is_counted:
            self._total += amount - entry.amount
        entry.amount = amount

    def __repr__(self) -> str:
        """Show how full it is."""
        return f"<Window {self._total:g}/{self.limit:g}>"


class Day:
    """Never more than `limit` requests between two midnights at the service."""

    def __init__(self, limit: int) -> None:
        """Start with none."""
        self._limit = limit
        self._day = ""
        self._n = 0

    def wait_s(self, now: datetime) -> float:
        """Seconds until one more may leave; 0 if it may now."""
        if self._n < self._limit or pacific_day(now) > self._day:
            return 0.0
        return seconds_to_midnight(now)

    def add(self, at: datetime) -> None:
        """Count one; they come in the order of time, so that a new day begins with none.

        One that seems to be of an earlier day comes from a clock that was set back. It counts for
        the latest one, which must not hold more for that.
        """
        day = pacific_day(at)
        if day > self._day:
            self._day, self._n = day, 0
        self._n += 1


@dataclass(slots=True)
class Windows:
    """What the job allows one model."""

    requests: Window | None
    tokens: Window | None
    images: Window | None
    usd: Window | None
    day: Day | None

    @classmethod
    def of(cls, limits: Limits) -> "Windows":
        """Start with nothing counted."""

        def window(limit: float | Decimal | None, span_s: float) -> Window | None:
            return None if limit is None else Window(float(limit), span_s)

        def count(per_min: float | None) -> Window | None:
            if per_min is None:
                return None
            # Less than one a minute is one in a longer time.
            return Window(max(1.0, per_min), 60 / min(1.0, per_min))

        return cls(
            requests=count(limits.rpm),
            tokens=window(limits.tpm, 60),
            images=count(limits.ipm),
            usd=window(limits.usd_per_10min, 600),
            day=None if limits.rpd is None else Day(limits.rpd),
        )

    def day_wait_s(self, now: datetime) -> float:
        """Seconds until the day has room for one more request."""
        return 0.0 if self.day is None else self.day.wait_s(now)

    def wait(self, now_s: float, demand: Demand) -> Wait:
        """The longest wait that any of them asks for."""
        windows = (
            (self.requests, 1.0, "rpm"),
            (self.tokens, float(demand.tokens), "tpm"),
            (self.images, 1.0, "ipm"),
            (self.usd, float(demand.usd or 0), "usd_per_10min"),
        )
        waits = [
            Wait(window.wait_s(now_s, amount), f"for limits.{name}")
            for window, amount, name in windows
            if window is not None
        ]
        return max(waits, default=FREE)


def _pacific() -> tzinfo:
    try:
        return ZoneInfo("America/Los_Angeles")
    except ZoneInfoNotFoundError:
        # A machine without a table of time zones: in summer the day then ends an hour late.
        return timezone(timedelta(hours=-8))


_PACIFIC: Final = _pacific()


def pacific_day(at: datetime) -> str:
    """The day at the service, whose quotas begin anew at midnight Pacific: `2026-11-21`."""
    return at.astimezone(_PACIFIC).strftime("%Y-%m-%d")


def seconds_to_midnight(at: datetime) -> float:
    """Seconds until the next midnight Pacific."""
    local = at.astimezone(_PACIFIC)
    tomorrow = (local + timedelta(days=1)).date()
    midnight = datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=_PACIFIC)
    return max(math.ulp(1.0), (midnight.astimezone(UTC) - at).total_seconds())
