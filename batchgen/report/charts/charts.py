"""Which charts there are for a run, and the HTML around them."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
from markupsafe import Markup

from batchgen.report.charts.amounts import cost_by_model, cost_by_tag, tokens, waste
from batchgen.report.charts.draw import Chart
from batchgen.report.charts.latency import latency
from batchgen.report.charts.over_runs import over_runs
from batchgen.report.charts.over_time import in_flight, outcomes
from batchgen.report.charts.series import Series
from batchgen.report.past import RunPoint, point_of
from batchgen.report.summary import Summary


def charts(
    summary: Summary,
    series: Series,
    runs: Sequence[RunPoint],
    *,
    now: datetime | None = None,
) -> list[Chart]:
    """The charts of the last run, in the order of a page; those without data are left out.

    Args:
        summary: Of the last run, which may still be going on.
        series: What the ledger's lines gathered.
        runs: The runs before it; it may be among them.
        now: How far a run has come that goes on; None for the last that its ledger tells.
    """
    points = [*(point for point in runs if point.run_id != summary.run_id), _last(summary, runs)]
    found = [
        in_flight(summary, series, now),
        latency(summary, series),
        tokens(summary),
        outcomes(series, now),
        waste(summary, series),
        cost_by_model(summary),
        *cost_by_tag(summary),
        over_runs(points),
    ]
    return [chart for chart in found if chart is not None]


def _last(summary: Summary, runs: Iterable[RunPoint]) -> RunPoint:
    """The point of the last run; while that goes on, what has changed is known by the ledger."""
    point = point_of(summary)
    same = next((one for one in runs if one.run_id == summary.run_id), None)
    if same is None or summary.diff is not None:
        return point
    return msgspec.structs.replace(
        point,
        n_new_failures=same.n_new_failures,
        n_fixed=same.n_fixed,
        n_still_failing=same.n_still_failing,
    )


def figures(found: Iterable[Chart]) -> Markup:
    """Charts as HTML: each with its heading, its sentence, and its figures as a table."""
    return Markup('<div class="charts">{}</div>').format(
        Markup("").join(_figure(chart) for chart in found)
    )


def _figure(chart: Chart) -> Markup:
    kind = "chart wide" if chart.is_wide else "chart"
    return Markup(
        '<figure class="{}" id="chart-{}"><figcaption><h3>{}</h3><p class="quiet">{}</p>'
        "</figcaption>{}"
        '<details><summary>Figures</summary><div class="scroll" tabindex="0" role="region" '
        'aria-label="{}">{}</div></details></figure>'
    ).format(kind, chart.key, chart.title, chart.summary, chart.svg, chart.title, _table(chart))


def _table(chart: Chart) -> Markup:
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(name) for name in chart.head)
    rows = Markup("").join(
        Markup("<tr>{}{}</tr>").format(
            Markup('<th scope="row" dir="auto">{}</th>').format(name),
            Markup("").join(Markup("<td>{}</td>").format(value) for value in values),
        )
        for name, *values in chart.rows
    )
    return Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(head, rows)
