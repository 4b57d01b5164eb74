"""What the ledger tells of each run: all that there is of those that were killed."""

from dataclasses import dataclass, field

import msgspec

from batchgen.model import Attempt
from batchgen.report.past.point import CallCount, RunItems, RunPoint, known
from batchgen.report.summary import CallTotals
from batchgen.store.history import final_image
from batchgen.store.ledger import Call, End, Line, Run, Sent


@dataclass(slots=True)
class _Open:
    """A run that has not ended, and what it has come to so far.

    Attributes:
        before: Items that failed when it began; None if it is the first.
        in_flight: Requests that left, and of which nobody has written what came.
    """

    run: Run
    before: frozenset[str] | None
    calls: CallTotals = field(default_factory=CallTotals)
    in_flight: set[Call] = field(default_factory=set)
    new: set[str] = field(default_factory=set)
    fixed: set[str] = field(default_factory=set)
    still: set[str] = field(default_factory=set)

    def take(self, line: Attempt) -> None:
        """Count a call, and what it means for its item."""
        if line.attempt:
            self.calls.count(line)
            self.in_flight.discard((line.run_id, line.item, line.turn, line.attempt))
        failed_before = self.before is not None and line.item in self.before
        if line.decision == "failed":
            (self.still if failed_before else self.new).add(line.item)
            self.fixed.discard(line.item)
        elif line.decision == "done" and final_image(line.images) is not None:
            self.new.discard(line.item)
            self.still.discard(line.item)
            if failed_before:
                self.fixed.add(line.item)

    @property
    def point(self) -> RunPoint:
        """What it has come to."""
        calls, is_first = self.calls, self.before is None
        return RunPoint(
            run_id=self.run.run_id,
            started_at=self.run.at,
            items=RunItems(failed=len(self.new) + len(self.still)),
            attempts=CallCount(total=sum(calls.by_outcome.values())),
            images=calls.images,
            cost_usd=calls.known_cost_usd,
            cost_waste_usd=calls.waste_usd,
            cost_maybe_usd=calls.maybe_usd,
            cost_unknown_attempts=calls.n_unknown + len(self.in_flight),
            planned_usd=known(self.run.planned_usd),
            latency_s=calls.latency_s,
            n_new_failures=None if is_first else len(self.new),
            n_fixed=None if is_first else len(self.fixed),
            n_still_failing=None if is_first else len(self.still),
        )


@dataclass(slots=True)
class LedgerRuns:
    """Adds up the calls of all runs, in the order of the ledger.

    What is found of a killed run by a later one counts for the one that was killed.

    Cost: about a microsecond a line; a kilobyte for each run, and of one that has not ended eight
    bytes for each picture.
    """

    _ended: dict[str, RunPoint] = field(default_factory=dict)
    _open: dict[str, _Open] = field(default_factory=dict)
    _failing: set[str] = field(default_factory=set)

    def take(self, line: Line) -> None:
        """Count one line that tells something new."""
        run_id = line.run_id
        if isinstance(line, Sent):
            if (run := self._open.get(run_id)) is not None:
                run.in_flight.add(line.call)
        elif isinstance(line, Attempt):
            if (run := self._open.get(run_id)) is not None:
                run.take(line)
            if line.decision == "failed":
                self._failing.add(line.item)
            else:
                self._failing.discard(line.item)
        elif isinstance(line, Run):
            if run_id not in self._open and run_id not in self._ended:
                is_first = not self._open and not self._ended
                before = None if is_first else frozenset(self._failing)
                self._open[run_id] = _Open(line, before)
        elif isinstance(line, End) and (over := self._open.pop(run_id, None)) is not None:
            self._ended[run_id] = _ended(over.point, line)

    @property
    def points(self) -> dict[str, RunPoint]:
        """What each run came to, by its id."""
        return self._ended | {run_id: run.point for run_id, run in self._open.items()}


def _ended(point: RunPoint, end: End) -> RunPoint:
    return msgspec.structs.replace(
        point,
        finished_at=end.at,
        wall_s=end.wall_s,
        state="ended",
        stop_reason=end.stop_reason,
        exit_code=end.exit_code,
        items=msgspec.structs.replace(point.items, total=end.n_selected),
    )
