"""Moments as logs write them, and the span of time that is asked for. All of it is UTC."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from batchgen.errors import UsageError
from batchgen.wording import read_duration

# Seconds, milliseconds, microseconds or nanoseconds since 1970: told by how large they are.
_PER_SECOND: Final = (1, 10**3, 10**6, 10**9)
_LEAST_S, _MOST_S = 946_684_800, 4_102_444_800  # 2000 and 2100
_DAY_CHARS: Final = len("2026-11-21")
_BARE_DAY_CHARS: Final = len("20261121")


def read_moment(value: Any) -> datetime | None:
    """A moment from an ISO text in any offset, or a number since 1970; None if it is none.

    A text without an offset is taken for UTC.
    """
    if isinstance(value, str):
        text = value.strip()
        if text.isdecimal() and len(text) > _BARE_DAY_CHARS:
            return _since_1970(float(text))  # 1795120100000 begins with a day of 1795 as well
        try:
            found = datetime.fromisoformat(text)
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
        try:
            value = float(text)
        except ValueError:
            return None
    return None if isinstance(value, bool) else _since_1970(value)


def _since_1970(value: Any) -> datetime | None:
    if not isinstance(value, int | float):
        return None
    for per_second in _PER_SECOND:
        seconds = value / per_second if abs(value) < 10**20 else 0
        if _LEAST_S <= seconds < _MOST_S:
            return datetime.fromtimestamp(seconds, UTC)
    return None


@dataclass(frozen=True, slots=True)
class Span:
    """From a moment on, and up to but without another; None is no bound."""

    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether anything can be outside of it."""
        return self.since is not None or self.until is not None

    def has(self, at: datetime) -> bool:
        """Whether a moment is in it."""
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)

    def has_all_of(self, day: datetime) -> bool | None:
        """Whether the day that begins at a moment is in it; None if a part of it is."""
        last = day + timedelta(days=1, microseconds=-1)
        inside = (self.has(day), self.has(last))
        return inside[0] if inside[0] == inside[1] and not self._is_within(day, last) else None

    def _is_within(self, first: datetime, last: datetime) -> bool:
        """Whether a bound lies between two moments."""
        bounds = (one for one in (self.since, self.until) if one is not None)
        return any(first < one <= last for one in bounds)


def read_bound(text: str, now: datetime, *, is_end: bool) -> datetime:
    """A bound of a span: a day, a stamp, or an age such as 7d or 24h.

    Args:
        text: As it was written.
        now: What an age counts from.
        is_end: A day ends a span with its end, and begins it with its beginning.

    Raises:
        UsageError: It is none of them.
    """
    age_s = None if text.strip().isdigit() else read_duration(text)
    try:
        if age_s is not None:
            return now - timedelta(seconds=age_s)
        found = datetime.fromisoformat(text.strip())
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        is_day = len(text.strip()) <= _DAY_CHARS
        return found + timedelta(days=1) if is_day and is_end else found
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{text!r} is no time: expected a day (2026-11-21), a stamp (2026-11-21T03:00:00Z) "
            "or an age (7d, 24h)"
        ) from error
