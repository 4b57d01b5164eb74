"""Figures as a person reads them, the same everywhere."""

import re
from datetime import time
from decimal import Decimal

_CENT = Decimal("0.01")
_MINUTE_S = 60
_UNITS_S = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_TIME_OF_DAY = re.compile("([01]?[0-9]|2[0-3]):([0-5][0-9])")
_DURATION = re.compile(
    " ?".join(rf"(?:(?P<{unit}>[0-9]+(?:\.[0-9]+)?){unit})?" for unit in _UNITS_S)
)


def usd(amount: Decimal | None) -> str:
    """Money: cents, or more digits where it is less than a cent; `unknown` for None."""
    if amount is None:
        return "unknown"
    sign, amount = ("-", -amount) if amount < 0 else ("", amount)
    if amount == 0 or amount >= _CENT:
        return f"{sign}${amount:,.2f}"
    return f"{sign}${amount:.6f}".rstrip("0")


def fine_usd(amount: Decimal | None) -> str:
    """What one picture costs, to a hundredth of a cent; `unknown` for None."""
    return "unknown" if amount is None else f"${amount:,.4f}"


def bill(known: Decimal | None, n_unknown: int) -> str:
    """What is known of a bill, marked `+?` where calls of unknown cost come on top of it."""
    return usd(known) + ("+?" if n_unknown and known is not None else "")


def duration(seconds: float | None) -> str:
    """`4.2s`, `41m07s`, `3h02m`; `–` for None."""
    if seconds is None:
        return "–"
    if seconds < _MINUTE_S:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"


def read_duration(text: str) -> float | None:
    """Seconds of `90`, `90s`, `30m`, `1h30m`, `2d`; None for what is no such time."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    found = _DURATION.fullmatch(text)
    if found is None or not text:
        return None
    parts = found.groupdict(default="0")
    return sum(float(parts[unit]) * seconds for unit, seconds in _UNITS_S.items())


def read_time_of_day(text: str) -> time | None:
    """`06:30`, or `6:30`, as a clock shows it; None for what is no time of day."""
    found = _TIME_OF_DAY.fullmatch(text)
    return None if found is None else time(int(found[1]), int(found[2]))


def counted(n: int, what: str, plural: str | None = None) -> str:
    """`1 item`, `2,000 items`; `3 queries` where an s alone will not do."""
    return f"{n:,} {what if n == 1 else plural or what + 's'}"
