"""The figures of the last run, added up call by call and put together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Self

import msgspec

from batchgen.ending import highest
from batchgen.model import Attempt
from batchgen.report.summary import (
    NO_USD,
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
from batchgen.selection import Shard
from batchgen.store.history import History
from batchgen.store.ledger import End, Line, Run


@dataclass(slots=True)
class LastRun:
    """Adds up the calls of the last run, and of the one before it: a summary needs no other.

    A job that is run in shards has a run for each of them. Its last round are all runs since the
    earliest of the shards' last ones, so that a shard that was run once more is counted with the
    others. Together they are taken for one run.

    Attributes:
        only: A shard whose own run it is, whatever the others do.
    """

    only: Shard | None = None
    _runs: list["_Counted"] = field(default_factory=list)
    _before: list["_Counted"] = field(default_factory=list)
    _of_segment: RunTotals | None = None

    @property
    def run_ids(self) -> frozenset[str]:
        """Which runs it is made of."""
        return frozenset(one.run.run_id for one in self._runs)

    @property
    def run_id(self) -> str:
        """The last of them."""
        return self._runs[-1].run.run_id if self._runs else ""

    @property
    def totals(self) -> RunTotals:
        """What its calls add up to."""
        return _sum(self._runs)

    @property
    def totals_before(self) -> RunTotals | None:
        """The same of the run before; None if there was none."""
        return _sum(self._before) if self._before else None

    def take(self, line: Line, history: History) -> bool:
        """Count one line that tells something new, in the order of the ledger.

        Args:
            line: The line.
            history: What was before it.

        Returns:
            Whether a run begins with it.
        """
        if isinstance(line, Run) and line.run_id not in history.runs:
            return self._begin(_Counted(line), history)
        if isinstance(line, Attempt):
            own = next((one for one in self._runs if one.run.run_id == line.run_id), None)
            if own is not None:
                own.totals.add(line)
            elif self._of_segment is not None:
                self._of_segment.found(line)
        return False

    def _begin(self, new: "_Counted", history: History) -> bool:
        if self.only not in {None, new.shard} and new.is_beside(self.only):
            self._of_segment = None
            return False
        self._of_segment = new.totals
        last = self._runs
        if self.only is None and last and new.is_beside(last[-1].shard):
            runs = [*last, new]
            first = _begin_of_round(runs)
            gone, self._runs = runs[:first], runs[first:]
            self._before += gone
            self._before = self._before[_begin_of_round(self._before) :]
        else:
            gone, self._before, self._runs = last, last, [new]
        for one in gone:
            if one.run.run_id not in history.ends and one.shard in {None, new.shard}:
                new.totals.inherit(one.totals)
        return True

    def run(self, ends: Mapping[str, End]) -> tuple[Run, End | None]:
        """The first and the last line of the run; of shards, as if it were one."""
        runs = [one.run for one in self._runs]
        if len(runs) == 1 and (self.only is not None or runs[0].shard is None):
            return runs[0], ends.get(runs[0].run_id)
        last = {one.shard: one.run for one in self._runs}
        n_begun, shard = len(last), self._runs[-1].shard
        run = _as_one(runs, list(last.values()))
        ended = [ends[one.run_id] for one in last.values() if one.run_id in ends]
        is_whole = shard is not None and n_begun == shard.total
        return run, _end_of(run, ended) if is_whole and len(ended) == n_begun else None


@dataclass(slots=True)
class Round:
    """Runs that are drawn as one: those of a job's shards, until one of these begins again."""

    run_ids: set[str] = field(default_factory=set)
    _shards: set[Shard] = field(default_factory=set)

    def joins(self, run: Run) -> bool:
        """Whether a run that begins now goes on with these; it is one of them then."""
        shard = Shard.read(run.shard or "")
        total = next((one.total for one in self._shards), None)
        if run.run_id in self.run_ids:
            return True
        if shard is None or shard.total != total or shard in self._shards:
            return False
        self.run_ids.add(run.run_id)
        self._shards.add(shard)
        return True

    @classmethod
    def of(cls, run: Run) -> Self:
        """Begin with a run."""
        shard = Shard.read(run.shard or "")
        return cls({run.run_id}, set() if shard is None else {shard})


@dataclass(slots=True)
class _Counted:
    """A run, and what its calls add up to so far."""

    run: Run
    totals: RunTotals = field(default_factory=RunTotals)
    shard: Shard | None = field(init=False)

    def __post_init__(self) -> None:
        self.shard = Shard.read(self.run.shard or "")

    def is_beside(self, other: Shard | None) -> bool:
        """Whether it is of another shard of the same job, or of the same one once more."""
        shard = self.shard
        return shard is not None and other is not None and shard.total == other.total


def _begin_of_round(runs: Sequence[_Counted]) -> int:
    """Where the earliest of the last runs of each shard stands."""
    return min({one.shard: n for n, one in enumerate(runs)}.values(), default=0)


def _sum(runs: Sequence[_Counted]) -> RunTotals:
    if len(runs) == 1:
        return runs[0].totals
    total = RunTotals()
    for one in runs:
        total.absorb(one.totals)
    return total


def _as_one(runs: Sequence[Run], last: Sequence[Run]) -> Run:
    """The first line of a run that has all that several have in common.

    Args:
        runs: All of a round.
        last: The last one of each shard.
    """
    planned = [one.planned_usd for one in last]
    usd = [one for one in planned if not isinstance(one, msgspec.UnsetType)]
    ahead = [one.ahead for one in last if not isinstance(one.ahead, msgspec.UnsetType)]
    return msgspec.structs.replace(
        runs[-1],
        at=min(one.at for one in runs),
        shard=None,
        selection=msgspec.structs.replace(runs[-1].selection, shard=None),
        planned_usd=sum(usd, start=NO_USD) if len(usd) == len(planned) else msgspec.UNSET,
        ahead=tuple(dict.fromkeys(chain.from_iterable(ahead))) or msgspec.UNSET,
    )


def _end_of(run: Run, ends: Sequence[End]) -> End:
    """The last line of such a run."""
    at = max(end.at for end in ends)
    took = datetime.fromisoformat(at) - datetime.fromisoformat(run.at)
    counts = ("peak", "final", "most")
    n_selected = [end.n_selected for end in ends if end.n_selected is not None]
    reasons = (end.stop_reason for end in ends if end.stop_reason != "finished")
    return End(
        run_id=run.run_id,
        at=at,
        stop_reason=next(reasons, "finished"),
        exit_code=highest({end.exit_code for end in ends}),
        wall_s=round(took.total_seconds(), 3),
        concurrency={name: sum(end.concurrency.get(name, 0) for end in ends) for name in counts},
        n_selected=sum(n_selected) if n_selected else None,
    )


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
