"""One pass over the ledger: what all runs of a job did, and what the last one came to."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import msgspec

from batchgen.acceptance import why_final_differs
from batchgen.dependencies import read_lineage
from batchgen.errors import BatchgenError, UsageError
from batchgen.model import Attempt, Item, Result
from batchgen.report.charts.series import RunSeries
from batchgen.report.last_run import LastRun, difference, summary_of
from batchgen.report.past import LedgerRuns
from batchgen.report.reviewed import Reviewed
from batchgen.report.standing import is_left, result_of
from batchgen.report.summary import ItemTotals, Summary
from batchgen.review import read_marks
from batchgen.store.expanded import read_groups, read_items
from batchgen.store.history import History, Name, turn_names
from batchgen.store.layout import Layout
from batchgen.store.ledger import Line, Run, read_lines, segments

Warn: TypeAlias = Callable[[str], None]
_MAX_TOLD: Final = 10


def _tell_nobody(_told: str) -> None:
    return


@dataclass(slots=True)
class Reading:
    """What one pass over the ledger gathers.

    Attributes:
        failing: Items whose last attempt failed or was skipped: ids, and ids with their keys.
        found: The same as each run of the last round found it, or a killed one right before it, and
            what it was the first to send: hashes, for there may be a million.
        reviewed: All runs under the marks of a review; None where there is none.
        series: The last run's calls over time.
        runs: What each run came to.
        is_plain: No item has several turns, and none was failing under what it is called now.
    """

    last_run: LastRun
    history: History = field(default_factory=History)
    failing: set[str | Name] = field(default_factory=set)
    found: dict[str, tuple[frozenset[str | Name], set[int]]] = field(default_factory=dict)
    reviewed: Reviewed | None = None
    series: RunSeries = field(default_factory=RunSeries)
    runs: LedgerRuns = field(default_factory=LedgerRuns)
    is_plain: bool = True

    def take(self, line: Line, place: int) -> None:
        """Count one line, in the order of the ledger."""
        if self.history.knows(line):
            return
        self.series.take(line)
        self.runs.take(line)
        last_id = self.last_run.run_id
        if self.last_run.take(line, self.history):
            self._begin(last_id)
        elif isinstance(line, Attempt):
            if self.reviewed is not None:
                self.reviewed.add(line)
            name = (line.item, line.key)
            if self.found and not self.history.has(name):
                self.found[self.last_run.run_id][1].add(hash(name))
            if line.decision in {"failed", "skipped"}:
                self.failing |= {line.item, name}
            else:
                self.failing -= {line.item, name}
        self.history.add(line, place)

    def _begin(self, last_id: str) -> None:
        """Note what the run found that begins now."""
        run_ids = self.last_run.run_ids
        # A run that was killed told nobody: what happened in it is news for the one after.
        was_killed = last_id not in self.history.ends and last_id not in run_ids
        before = self.found.get(last_id) if was_killed else None
        self.found = {one: found for one, found in self.found.items() if one in run_ids}
        self.found[self.last_run.run_id] = before or (
            frozenset(self.failing if last_id else ()),
            set(),
        )

    def count(self, item: Item, run: Run, items: ItemTotals, *, is_selected: bool) -> Result:
        """Count where an item stands after a run, if it was about it; return it in any case."""
        result = result_of(item, self.history.standing(item))
        self.is_plain &= len(item.turns) <= 1 and (item.id, item.key) not in self.failing
        if self.reviewed is not None:
            self.reviewed.look_at(result)
        run_ids = self.last_run.run_ids
        if is_selected and not is_left(result, run_ids, run.limit):
            items.add(
                result,
                run_ids,
                failed_before=self.failed_before(item),
                is_wrong_size=why_final_differs(item, result.images) is not None,
            )
        return result

    def failed_before(self, item: Item) -> bool:
        """Whether the last run found the item failing: by its key, or by its id if that is new."""
        failing_before = next(iter(self.found.values()))[0] if self.found else frozenset()
        if not failing_before:
            return False
        names = [name for name in turn_names(item) if self.history.has(name)]
        known = [name for name in names if not self._is_begun(hash(name))]
        if not known:
            return item.id in failing_before
        return any(name in failing_before for name in known)

    def _is_begun(self, hashed: int) -> bool:
        return any(hashed in begun for _, begun in self.found.values())

    def is_at_rest(self, run: Run, items: ItemTotals) -> bool:
        """Whether the next run of the same job finds nothing to do, and nothing new to tell.

        Of a conversation more must be there than its last picture.

        Args:
            run: The last one, which has ended by itself.
            items: Counts what it was about.
        """
        is_about_all = run.shard is None and run.selection.is_whole and run.limit is None
        is_clear = not (self.history.unfinished or self.history.unreadable or self.series.n_open)
        is_done = items.by_status.keys() == {"done"} and self.is_plain
        return is_about_all and is_clear and is_done and len(self.last_run.run_ids) == 1

    def summary(self, run: Run, items: ItemTotals) -> Summary:
        """The figures of the last run, when its items were counted."""
        _, end = self.last_run.run(self.history.ends)
        diff = difference(self.last_run, items)
        review = msgspec.UNSET if self.reviewed is None else self.reviewed.review
        return summary_of(run, end, self.last_run, items, diff=diff, review=review)


def summarize(layout: Layout) -> Summary:
    """Add up the figures of the last run, of a shard those of its own, and write nothing.

    Raises:
        UsageError: There is no run in the directory.
        StoreError: The disk failed.
    """
    reading, run = read_runs(layout)
    items = ItemTotals()
    lineage = read_lineage(layout, reading.history)
    for item, is_selected in marked_items(layout, run):
        reading.count(lineage.resolved(item), run, items, is_selected=is_selected)
    return reading.summary(run, items)


def _read_review(layout: Layout, warn: Warn) -> Reviewed | None:
    """The marks of a review, if there is one; it costs no report that one cannot be read."""
    try:
        return Reviewed(read_marks(layout.review)) if layout.review.exists() else None
    except BatchgenError as error:
        warn(f"no review is told: {error}")
        return None


def read_runs(layout: Layout, warn: Warn = _tell_nobody) -> tuple[Reading, Run]:
    """Read all segments in order, and find the last run.

    Args:
        layout: The job's directory.
        warn: Told of lines of the ledger, and of a review, that cannot be read.

    Raises:
        UsageError: There is no run in the directory.
        StoreError: The disk failed.
    """
    reading = Reading(LastRun(layout.shard), reviewed=_read_review(layout, warn))
    for path in segments(layout.ledger):
        first = reading.history.place_in(path, 0)
        for begins, line in read_lines(path, reading.history.unreadable):
            reading.take(line, first + begins)
    for place in reading.history.unreadable[:_MAX_TOLD]:
        warn(f"the ledger has a line that cannot be read: {place}")
    if not reading.last_run.run_ids:
        raise UsageError(f"{layout.root} holds no run: its ledger is empty")
    return reading, reading.last_run.run(reading.history.ends)[0]


def marked_items(layout: Layout, run: Run) -> Iterator[tuple[Item, bool]]:
    """All items, each with whether the run was about it."""
    groups = {} if run.selection.shard is None else read_groups(layout.items)
    return run.selection.marked(lambda: read_items(layout.items), groups)
