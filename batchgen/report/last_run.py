"""The figures of the last run, added up call by call and put together."""

from dataclasses import dataclass, field

import msgspec

from batchgen.model import Attempt
from batchgen.report.summary import (
    AttemptCounts,
    Concurrency,
    Diff,
    ItemTotals,
    MaybeBilled,
    Review,
    RunTotals,
    Summary,
    sorted_costs,
)
from batchgen.store.history import History
from batchgen.store.ledger import End, Line, Run


@dataclass(slots=True)
class LastRun:
    """Adds up the calls of the last run, and of the one before it: a summary needs no other.

    Attributes:
        run_id: The last run so far.
    """

    run_id: str = ""
    totals: RunTotals = field(default_factory=RunTotals)
    totals_before: RunTotals | None = None

    def take(self, line: Line, history: History) -> bool:
        """Count one line that tells something new, in the order of the ledger.

        Args:
            line: The line.
            history: What was before it.

        Returns:
            Whether a run begins with it.
        """
        if isinstance(line, Run) and line.run_id not in history.runs:
            before = self.totals if history.runs else None
            self.totals_before, self.totals = before, RunTotals()
            if before is not None and self.run_id not in history.ends:
                self.totals.inherit(before)
            self.run_id = line.run_id
            return True
        if isinstance(line, Attempt):
            if line.run_id == self.run_id:
                self.totals.add(line)
            else:
                self.totals.found(line)
        return False


def summary_of(
    run: Run,
    end: End | None,
    last_run: LastRun,
    items: ItemTotals,
    *,
    diff: Diff | None = None,
    review: Review | msgspec.UnsetType = msgspec.UNSET,
) -> Summary:
    """Put the figures of a run together.

    Args:
        run: The run.
        end: How it ended; None if it has not.
        last_run: What its calls add up to.
        items: Where its items stand.
        diff: What is different from the run before.
        review: What somebody thinks of the pictures.
    """
    totals = last_run.totals
    if run.limit is not None and end is not None and end.n_selected is not None:
        items.add_pending(end.n_selected)
    wall_s = end.wall_s if end else None
    concurrency = end.concurrency if end else {}
    return Summary(
        job=run.job,
        run_id=run.run_id,
        started_at=run.at,
        finished_at=end.at if end else None,
        wall_s=wall_s,
        stop_reason=end.stop_reason if end else None,
        exit_code=end.exit_code if end else None,
        items=items.counts,
        attempts=AttemptCounts(
            total=sum(totals.by_outcome.values()),
            by_outcome=dict(sorted(totals.by_outcome.items())),
        ),
        images=totals.images,
        tokens=totals.tokens,
        cost_usd=totals.known_cost_usd,
        cost_waste_usd=totals.waste_usd,
        cost_maybe_usd=totals.maybe_usd,
        cost_unknown_attempts=totals.n_unknown,
        cost_by_model=sorted_costs(totals.by_model),
        cost_by_tag={name: sorted_costs(costs) for name, costs in totals.by_tag.items()},
        latency_s=totals.latency_s,
        throughput_per_min=round(totals.images * 60 / wall_s, 2) if wall_s else None,
        concurrency=Concurrency(
            peak=concurrency.get("peak", 0),
            final=concurrency.get("final", 0),
            history=concurrency.get("history", []),
        ),
        failures=items.groups,
        maybe_billed=MaybeBilled(count=totals.n_maybe, attempts=totals.maybe),
        searches=totals.searches,
        wrong_size=items.n_wrong_size or msgspec.UNSET,
        planned_usd=run.planned_usd,
        ahead=run.ahead,
        slowest=totals.slowest,
        review=review,
        diff=diff,
    )


def difference(last_run: LastRun, items: ItemTotals) -> Diff | None:
    """Against the run before; None for the first."""
    if last_run.totals_before is None:
        return None
    before, now = last_run.totals_before.known_cost_usd, last_run.totals.known_cost_usd
    return items.difference(None if before is None or now is None else now - before)
