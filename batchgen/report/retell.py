"""The report of a run that found everything as the one before it left it.

What is told of the items stays: results.jsonl, and the cards of the page. New is only what is told
of the run: the summary, what stands above the cards, and the chart of all runs. So the files are
what `rebuild` would make of them, byte by byte, and no ledger is read for it.

Source: docs/adr/0025.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from markupsafe import Markup

from batchgen.errors import store_errors
from batchgen.report.charts.charts import charts, figures
from batchgen.report.last_run import LastRun, summary_of
from batchgen.report.page import View, page_around, replace_page
from batchgen.report.past import last_runs, last_with_calls
from batchgen.report.rebuild import write_summary
from batchgen.report.seal import Seal, Stamps, is_unbroken, outputs, write_seal
from batchgen.report.summary import NO_USD, Summary
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
        The figures; None if all must be read after all: something has been touched meanwhile.

    Raises:
        StoreError: The disk failed.
    """
    segment = layout.segment(run.run_id)
    if not is_unbroken(seal, layout, besides=segment):
        return None
    summary, stamps = _summary(seal, run, end), Stamps(layout, dict(seal.stamps))
    with store_errors(layout.root):
        remove_left_drafts(layout.root)
        stamps.note([segment])
        write_summary(layout, summary, is_one_run=True)
        last = last_with_calls(layout.runs, summary, seal.series.run_id)
        drawn = figures(charts(last, seal.series, last_runs(layout.runs, seal.points)))
        view = View(summary, seal.items.whole, drawn, last.run_id)
        try:
            replace_page(layout, page_around(view, _lines_of_page(layout.page)))
        except _NotOurs:
            return None
        stamps.note(outputs(layout))
        if stamps.are_sound:
            cost_usd, by_name = summary.cost_usd, stamps.by_name
            write_seal(layout, msgspec.structs.replace(seal, stamps=by_name, cost_usd=cost_usd))
    return summary


def _summary(seal: Seal, run: Run, end: End) -> Summary:
    """The figures of a run that sent nothing, after one that left nothing undone."""
    last_run = LastRun()
    last_run.take(run, History())
    diff = seal.items.difference(None if seal.cost_usd is None else NO_USD - seal.cost_usd)
    return summary_of(run, end, last_run, seal.items, diff=diff, review=seal.review)


def _lines_of_page(path: Path) -> Iterator[Markup]:
    """The lines of the items of a page, as they stand in it.

    Raises:
        _NotOurs: It cannot be read, there are none, or there is markup in them.
    """
    try:
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
    except (OSError, UnicodeDecodeError) as error:
        raise _NotOurs from error
    raise _NotOurs
