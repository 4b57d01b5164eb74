"""How long a refusal asks to wait: in headers, in its details, and in its plain words.

Whatever tells a wait is read, and who asks takes the longest, so that nothing is sent earlier than
was told; what makes no sense tells nothing. `x-ratelimit-reset…` is left out on purpose: it says
when a whole limit is free again, not when the next call may come, and each service writes it in a
form of its own. So is `x-retry-after`, which holds seconds, minutes or a time of day.

Source: docs/api-notes.md, section 3.
"""

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

# The names by which services send it, and how many of what a plain number counts are a second.
_PER_S_BY_NAME: Final = {"retry-after": 1, "retry-after-ms": 1000, "x-ms-retry-after-ms": 1000}
# litellm puts this before the name of every header of the service that it passes on.
_PASSED_ON: Final = "llm_provider-"
# One value of several; the comma inside a date has a day and a month behind it.
_COMMA: Final = re.compile(r",(?!\s*\d{1,2}[ -][A-Za-z])")
# As Go writes one: 34.07s, 900ms, 2h47m56.5s. Digits are bounded, so that no text is slow to read.
_PART: Final = r"\d{1,12}(?:\.\d{1,20})?(?:h|ms|m|s)"
_ONE_PART: Final = re.compile(r"([\d.]+)(\D+)")
_DURATION: Final = re.compile(rf"(?:{_PART})+", re.IGNORECASE)
# Google's own words for it. A gateway that drops the details keeps the message.
_IN_WORDS: Final = re.compile(rf"please retry in ((?:{_PART})+)", re.IGNORECASE)
_UNIT_S: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def told_by_headers(headers: Mapping[str, str], now: datetime | None) -> Iterator[float]:
    """Every wait that a header tells; a value may hold several, as of a header sent twice.

    Args:
        headers: By their names in any case.
        now: For a date without a Date header beside it, which else tells nothing.
    """
    by_name = [(name.lower().removeprefix(_PASSED_ON), value) for name, value in headers.items()]
    dates = [_date(value) for name, value in by_name if name == "date"]
    sent_at = min((date for date in dates if date), default=now)
    for name, value in by_name:
        if (per_s := _PER_S_BY_NAME.get(name)) is None:
            continue
        for one in _COMMA.split(value):
            if (wait_s := _of_header(one.strip(), per_s, sent_at)) is not None:
                yield wait_s


def told_by_words(message: str) -> Iterator[float]:
    """Every wait that a message asks for in plain words."""
    for found in _IN_WORDS.finditer(message):
        if (wait_s := _of_duration(found.group(1))) is not None:
            yield wait_s


def told_by_delay(delay: Any) -> float | None:
    """The `retryDelay` of a RetryInfo: `"34s"`, or the object that some programs make of it."""
    if isinstance(delay, str):
        return _of_duration(delay)
    if not isinstance(delay, dict):
        return None
    seconds = _number(str(delay.get("seconds", "")))
    nanos = _number(str(delay.get("nanos", "")))
    if seconds is None and nanos is None:
        return None
    return (seconds or 0.0) + (nanos or 0.0) / 1e9


def _of_header(value: str, per_s: int, sent_at: datetime | None) -> float | None:
    """A number, a duration, or a date counted against the reply's own, so that no clock matters."""
    if (number := _number(value)) is not None:
        return number / per_s
    if (duration_s := _of_duration(value)) is not None:
        return duration_s
    until = _date(value)
    if until is None or sent_at is None:
        return None
    return max(0.0, (until - sent_at).total_seconds())


def _of_duration(value: str) -> float | None:
    if not _DURATION.fullmatch(value):
        return None
    parts = _ONE_PART.findall(value.lower())
    return math.fsum(float(number) * _UNIT_S[unit] for number, unit in parts)


def _date(value: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
