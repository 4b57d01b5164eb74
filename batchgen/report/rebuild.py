"""From ledger and items to results, summary and page: the reader's side of a job's directory."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from batchgen.dependencies import Lineage, read_lineage
from batchgen.errors import store_errors
from batchgen.model import Item
from batchgen.report.charts.charts import charts, figures
from batchgen.report.earlier import keep_summary, summary_text
from batchgen.report.markdown import summary_markdown
from batchgen.report.page import MakeThumbnails, View, write_page
from batchgen.report.past import last_runs, last_with_calls
from batchgen.report.reading import Reading, Warn, marked_items, read_runs
from batchgen.report.seal import Seal, Stamps, inputs, write_seal
from batchgen.report.summary import ItemTotals, Summary
from batchgen.store.layout import Layout
from batchgen.store.ledger import Run
from batchgen.store.replace import remove_left_drafts, replaced
from batchgen.store.shards import gather_items


def rebuild(
    place: Path | Layout,
    *,
    warn: Warn | None = None,
    thumbnails: MakeThumbnails | None = None,
    seals: bool = False,
) -> Summary:
    """Write results.jsonl, failed.jsonl, summary.json, summary.md and report.html anew.

    Each file is replaced as a whole, also while a run, or another rebuild, writes the same ones.
    Nothing but the ledger, items.jsonl and review.jsonl is read, besides the pictures that the page
    shows.

    Args:
        place: The job's directory.
        warn: Told of lines of the ledger, and of a review, that cannot be read.
        thumbnails: Makes those of the page's pictures that are missing; None makes none.
        seals: A run asks for it that has seen the whole job through: if all is done, leave a seal.

    Raises:
        UsageError: There is no run in the directory.
        StoreError: The disk failed.
    """
    layout = Layout.at(place)
    gather_items(layout)
    left = Stamps(layout)
    left.note(inputs(layout))
    reading, run = read_runs(layout) if warn is None else read_runs(layout, warn)
    items, whole = ItemTotals(), ItemTotals()
    lineage = read_lineage(layout, reading.history)
    with store_errors(layout.root):
        remove_left_drafts(layout.root)
        _write_results(layout, lineage, reading, run, items, whole)
        left.note([layout.results, layout.failed])
        summary = reading.summary(run, items)
        write_summary(layout, summary, is_one_run=len(reading.last_run.run_ids) == 1)
        last = last_with_calls(layout.runs, summary, reading.series.run_id)
        points = reading.runs.points
        drawn = figures(charts(last, reading.series, last_runs(layout.runs, points)))
        marks = {} if reading.reviewed is None else reading.reviewed.marks
        view = View(summary, whole.whole, drawn, last.run_id)
        has_thumbnails = write_page(
            layout,
            lineage,
            reading.history,
            view,
            marks=marks,
            thumbnails=thumbnails,
            on_written=lambda: left.note([layout.page]),
        )
        left.note([layout.runs, layout.thumbnails])
    if seals and left.are_sound and reading.is_at_rest(run, items):
        seal = Seal(
            stamps=left.by_name,
            items=items.found_done,
            review=summary.review,
            cost_usd=summary.cost_usd,
            points=points,
            series=reading.series.settled,
            has_thumbnails=has_thumbnails,
        )
        write_seal(layout, seal)
    return summary


def _write_results(
    layout: Layout,
    lineage: Lineage,
    reading: Reading,
    run: Run,
    items: ItemTotals,
    whole: ItemTotals,
) -> None:
    """Write results and failed items in one pass, and count as they go by.

    Args:
        layout: The job's directory.
        lineage: Which of its items build on others.
        reading: Its ledger.
        run: The last run.
        items: Counts those that it was about.
        whole: Counts all.
    """
    encoder, base = msgspec.json.Encoder(), layout.root.resolve()
    is_here = layout.away is None
    failed_path, run_ids = layout.failed, reading.last_run.run_ids
    with ExitStack() as files:
        done_file = files.enter_context(replaced(layout.results))
        failed_file: BinaryIO | None = None
        for item, is_selected in marked_items(layout, run):
            resolved = lineage.resolved(item)
            result = reading.count(resolved, run, items, is_selected=is_selected)
            whole.add(result, run_ids)
            done_file.write(encoder.encode(result) + b"\n")
            if result.status != "done":
                if failed_file is None:
                    failed_file = files.enter_context(replaced(failed_path))
                    failed_file.write(encoder.encode({"job": run.head}) + b"\n")
                line = _as_job_line(lineage.filled(item), base, is_here=is_here)
                failed_file.write(encoder.encode(line) + b"\n")
    if failed_file is None:
        failed_path.unlink(missing_ok=True)


def _as_job_line(item: Item, base: Path, *, is_here: bool) -> dict[str, Any]:
    """An item as a line of a job file that lies in the job's directory.

    Args:
        item: The item.
        base: That directory, without links on the way to it.
        is_here: It is no mirror of another place; from there, only what is in it has a way.
    """
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
                path = reference["path"]
                if is_here or path.startswith(f"{base}/"):
                    reference["path"] = os.path.relpath(path, base)
    return line


def write_summary(layout: Layout, summary: Summary, *, is_one_run: bool) -> None:
    """Write the last summary, and keep it if it is that of one run, not of several shards."""
    text = summary_text(summary)
    _replace(layout.root / "summary.json", text)
    _replace(layout.root / "summary.md", summary_markdown(summary).encode())
    if is_one_run:
        keep_summary(layout, summary)


def _replace(path: Path, data: bytes) -> None:
    with replaced(path) as file:
        file.write(data)
