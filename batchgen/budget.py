"""What a run may cost: in money, in time, and in failures.

Money is set aside before a request leaves, as much as one picture of its size should cost at most,
and given back when the bill is known. So a cap is passed by nothing but what an answer may cost on
top of that: drafts that nobody asked for, more than three searches, more text or thoughts than are
usual.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, Self

from batchgen.clock import Clock
from batchgen.errors import UsageError
from batchgen.selection import Shard, share_of_count, share_of_usd
from batchgen.wording import read_time_of_day
from batchgen.wording import usd as in_usd

_NOTHING: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class Allowance:
    """So many failures, or such a share of the items that a run is to make."""

    amount: float
    is_share: bool = False

    def of(self, n_items: int) -> int:
        """How many of so many items may fail."""
        return int(self.amount * n_items / 100) if self.is_share else int(self.amount)

    def __str__(self) -> str:
        """As it is written: `10` or `10%`."""
        return f"{self.amount:g}{'%' if self.is_share else ''}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What a run may cost; None is without bound.

    Attributes:
        max_cost_usd: Of one run, what may have been billed included.
        max_cost_usd_per_day: The same of all runs in this directory, from midnight UTC.
        max_duration_s: Then no new attempt is made; what is under way may end.
        deadline_at: The same at a moment.
        max_failures: One failed item more stops the run.
        confirm_above_usd: What is expected to cost more needs somebody to say yes.
    """

    max_cost_usd: Decimal | None = None
    max_cost_usd_per_day: Decimal | None = None
    max_duration_s: float | None = None
    deadline_at: datetime | None = None
    max_failures: Allowance | None = None
    confirm_above_usd: Decimal | None = None

    @property
    def needs_prices(self) -> bool:
        """Whether each model must have a price."""
        return self.max_cost_usd is not None or self.max_cost_usd_per_day is not None

    def share(self, shard: Shard) -> Self:
        """What of it a part of the job may cost; the parts together cost no more."""
        money = (self.max_cost_usd, self.max_cost_usd_per_day, self.confirm_above_usd)
        run, day, sure = (None if usd is None else share_of_usd(usd, shard) for usd in money)
        failures = self.max_failures
        if failures is not None and not failures.is_share:
            failures = replace(failures, amount=share_of_count(int(failures.amount), shard))
        return replace(
            self,
            max_cost_usd=run,
            max_cost_usd_per_day=day,
            confirm_above_usd=sure,
            max_failures=failures,
        )

    def doubt(self, planned_usd: Decimal | None) -> str | None:
        """Why somebody should say yes to a run that should cost so much; None if nobody need."""
        most_usd = self.confirm_above_usd
        if most_usd is None or (planned_usd is not None and planned_usd <= most_usd):
            return None
        told = "nobody knows what this run costs"
        if planned_usd is not None:
            told = f"this run should cost about {in_usd(planned_usd)}"
        return f"{told}, and budget.confirm_above_usd is {in_usd(most_usd)}"


@dataclass(slots=True)
class _Cap:
    name: str
    most_usd: Decimal
    remedy: str
    spent_usd: Decimal = _NOTHING
    began_usd: Decimal = _NOTHING  # spent before this run

    def left_usd(self, reserved_usd: Decimal) -> Decimal:
        return self.most_usd - self.spent_usd - reserved_usd


@dataclass(slots=True)
class Purse:
    """The money of a run; used from one event loop.

    Attributes:
        spent_today_usd: By earlier runs of the day on which this one begins.
        on_empty: Told once, with the reason, when not even one more request is in the budget.
    """

    budget: Budget
    clock: Clock
    on_empty: Callable[[str], None]
    spent_today_usd: Decimal = _NOTHING
    _run: _Cap | None = field(init=False, default=None)
    _day: _Cap | None = field(init=False, default=None)
    _date: str = field(init=False, default="")
    _reserved_usd: Decimal = field(init=False, default=_NOTHING)
    _n_reserved: int = field(init=False, default=0)
    _freed: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Set the caps."""
        if self.budget.max_cost_usd is not None:
            self._run = _Cap(
                "budget.max_cost_usd", self.budget.max_cost_usd, "raise it, or run again"
            )
        if self.budget.max_cost_usd_per_day is not None:
            self._day = _Cap(
                "budget.max_cost_usd_per_day",
                self.budget.max_cost_usd_per_day,
                "raise it, or run again after midnight UTC",
                self.spent_today_usd,
                self.spent_today_usd,
            )
            self._date = day_of(self.clock.now())

    async def reserve(self, usd: Decimal | None) -> bool:
        """Set the money for one request aside; waits for bills that are to come.

        Returns:
            Whether it is set aside; if not, the budget is used up. `settle` gives it back.
        """
        if self._run is None and self._day is None:
            return True
        asked_usd = usd or _NOTHING
        while (short := self._too_small(asked_usd)) is not None:
            if not self._n_reserved:
                self.on_empty(
                    f"{short.name}: {in_usd(short.spent_usd)} of {in_usd(short.most_usd)} are "
                    f"spent or may be billed, and one more request may cost {in_usd(usd)}: "
                    f"{short.remedy}"
                )
                return False
            self._freed.clear()
            await self._freed.wait()
        self._reserved_usd += asked_usd
        self._n_reserved += 1
        return True

    def settle(self, reserved_usd: Decimal | None, spent_usd: Decimal | None) -> None:
        """Give back what was set aside for a request, less what it cost.

        Args:
            reserved_usd: What was set aside.
            spent_usd: The bill, or what it may be; None counts as all that was set aside.
        """
        if self._run is None and self._day is None:
            return
        asked_usd = reserved_usd or _NOTHING
        self._new_day()
        for cap in (self._run, self._day):
            if cap is not None:
                cap.spent_usd += asked_usd if spent_usd is None else spent_usd
        self._reserved_usd -= asked_usd
        self._n_reserved -= 1
        self._freed.set()

    def overshoot(self) -> str | None:
        """What to tell of a cap that this run has passed."""
        for cap in (self._run, self._day):
            if cap is None:
                continue
            over_usd = cap.spent_usd - max(cap.most_usd, cap.began_usd)
            if over_usd > 0:
                return (
                    f"{cap.name} {in_usd(cap.most_usd)} was passed by {in_usd(over_usd)}: "
                    "answers held more thoughts, text, drafts or searches than was set aside"
                )
        return None

    def _too_small(self, usd: Decimal) -> _Cap | None:
        self._new_day()
        for cap in (self._run, self._day):
            if cap is not None and usd > cap.left_usd(self._reserved_usd):
                return cap
        return None

    def _new_day(self) -> None:
        # A clock that is set back does not give the money of a day twice.
        if self._day is not None and (today := day_of(self.clock.now())) > self._date:
            self._date = today
            self._day.spent_usd = self._day.began_usd = _NOTHING


def day_of(at: datetime) -> str:
    """The day on which money is counted: UTC, as the ledger's stamps."""
    return at.astimezone(UTC).strftime("%Y-%m-%d")


def next_time(clock_time: str, now: datetime) -> datetime:
    """The next moment at which clocks here show `HH:MM`.

    Of a time that comes twice, as clocks are set back, each counts; in place of one that is left
    out, as they are set forward, there is the moment as long after midnight: `03:30` for `02:30`.

    Raises:
        UsageError: It is no time of day.
    """
    at = read_time_of_day(clock_time)
    if at is None:
        raise UsageError(f"deadline {clock_time}: expected a time of day such as 06:30")
    local = now.astimezone()
    for day in (local.date(), local.date() + timedelta(days=1)):
        for fold in (0, 1):
            # Without an offset, so that the offset of that moment counts, should clocks change.
            shown = datetime.combine(day, at).replace(fold=fold)
            # By way of a timestamp: a time that is left out has an offset that is not its own.
            moment = datetime.fromtimestamp(shown.timestamp(), UTC)
            if moment > local:
                return moment
    raise AssertionError("tomorrow comes")
