"""From ledger and items to results, summary and page: the reader's side of a job's directory."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from batchgen.acceptance import why_final_differs
from batchgen.clock import stamp
from batchgen.dependencies import Lineage, read_lineage
from batchgen.errors import UsageError, store_errors
from batchgen.model import Attempt, Item, Result
from batchgen.report.markdown import summary_markdown
from batchgen.report.page import write_page
from batchgen.report.summary import (
    AttemptCounts,
    Concurrency,
    Diff,
    ItemTotals,
    MaybeBilled,
    RunTotals,
    Summary,
    sorted_costs,
)
from batchgen.store.expanded import read_items
from batchgen.store.history import History, Name, Standing, turn_names
from batchgen.store.inside import refuse_links
from batchgen.store.layout import Layout
from batchgen.store.ledger import Line, Run, read_lines, segments
from batchgen.store.replace import remove_left_drafts, replaced

_MAX_TOLD: Final = 10


@dataclass(slots=True)
class _Reading:
    """What one pass over the ledger gathers.

    Attributes:
        run_id: The last run so far.
        totals, totals_before: Of the last run and of the one before it: a summary needs no other.
        failing: Where items stand whose last attempt failed: ids, and ids with their keys.
        failing_before: The same as the last run found it.
        begun: What the last run was the first to send.
    """

    history: History = field(default_factory=History)
    run_id: str = ""
    totals: RunTotals = field(default_factory=RunTotals)
    totals_before: RunTotals | None = None
    failing: set[str | Name] = field(default_factory=set)
    failing_before: frozenset[str | Name] = frozenset()
    begun: set[Name] = field(default_factory=set)

    def take(self, line: Line, place: int) -> None:
        """Count one line, in the order of the ledger."""
        if self.history.knows(line):
            return
        if isinstance(line, Run) and line.run_id not in self.history.runs:
            before = self.totals if self.history.runs else None
            self.totals_before, self.totals = before, RunTotals()
            if before is not None and self.run_id not in self.history.ends:
                self.totals.inherit(before)
            self.run_id = line.run_id
            self.failing_before = frozenset(self.failing)
            self.begun.clear()
        elif isinstance(line, Attempt):
            if line.run_id == self.run_id:
                self.totals.add(line)
            else:
                self.totals.found(line)
            name = (line.item, line.key)
            if not self.history.has(name):
                self.begun.add(name)
            if line.decision == "failed":
                self.failing |= {line.item, name}
            else:
                self.failing -= {line.item, name}
        self.history.apply(line, place)

    def count(self, item: Item, run: Run, items: ItemTotals, *, is_selected: bool) -> Result:
        """Count where an item stands after a run, if it was about it; return it in any case."""
        result = result_of(item, self.history.standing(item))
        if is_selected and not is_left(result, run.run_id, run.limit):
            items.add(
                result,
                run.run_id,
                failed_before=self.failed_before(item),
                is_wrong_size=why_final_differs(item, result.images) is not None,
            )
        return result

    def failed_before(self, item: Item) -> bool:
        """Whether the last run found the item failing: by its key, or by its id if that is new."""
        names = turn_names(item)
        known = [name for name in names if self.history.has(name) and name not in self.begun]
        if not known:
            return item.id in self.failing_before
        return any(name in self.failing_before for name in known)


def rebuild(root: Path, *, warn: Callable[[str], None] | None = None) -> Summary:
    """Write results.jsonl, failed.jsonl, summary.json, summary.md and report.html anew.

    Each file is replaced as a whole, also while a run, or another rebuild, writes the same ones.
    Nothing but the ledger and items.jsonl is read, besides the pictures that the page shows.

    Args:
        root: The job's directory.
        warn: Told of lines of the ledger that cannot be read.

    Raises:
        UsageError: There is no run in the directory.
        StoreError: The disk failed.
    """
    layout = Layout(root)
    reading, run = _read_runs(layout)
    if warn is not None:
        for place in reading.history.unreadable[:_MAX_TOLD]:
            warn(f"the ledger has a line that cannot be read: {place}")
    items = ItemTotals()
    lineage = read_lineage(layout, reading.history)
    with store_errors(root):
        remove_left_drafts(layout.root)
        _write_results(layout, lineage, reading, run, items)
        summary = _summary(reading, run, items)
        _write_summary(layout, summary)
        write_page(layout, lineage, reading.history, summary)
    return summary


def summarize(root: Path) -> Summary:
    """Add up the figures of the last run, and write nothing.

    Raises:
        UsageError: There is no run in the directory.
        StoreError: The disk failed.
    """
    layout = Layout(root)
    reading, run = _read_runs(layout)
    items = ItemTotals()
    lineage = read_lineage(layout, reading.history)
    for item, is_selected in _marked_items(layout, run):
        reading.count(lineage.resolved(item), run, items, is_selected=is_selected)
    return _summary(reading, run, items)


def is_left(result: Result, run_id: str, limit: int | None) -> bool:
    """Whether a run with a limit left an item, which may need work, to another run."""
    return limit is not None and result.status != "done" and result.run_id != run_id


def result_of(item: Item, past: Standing | None) -> Result:
    """Where an item stands, as a line of `results.jsonl` tells it."""
    if past is None:
        return Result(id=item.id, key=item.key, status="pending", model=item.model, tags=item.tags)
    last = past.last
    return Result(
        id=item.id,
        key=item.key,
        status=past.status,
        images=last.images,
        text=last.text,
        model=last.model,
        attempts=past.n_attempts,
        outcome=last.outcome,
        error=last.error,
        tokens=past.tokens,
        cost_usd=past.cost_usd,
        tags=item.tags,
        run_id=last.run_id,
        finished_at=_ended_at(last),
    )


def _ended_at(attempt: Attempt) -> str:
    """When an attempt's answer was there: the ledger's `at` is when the request left."""
    left_at = datetime.fromisoformat(attempt.at)
    return stamp(left_at + timedelta(seconds=attempt.latency_s or 0.0))


def _read_runs(layout: Layout) -> tuple[_Reading, Run]:
    """Read all segments in order, and find the last run."""
    reading = _Reading()
    for path in segments(layout.ledger):
        for begins, line in read_lines(path, reading.history.unreadable):
            reading.take(line, reading.history.place_in(path, begins))
    runs = reading.history.runs
    if not runs:
        raise UsageError(f"{layout.root} holds no run: its ledger is empty")
    return reading, max(runs.values(), key=lambda one: one.run_id)


def _write_results(
    layout: Layout, lineage: Lineage, reading: _Reading, run: Run, items: ItemTotals
) -> None:
    """Write results and failed items in one pass, and count as they go by."""
    encoder = msgspec.json.Encoder()
    failed_path = layout.root / "failed.jsonl"
    with ExitStack() as files:
        done_file = files.enter_context(replaced(layout.results))
        failed_file: BinaryIO | None = None
        for item, is_selected in _marked_items(layout, run):
            resolved = lineage.resolved(item)
            result = reading.count(resolved, run, items, is_selected=is_selected)
            done_file.write(encoder.encode(result) + b"\n")
            if result.status != "done":
                if failed_file is None:
                    failed_file = files.enter_context(replaced(failed_path))
                    failed_file.write(encoder.encode({"job": run.head}) + b"\n")
                line = _as_job_line(lineage.filled(item), layout.root)
                failed_file.write(encoder.encode(line) + b"\n")
    if failed_file is None:
        failed_path.unlink(missing_ok=True)


def _marked_items(layout: Layout, run: Run) -> Iterator[tuple[Item, bool]]:
    """All items, each with whether the run was about it."""
    marks = run.selection.marks(lambda: read_items(layout.items))
    return zip(read_items(layout.items), marks, strict=True)


def _as_job_line(item: Item, root: Path) -> dict[str, Any]:
    """An item as a line of a job file that lies in the job's directory."""
    line: dict[str, Any] = msgspec.to_builtins(item)
    del line["key"]
    line.pop("file", None)  # the head says again where pictures lie
    line.pop("variant", None)
    for turn in (line, *line.get("turns", ())):
        for reference in turn.get("references", ()):
            reference.pop("sha256", None)
            reference.pop("max_px", None)
            if "path" in reference:
                reference.pop("item", None)  # it is done, and not among what is run again
                reference["path"] = os.path.relpath(reference["path"], root.resolve())
    return line


def _summary(reading: _Reading, run: Run, items: ItemTotals) -> Summary:
    history = reading.history
    end = history.ends.get(run.run_id)
    totals = reading.totals
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
        diff=_diff(reading, items),
    )


def _diff(reading: _Reading, items: ItemTotals) -> Diff | None:
    """Against the run before; None for the first."""
    if reading.totals_before is None:
        return None
    before, now = reading.totals_before.known_cost_usd, reading.totals.known_cost_usd
    return items.difference(None if before is None or now is None else now - before)


def _write_summary(layout: Layout, summary: Summary) -> None:
    text = msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n"
    _replace(layout.root / "summary.json", text)
    _replace(layout.root / "summary.md", summary_markdown(summary).encode())
    refuse_links(layout.root, [layout.runs])
    layout.runs.mkdir(exist_ok=True)
    remove_left_drafts(layout.runs)
    _replace(layout.runs / f"{summary.run_id}.json", text)


def _replace(path: Path, data: bytes) -> None:
    with replaced(path) as file:
        file.write(data)
