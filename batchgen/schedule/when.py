"""A time of day on some days of the week, as schedulers write it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final

from batchgen.errors import UsageError
from batchgen.wording import read_time_of_day

# By number, Monday first, as systemd orders them; cron begins with Sunday.
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_N_DAYS: Final = len(_DAYS)
_BY_NAME: Final = {
    name: number for number, day in enumerate(_DAYS) for name in (day.lower(), day[:3].lower())
}
_YEAR_DAYS: Final = 366


@dataclass(frozen=True, kw_only=True, slots=True)
class When:
    """A time of day, by the clock of whoever reads it.

    Attributes:
        days: Days of the week; Monday is 0.
    """

    hour: int
    minute: int
    days: frozenset[int] = frozenset(range(_N_DAYS))

    @property
    def calendar(self) -> str:
        """`Mon..Fri *-*-* 02:00:00`, as systemd's OnCalendar takes it. Source: systemd.time(7)."""
        clock = f"*-*-* {self.clock}:00"
        return clock if self._is_daily else f"{self._named('..')} {clock}"

    @property
    def cron(self) -> str:
        """`0 2 * * 1-5`, with Sunday as 0, which every cron and Kubernetes take."""
        days = "*" if self._is_daily else _joined(((day + 1) % _N_DAYS for day in self.days), "-")
        return f"{self.minute} {self.hour} * * {days}"

    @property
    def in_words(self) -> str:
        """`every day at 02:00`, `Mon-Fri at 02:00`."""
        return f"{'every day' if self._is_daily else self._named('-')} at {self.clock}"

    @property
    def clock(self) -> str:
        """`02:00`."""
        return f"{self.hour:02d}:{self.minute:02d}"

    @property
    def _is_daily(self) -> bool:
        return len(self.days) == _N_DAYS

    def _named(self, dash: str) -> str:
        return _joined(self.days, dash, [day[:3] for day in _DAYS])


def read_when(at: str, days: str | None = None) -> When:
    """Read `02:00` and `mon-fri`; without days it is every day.

    Raises:
        UsageError: One of the two is none; the message names the word.
    """
    clock = read_time_of_day(at.strip())
    if clock is None:
        raise UsageError(f"--at {at}: expected a time of day such as 02:00")
    on = frozenset(range(_N_DAYS)) if days is None else frozenset(_read_days(days))
    return When(hour=clock.hour, minute=clock.minute, days=on)


def skipped_nights(when: When, zone: tzinfo, begins: date) -> list[date]:
    """The days of the year to come whose clocks jump over the time, as in spring.

    systemd and cron start what they jumped over a little later; Kubernetes leaves it out. Source:
    https://pkg.go.dev/github.com/robfig/cron/v3, "Time zones".
    """
    days = (begins + timedelta(days=n) for n in range(_YEAR_DAYS))
    return [day for day in days if day.weekday() in when.days and not _exists(when, zone, day)]


def _exists(when: When, zone: tzinfo, day: date) -> bool:
    told = datetime(day.year, day.month, day.day, when.hour, when.minute, tzinfo=zone)
    return told.astimezone(UTC).astimezone(zone).replace(tzinfo=zone, fold=told.fold) == told


def _read_days(days: str) -> Iterator[int]:
    """The days of `mon`, `sat,sun`, `wed-fri`, and of `fri-mon`, which goes over the week's end."""
    for part in days.split(","):
        first, *rest = (_day(word, days) for word in part.split("-", 1))
        last = rest[0] if rest else first
        yield from ((first + n) % _N_DAYS for n in range((last - first) % _N_DAYS + 1))


def _day(word: str, days: str) -> int:
    number = _BY_NAME.get(word.strip().lower())
    if number is None:
        named = ", ".join(day[:3].lower() for day in _DAYS)
        raise UsageError(
            f"--days {days}: {word.strip()!r} is no day; expected {named}, "
            "or several, as in mon-fri or sat,sun"
        )
    return number


def _joined(numbers: Iterable[int], dash: str, names: list[str] | None = None) -> str:
    """`1-3,5`: runs of neighbours from the first to the last, none of which wraps."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    named = names or [str(number) for number in range(_N_DAYS)]
    return ",".join(
        named[run[0]] if len(run) == 1 else f"{named[run[0]]}{dash}{named[run[-1]]}" for run in runs
    )
