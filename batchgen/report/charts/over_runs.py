"""What each run of a job cost, how long its pictures took, and what it left."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final, TypeAlias

from markupsafe import Markup

from batchgen.report.charts import draw, scales
from batchgen.report.charts.draw import Chart
from batchgen.report.charts.series import usable
from batchgen.report.past import RunPoint
from batchgen.report.past.files import MAX_RUNS
from batchgen.report.summary import NO_USD
from batchgen.wording import counted

# So few runs stand on the left, and are no wider than that.
_MIN_RUNS: Final = 12
_MAX_LABELS: Final = 3
# Plots, one above the other: where the first begins, how high each is, and how far they are apart.
_TOP: Final = 28
_PLOT: Final = 72
_STEP: Final = 118
_MAX_S: Final = 1e9
_UNKNOWN: Final = "–"

# From, to (shares of the height), class, and what it says when it is pointed at.
_Bar: TypeAlias = tuple[float, float, str, str]


@dataclass(frozen=True, slots=True)
class _Plot:
    """One plot of the chart.

    Attributes:
        key: What its marks mean: sign, class, words.
        ticks: Values as shares of its height, with their labels.
        bars: Those of each run.
        zero: Where nothing is, as a share of the height.
    """

    key: list[tuple[str, str, str]]
    ticks: list[tuple[float, str]]
    bars: list[list[_Bar]]
    zero: float = 0.0


def over_runs(points: Sequence[RunPoint]) -> Chart | None:
    """Cost, items, latency and what became of failures, a bar of each for each run."""
    points = sorted(points, key=lambda point: point.run_id)[-MAX_RUNS:]
    if not points:
        return None
    width = 1 / max(_MIN_RUNS, len(points))
    plots = [_cost(points), _items(points), *_latency(points), *_changes(points)]
    base = _TOP + _STEP * (len(plots) - 1) + _PLOT
    marks: list[Markup] = []
    for n, plot in enumerate(plots):
        marks += _drawn(plot, _TOP + _STEP * n, width)
    marks.append(draw.x_axis(base, list(_labels(points, width))))
    title, desc = "Runs of this job", _told(points)
    return Chart(
        key="runs",
        title=title,
        svg=draw.picture("runs", title, desc, height=base + 28, marks=marks),
        summary=desc,
        head=(
            *("run", "cost", "made", "done before", "failed", "new", "fixed", "still failing"),
            *("p50", "p95"),
        ),
        rows=tuple(_rows(points)),
        is_wide=True,
    )


# --- the plots --------------------------------------------------------------------------------


def _cost(points: Sequence[RunPoint]) -> _Plot:
    ticks = scales.ticks(max(float(usable(point.cost_usd)) for point in points), 2)
    bars: list[list[_Bar]] = []
    for point in points:
        usd = usable(point.cost_usd)
        told = f"{_day(point)}: {scales.money(usd)}"
        bars.append([(0, float(usd) / ticks[-1], "c-1", told)] if usd else [])
    labels = [(value / ticks[-1], scales.axis_money(value)) for value in ticks[1:]]
    return _Plot([("■", "c-1", "cost")], labels, bars)


def _items(points: Sequence[RunPoint]) -> _Plot:
    stacks = [
        (
            (point.items.reused or 0, "hollow c-5", "done before"),
            (point.n_made, "c-ok", "made"),
            (point.items.failed or 0, "c-bad", "failed"),
        )
        for point in points
    ]
    ticks = scales.ticks(max(sum(n for n, *_ in stack) for stack in stacks), 2, whole=True)
    labels = [(value / ticks[-1], scales.number(value)) for value in ticks[1:]]
    key = [("■", "c-ok", "made"), ("□", "c-5", "done before"), ("■", "c-bad", "failed")]
    return _Plot(key, labels, [list(_stacked(stack, ticks[-1])) for stack in stacks])


def _latency(points: Sequence[RunPoint]) -> Iterator[_Plot]:
    """How long half of the pictures took, and 95 %; nothing where there were none."""
    known = [(_drawable(p.latency_s.p50), _drawable(p.latency_s.p95)) for p in points]
    longest_s = max(value or 0.0 for pair in known for value in pair)
    if not longest_s:
        return
    unit_s = next(unit for unit in (3600, 60, 1) if longest_s >= unit or unit == 1)
    ticks = [n * unit_s for n in scales.ticks(longest_s / unit_s, 2)]
    bars: list[list[_Bar]] = []
    for point, (p50_s, p95_s) in zip(points, known, strict=True):
        pairs = (("p95", p95_s, "hollow c-5"), ("p50", p50_s, "c-1"))
        bars.append(
            [
                (
                    0,
                    value_s / ticks[-1],
                    classes,
                    f"{_day(point)}: {name} {scales.seconds(value_s)}",
                )
                for name, value_s, classes in pairs
                if value_s
            ]
        )
    labels = [(value / ticks[-1], scales.seconds(value)) for value in ticks[1:]]
    yield _Plot([("■", "c-1", "a picture took: p50"), ("□", "c-5", "p95")], labels, bars)


def _changes(points: Sequence[RunPoint]) -> Iterator[_Plot]:
    """Failures against the run before, and below them what was fixed; nothing without any."""
    up = max((p.n_new_failures or 0) + (p.n_still_failing or 0) for p in points)
    down = max(p.n_fixed or 0 for p in points)
    if not up and not down:
        return
    step = scales.ticks(max(up, down), 2, whole=True)[1]
    n_up, n_down = math.ceil(up / step), math.ceil(down / step)
    high, low = n_up * step, n_down * step
    zero, whole = low / (high + low), high + low
    bars: list[list[_Bar]] = []
    for point in points:
        stack = (
            (point.n_still_failing or 0, "hollow c-bad", "still failing"),
            (point.n_new_failures or 0, "c-bad", "failed anew"),
        )
        bars.append([*_stacked(stack, whole, zero)])
        if fixed := point.n_fixed or 0:
            bars[-1].append((zero - fixed / whole, zero, "c-ok", f"{fixed:,} fixed"))
    steps = [n * step for n in range(-n_down, n_up + 1) if n]
    labels = [(zero + value / whole, scales.number(abs(value))) for value in steps]
    key = [("■", "c-bad", "new failures"), ("□", "c-bad", "still failing"), ("■", "c-ok", "fixed")]
    yield _Plot(key, labels, bars, zero)


def _stacked(
    parts: Sequence[tuple[int, str, str]], whole: float, begins: float = 0.0
) -> Iterator[_Bar]:
    for count, classes, what in parts:
        if count > 0:
            ends = begins + count / whole
            yield begins, ends, classes, f"{count:,} {what}"
            begins = ends


def _drawable(value_s: float | None) -> float | None:
    return value_s if value_s is not None and 0 < value_s < _MAX_S else None


def _drawn(plot: _Plot, top: float, width: float) -> Iterator[Markup]:
    """A plot as marks; each bar is at least a pixel high, and one above another stands free."""
    yield draw.key_row(top - 16, plot.key)
    yield draw.y_axis(top, _PLOT, plot.ticks)
    for n, bars in enumerate(plot.bars):
        for begins, ends, classes, told in bars:
            free = 1 if begins else 0
            height = max(1.0, (ends - begins) * _PLOT - free)
            at = (n * width, top + _PLOT * (1 - begins) - height - free)
            yield draw.bar(at, width * 0.8, height, classes, told)
    yield draw.rule(top + _PLOT * (1 - plot.zero), "axis")


# --- words ------------------------------------------------------------------------------------


def _labels(points: Sequence[RunPoint], width: float) -> Iterator[tuple[float, str]]:
    """The days of some runs; those of one day are told once."""
    every = -(-max(_MIN_RUNS, len(points)) // _MAX_LABELS)
    days = [_day(point) for point in points]
    shown = list(range(0, len(points), every))
    for before, n in pairwise([None, *shown]):
        if n is not None and (before is None or days[before] != days[n]):
            yield (n + 0.4) * width, days[n]


def _told(points: Sequence[RunPoint]) -> str:
    last = points[-1]
    known = sum((usable(point.cost_usd) for point in points), NO_USD)
    # What came before so many is not shown, and not known here.
    which = "The last " if len(points) == MAX_RUNS else ""
    told = f"{which}{counted(len(points), 'run')}, {scales.money(known)} in all. "
    told += f"The last one {_left(last)}"
    told += f", {last.n_new_failures:,} of them anew" if last.n_new_failures else ""
    return told + (f"; {last.n_fixed:,} fixed." if last.n_fixed else ".")


def _left(point: RunPoint) -> str:
    """Where items stand after a run; of one that was killed only its own calls are known."""
    done, failed = point.items.done, _count(point.items.failed)
    if done is None:
        return f"made {point.n_made:,}, and nobody knows what it left; {failed} failed"
    return f"left {done:,} done and {failed} failed"


def _rows(points: Sequence[RunPoint]) -> Iterator[tuple[str, ...]]:
    for point in reversed(points):
        changes = (point.n_new_failures, point.n_fixed, point.n_still_failing)
        latencies = (_drawable(point.latency_s.p50), _drawable(point.latency_s.p95))
        yield (
            draw.foreign(point.run_id),
            "unknown" if point.cost_usd is None else scales.money(usable(point.cost_usd)),
            f"{point.n_made:,}",
            _count(point.items.reused),
            _count(point.items.failed),
            *map(_count, changes),
            *(_UNKNOWN if value_s is None else scales.seconds(value_s) for value_s in latencies),
        )


def _count(n: int | None) -> str:
    return _UNKNOWN if n is None else f"{n:,}"


def _day(point: RunPoint) -> str:
    try:
        moment = datetime.fromisoformat(point.started_at)
    except ValueError:
        return draw.foreign(point.run_id, 8)
    return f"{moment.day} {moment:%b}"
