"""From ledger and items to results, summary and page: the reader's side of a job's directory."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from batchgen.errors import StoreError, UsageError
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
    difference,
    sorted_costs,
)
from batchgen.store.expanded import read_items
from batchgen.store.layout import Layout
from batchgen.store.ledger import History, ItemHistory, Run, read_lines, segments


@dataclass(slots=True)
class _Reading:
    """What one pass over the ledger gathers."""

    history: History = field(default_factory=History)
    totals: dict[str, RunTotals] = field(default_factory=dict)
    failing_before: set[str] = field(default_factory=set)

    def totals_of(self, run_id: str) -> RunTotals:
        """The totals of a run, begun at its first attempt."""
        return self.totals.setdefault(run_id, RunTotals())


def rebuild(root: Path, *, page: bool = True) -> Summary:
    """Write results.jsonl, failed.jsonl, summary.json, summary.md and report.html anew.

    Each file is replaced as a whole. Nothing but the ledger and items.jsonl is read, besides the
    pictures that the page shows.

    Raises:
        UsageError: There is no run in the directory.
        StoreError: The disk failed.
    """
    layout = Layout(root)
    reading = _read(layout)
    if not reading.history.runs:
        raise UsageError(f"{root} holds no run: its ledger is empty")
    run = max(reading.history.runs.values(), key=lambda one: one.run_id)
    items = ItemTotals()
    failing: set[str] = set()
    try:
        _write_results(layout, reading, run, items, failing)
        summary = _summary(reading, run, items, failing)
        _write_summary(layout, summary)
        if page:
            write_page(layout, summary)
    except OSError as error:
        raise StoreError.of(error, root) from error
    return summary


def result_of(item: Item, past: ItemHistory | None) -> Result:
    """Where an item stands, by all that was done for it under its content key."""
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
        finished_at=last.at,
    )


def _read(layout: Layout) -> _Reading:
    """Read all segments in order; before the last one, note which items were failing."""
    reading = _Reading()
    paths = segments(layout.ledger)
    for path in paths:
        if path == paths[-1]:
            reading.failing_before = {
                item for (item, _), past in reading.history.items.items() if past.status == "failed"
            }
        for line in read_lines(path, reading.history.unreadable):
            if isinstance(line, Attempt):
                reading.totals_of(line.run_id).add(line)
            reading.history.apply(line)
    return reading


def _write_results(
    layout: Layout, reading: _Reading, run: Run, items: ItemTotals, failing: set[str]
) -> None:
    """Write results and failed items in one pass, and count as they go by."""
    encoder = msgspec.json.Encoder()
    failed_path = layout.root / "failed.jsonl"
    results, failed = _draft(layout.results), _draft(failed_path)
    n_failed = 0
    with results.open("wb") as done_file, failed.open("wb") as failed_file:
        for item in read_items(layout.items):
            result = result_of(item, reading.history.items.get((item.id, item.key)))
            items.add(result, run.run_id)
            done_file.write(encoder.encode(result) + b"\n")
            if result.status == "failed":
                failing.add(item.id)
            if result.status != "done":
                if n_failed == 0:
                    failed_file.write(encoder.encode({"job": run.head}) + b"\n")
                failed_file.write(encoder.encode(_as_job_line(item, layout.root)) + b"\n")
                n_failed += 1
    results.replace(layout.results)
    if n_failed:
        failed.replace(failed_path)
    else:
        failed.unlink()
        failed_path.unlink(missing_ok=True)


def _as_job_line(item: Item, root: Path) -> dict[str, Any]:
    """An item as a line of a job file that lies in the job's directory."""
    line: dict[str, Any] = msgspec.to_builtins(item)
    del line["key"]
    for reference in line.get("references", ()):
        reference["path"] = os.path.relpath(reference["path"], root)
    return line


def _summary(reading: _Reading, run: Run, items: ItemTotals, failing: set[str]) -> Summary:
    history = reading.history
    end = history.ends.get(run.run_id)
    totals = reading.totals_of(run.run_id)
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
        concurrency=Concurrency(peak=concurrency.get("peak", 0), final=concurrency.get("final", 0)),
        failures=items.groups,
        maybe_billed=MaybeBilled(count=totals.n_maybe, attempts=totals.maybe),
        diff=_diff(reading, run, failing),
    )


def _diff(reading: _Reading, run: Run, failing: set[str]) -> Diff | None:
    """Against the run before; None for the first."""
    earlier = sorted(run_id for run_id in reading.history.runs if run_id < run.run_id)
    if not earlier:
        return None
    before = reading.totals_of(earlier[-1]).known_cost_usd
    now = reading.totals_of(run.run_id).known_cost_usd
    delta = None if before is None or now is None else now - before
    return difference(reading.failing_before, failing, delta)


def _write_summary(layout: Layout, summary: Summary) -> None:
    text = msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n"
    _replace(layout.root / "summary.json", text)
    _replace(layout.root / "summary.md", summary_markdown(summary).encode())
    layout.runs.mkdir(exist_ok=True)
    _replace(layout.runs / f"{summary.run_id}.json", text)


def _draft(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def _replace(path: Path, data: bytes) -> None:
    draft = _draft(path)
    draft.write_bytes(data)
    draft.replace(path)
