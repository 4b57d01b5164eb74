"""Round ticks, and figures as an axis or a label writes them."""

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import chain
from typing import Final

from batchgen.wording import usd

_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86_400
# Steps that a clock has.
_STEPS_S: Final = (
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(n * _MINUTE_S for n in (1, 2, 5, 10, 15, 30)),
    *(n * _HOUR_S for n in (1, 2, 3, 6, 12)),
    *(n * _DAY_S for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)),
)
# A run that is shorter is told by a stopwatch, a longer one by the clock on the wall.
BY_STOPWATCH_S: Final = 10 * _MINUTE_S
_BY_DATE_S: Final = 2 * _DAY_S
# Labels on a logarithmic axis are not closer than that: a share of its length.
_MIN_GAP: Final = 0.14
_LEAST: Final = 1e-9
_MANY: Final = 10_000
_MILLION: Final = 1_000_000
_MAX_PLAIN_USD: Final = 1_000_000


def ticks(most: float, about: int = 3, *, whole: bool = False) -> list[float]:
    """Round values from 0 to at least `most`, about so many steps; the last is the axis' end."""
    if not (math.isfinite(most) and most > _LEAST):
        return [0.0, 1.0]
    rough = most / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * n for n in (1, 2, 5, 10) if power * n >= rough * (1 - 1e-9))
    if whole:
        step = max(1.0, step)
    return [n * step for n in range(math.ceil(most / step * (1 - 1e-9)) + 1)]


def time_ticks(until_s: float, began_at: datetime | None) -> list[tuple[float, str]]:
    """Moments of a run with a label each, six at most: since the start, or in UTC for a long run.

    Args:
        until_s: How long it is.
        began_at: In UTC; None if nobody knows.
    """
    until_s = max(until_s, _STEPS_S[0])
    step_s = next((step for step in _STEPS_S if until_s / step <= 5.5), _STEPS_S[-1])  # noqa: PLR2004
    if until_s < BY_STOPWATCH_S or began_at is None:
        return [(n * step_s, seconds(n * step_s)) for n in range(int(until_s / step_s + 1e-9) + 1)]
    midnight = began_at.replace(hour=0, minute=0, second=0, microsecond=0)
    since_s = (began_at - midnight).total_seconds()
    first = math.ceil(since_s / step_s)
    last = math.floor((since_s + until_s) / step_s)
    by_date = until_s > _BY_DATE_S
    moments = (
        (n * step_s - since_s, shifted(midnight, n * step_s)) for n in range(first, last + 1)
    )
    return [(at_s, clock_time(moment, by_date=by_date)) for at_s, moment in moments]


def log_ticks(low: float, high: float) -> list[float]:
    """Round values on a logarithmic axis between two positive ones; none are close together."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    usual = chain.from_iterable(_of_decade(power) for power in decades)
    found = [value for value in usual if low <= value <= high]
    if len(found) < 3:  # noqa: PLR2004 - a narrow axis is as good as a straight one
        step = ticks(high - low, 3)[1]
        found = [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
    kept: list[float] = []
    for value in found:
        if not kept or math.log(value / kept[-1]) >= _MIN_GAP * math.log(high / low):
            kept.append(value)
    return kept


def _of_decade(power: int) -> Iterator[float]:
    """1, 2 and 5 of each power of ten; of minutes and hours beyond a minute."""
    for n in (1, 2, 5):
        value = n * 10.0**power
        if value < _MINUTE_S:
            yield value
    for minutes in (1, 2, 5, 10, 30, 60, 120, 300, 600, 1440, 7200):
        if 10.0**power <= minutes * _MINUTE_S < 10.0 ** (power + 1):
            yield minutes * _MINUTE_S


def shifted(moment: datetime, by_s: float) -> datetime:
    """A later moment; the same one where there is none later."""
    try:
        return moment + timedelta(seconds=by_s)
    except OverflowError:
        return moment


def clock_time(moment: datetime, *, by_date: bool = False) -> str:
    """A moment as a clock shows it, or as a calendar does."""
    if by_date or (moment.hour, moment.minute) == (0, 0):
        return f"{moment.day} {moment:%b}" + (f" {moment:%H:%M}" if moment.hour and by_date else "")
    return f"{moment:%H:%M}"


def seconds(value: float) -> str:
    """A duration in short: `0.5s`, `21.4s`, `2m`, `1m30s`, `3h`, `2d`."""
    if value < _MINUTE_S:
        digits = 3 if value < 0.1 else 1  # noqa: PLR2004
        return f"{value:.{digits}f}".rstrip("0").rstrip(".") + "s"
    if value < _HOUR_S:
        minutes, rest = divmod(round(value), _MINUTE_S)
        return f"{minutes}m" + (f"{rest:02d}s" if rest else "")
    if value < _DAY_S:
        hours, rest = divmod(round(value / _MINUTE_S), 60)
        return f"{hours}h" + (f"{rest:02d}m" if rest else "")
    days, rest = divmod(round(value / _HOUR_S), 24)
    return f"{days:,}d" + (f"{rest:02d}h" if rest else "")


def number(value: float) -> str:
    """A count in short: `7`, `2.5`, `1,200`, `24k`, `1.2M`."""
    if value >= _MILLION:
        return _short(value / _MILLION) + "M"
    if value >= _MANY:
        return _short(value / 1000) + "k"
    return f"{value:,.0f}" if value == round(value) or value >= 10 else _short(value)  # noqa: PLR2004


def money(amount: Decimal) -> str:
    """An amount as a label has it; a very large one in millions."""
    if abs(amount) < _MAX_PLAIN_USD:
        return usd(amount)
    return f"${amount / _MILLION:,.1f}M"


def axis_money(amount: float) -> str:
    """A round amount: `$0`, `$0.05`, `$20`, `$1,500`."""
    if amount >= _MANY:
        return "$" + number(amount)
    if amount == round(amount):
        return f"${amount:,.0f}"
    return usd(Decimal(f"{amount:.6f}"))


def percent(share: float) -> str:
    """A share: `43%`, `0.4%`; never 0 for what is something."""
    if 0 < share < 0.001:  # noqa: PLR2004
        return "<0.1%"
    return f"{share:.0%}" if share >= 0.01 or share == 0 else f"{share:.1%}"  # noqa: PLR2004


def _short(value: float) -> str:
    return f"{value:,.1f}".removesuffix(".0")
