"""The figures on top of the page, as they are at this moment."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from batchgen.live.pace import Cooldown, Pace
from batchgen.report.summary import ItemCounts, RunTotals
from batchgen.store.ledger import End, Run

# How many more calls there must be, as a share, before their median is worked out anew.
_STALENESS: Final = 64


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended; one that was killed has no exit code."""

    stop_reason: str
    exit_code: int | None = None


class RunFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The last run, and where the items stand of the whole job.

    Attributes:
        per_min: Pictures a minute, as fast as they come; of a run that has ended, as they came.
        eta_s: What the run takes for its items that have not ended; some may have no picture.
        kept, redo: Items whose present picture is marked so.
    """

    job: str
    run: str
    started_at: str
    ended: Ended | None
    total: int
    done: int
    failed: int
    skipped: int
    pending: int
    in_flight: int
    attempts: int
    cost_usd: Decimal | None
    cost_waste_usd: Decimal
    cost_maybe_usd: Decimal
    cost_unknown_attempts: int
    planned_usd: Decimal | None
    elapsed_s: int
    per_min: float | None
    eta_s: int | None
    p50_s: float | None
    cooling: list[Cooldown]
    kept: int
    redo: int


@dataclass(frozen=True, slots=True)
class Moment:
    """What is known of the last run besides its calls.

    Attributes:
        end: How it ended; None if it has not.
        n_in_flight: Its calls under way.
        n_left: Items that it has yet to end.
        n_kept, n_redo: Items whose present picture is marked so.
    """

    now: datetime
    run: Run
    end: End | None
    is_alive: bool
    n_in_flight: int
    n_left: int
    n_kept: int
    n_redo: int

    @property
    def ended(self) -> Ended | None:
        """How it ended; None as long as it goes on."""
        if self.end is not None:
            return Ended(stop_reason=self.end.stop_reason, exit_code=self.end.exit_code)
        return None if self.is_alive else Ended(stop_reason="killed")


def run_figures(
    moment: Moment, items: ItemCounts, totals: RunTotals, pace: Pace, p50_s: float | None
) -> RunFigures:
    """Put the figures together; pure.

    Args:
        moment: What is known of the run.
        items: Where all items of the job stand.
        totals: What the run's calls add up to.
        pace: How fast it goes.
        p50_s: The median of what its pictures took.
    """
    run, planned_usd = moment.run, moment.run.planned_usd
    elapsed_s = _elapsed_s(moment, pace)
    rate, cooling = None, []
    if moment.is_alive:
        rate, cooling = pace.rate(moment.now), pace.cooling(moment.now)
        per_min = rate.pictures_per_min if rate else None
    else:
        per_min = pace.n_pictures * 60 / elapsed_s if elapsed_s else None
    # While something cools, the rate so far tells nothing of the time to come.
    eta_s = moment.n_left * 60 / rate.ends_per_min if rate and not cooling else None
    return RunFigures(
        job=run.job,
        run=run.run_id,
        started_at=run.at,
        ended=moment.ended,
        total=items.total,
        done=items.done,
        failed=items.failed,
        skipped=items.skipped,
        pending=items.pending,
        in_flight=moment.n_in_flight,
        attempts=sum(totals.by_outcome.values()),
        cost_usd=totals.known_cost_usd,
        cost_waste_usd=totals.waste_usd,
        cost_maybe_usd=totals.maybe_usd,
        cost_unknown_attempts=totals.n_unknown,
        planned_usd=None if isinstance(planned_usd, msgspec.UnsetType) else planned_usd,
        elapsed_s=round(elapsed_s),
        per_min=None if per_min is None else round(per_min, 1),
        eta_s=None if eta_s is None else round(eta_s),
        p50_s=p50_s,
        cooling=cooling,
        kept=moment.n_kept,
        redo=moment.n_redo,
    )


def _elapsed_s(moment: Moment, pace: Pace) -> float:
    if moment.end is not None:
        return moment.end.wall_s
    until = moment.now if moment.is_alive else pace.heard_at
    if pace.began_at is None or until is None:
        return 0.0
    return max(0.0, (until - pace.began_at).total_seconds())


@dataclass(slots=True)
class Median:
    """The median of what pictures took, worked out anew when there are some more.

    Cost: it is that of the calls up to a 64th ago, as long as the run goes on; so that all of them
    are sorted a few times, and not twice a second.
    """

    _n: int = 0
    _s: float | None = None

    def of(self, totals: RunTotals, *, is_over: bool) -> float | None:
        """The median in seconds; None if no picture came."""
        n = len(totals.latencies_s)
        if n != self._n and (is_over or n < self._n or n - self._n > self._n // _STALENESS):
            self._n, self._s = n, totals.latency_s.p50
        return self._s
