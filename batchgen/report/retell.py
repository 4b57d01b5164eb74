"""The report of a run that found everything as the last report left it.

What is told of the items stays: results.jsonl, and the cards and charts of the page. New is only
what is told of the run: the summary, what stands above the cards, and the chart of all runs. So
the files are what `rebuild` would make of them, byte by byte, and no ledger is read for it.

Source: docs/adr/0025.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
from markupsafe import Markup

from batchgen.errors import store_errors
from batchgen.report.charts.charts import charts_of_runs, figures
from batchgen.report.last_run import LastRun, summary_of
from batchgen.report.page import View, page_around, replace_page
from batchgen.report.past import last_runs, last_with_calls, point_of
from batchgen.report.rebuild import write_summary
from batchgen.report.seal import Seal, all_paths, marks_of, pages, write_seal
from batchgen.report.summary import NO_USD, ItemTotals, Summary
from batchgen.store.history import History
from batchgen.store.inside import open_inside
from batchgen.store.layout import Layout
from batchgen.store.ledger import End, Run
from batchgen.store.replace import remove_left_drafts

_BEGINS: Final = b'<pre id="data" hidden>\n'
_ENDS: Final = b"</pre>\n"


class _NotOurs(Exception):
    """The page is not as we write one."""


def retell(layout: Layout, seal: Seal, run: Run, end: End) -> Summary | None:
    """Write summary and page of a run that found nothing to do, and seal the job anew.

    Args:
        layout: The job's directory, which the caller holds.
        seal: It was unbroken when the run began.
        run: The first line of the run's segment.
        end: The last one.

    Returns:
        The figures; None if all must be read after all: something has been changed meanwhile.

    Raises:
        StoreError: The disk failed.
    """
    own = layout.relative(layout.segment(run.run_id))
    items = replace(seal.items, n_reused=seal.n_items)
    with store_errors(layout.root):
        marks = marks_of(layout, all_paths(layout))
        if not seal.is_unbroken({name: mark for name, mark in marks.items() if name != own}):
            return None
        summary = _summary(seal, run, end, items)
        remove_left_drafts(layout.root)
        write_summary(layout, summary, is_one_run=True)
        last = last_with_calls(layout.runs, summary, seal.charts_of)
        if last.run_id != seal.charts_of:
            return None
        points = seal.points | {run.run_id: point_of(summary)}
        charts = Markup(seal.charts)  # noqa: S704 - nobody has touched the seal since we wrote it
        beside = figures(charts_of_runs(last, last_runs(layout.runs, points)))
        view = View(summary, items.whole, charts + beside, last.run_id)
        lines = _lines_of_page(layout.root / "report.html")
        try:
            replace_page(layout, page_around(view, lines))
        except _NotOurs:
            return None
        marks |= marks_of(layout, pages(layout))
        anew = msgspec.structs.replace(
            seal, marks=marks, items=items, cost_usd=summary.cost_usd, points=points
        )
        write_seal(layout, anew)
    return summary


def _summary(seal: Seal, run: Run, end: End, items: ItemTotals) -> Summary:
    """The figures of a run that sent nothing, after one that left nothing undone."""
    last_run = LastRun()
    last_run.take(run, History())
    delta_usd = None if seal.cost_usd is None else NO_USD - seal.cost_usd
    diff = items.difference(delta_usd)
    return summary_of(run, end, last_run, items, diff=diff, review=seal.review)


def _lines_of_page(path: Path) -> Iterator[Markup]:
    """The lines of the items of a page, as they stand in it.

    Raises:
        OSError: It cannot be read.
        _NotOurs: There are none, or there is markup in them.
    """
    with open_inside(path) as file:
        if _BEGINS not in file:
            raise _NotOurs
        next(file)  # what is told of the run
        for line in file:
            if line == _ENDS:
                return
            if b"<" in line:
                raise _NotOurs
            yield Markup(line.decode())  # noqa: S704 - there is none in it
    raise _NotOurs
