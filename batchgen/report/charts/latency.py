"""How long the calls took that brought a picture."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from markupsafe import Markup

from batchgen.report.charts import draw, scales
from batchgen.report.charts.draw import BASE, HEIGHT, PLOT, TOP, Chart
from batchgen.report.charts.series import BINS_AN_OCTAVE, Series
from batchgen.report.summary import Latency, Summary
from batchgen.wording import counted, duration

_MAX_BINS: Final = 26
# What a label needs of the width.
_ROOM: Final = 0.28


def latency(summary: Summary, series: Series) -> Chart | None:
    """How long the calls took that brought a picture, on a logarithmic axis."""
    if not series.latencies:
        return None
    bins = latency_bins(series.latencies)
    low, high = bins[0][0], bins[-1][1]
    ticks = scales.ticks(max(n for _, _, n in bins), whole=True)

    def place(value_s: float) -> float:
        return min(1.0, max(0.0, math.log(max(value_s, low) / low) / math.log(high / low)))

    bars = []
    for from_s, to_s, n in bins:
        if n:
            x, height = place(from_s), max(1.0, PLOT * n / ticks[-1])
            told = f"{scales.seconds(from_s)} to {scales.seconds(to_s)}: {counted(n, 'picture')}"
            width = (place(to_s) - x) * 0.9
            bars.append(draw.bar((x, BASE - height), width, height, "c-1", told))
    lines = _quantile_lines(summary, place)
    marks = [
        draw.y_axis(TOP, PLOT, [(v / ticks[-1], scales.number(v)) for v in ticks[1:]]),
        *bars,
        *lines,
        draw.x_axis(BASE, [(place(v), scales.seconds(v)) for v in scales.log_ticks(low, high)]),
    ]
    title, desc = "How long a picture takes", _told_latency(summary, series)
    return Chart(
        key="latency",
        title=title,
        svg=draw.picture("latency", title, desc, height=HEIGHT, marks=marks),
        summary=desc,
        head=("from", "to", "pictures"),
        rows=tuple((_edge_words(from_s), _edge_words(to_s), f"{n:,}") for from_s, to_s, n in bins),
    )


def latency_bins(counts: Mapping[int, int]) -> list[tuple[float, float, int]]:
    """From, to (seconds) and how many: bins of the grid, joined until they are few.

    Those at the edges are empty, so that the first and the last bar stand free.
    """
    n_each = 1
    while max(counts) // n_each - min(counts) // n_each + 3 > _MAX_BINS:
        n_each *= 2
    n_each = max(n_each, BINS_AN_OCTAVE // 16)
    wide: dict[int, int] = {}
    for n, count in counts.items():
        wide[n // n_each] = wide.get(n // n_each, 0) + count
    # A run of which all calls took the same has one bar in the middle.
    pad = max(1, (7 - len(range(min(wide), max(wide) + 1))) // 2)
    return [
        (_edge(n * n_each), _edge((n + 1) * n_each), wide.get(n, 0))
        for n in range(min(wide) - pad, max(wide) + pad + 1)
    ]


def _edge(n: int) -> float:
    return float(2 ** (n / BINS_AN_OCTAVE))


def _edge_words(seconds: float) -> str:
    """Below a second, bins are narrower than a tenth of one."""
    return f"{seconds:.2f}s" if seconds < 1 else scales.seconds(seconds)


def _quantiles(found: Latency) -> Iterator[tuple[str, float]]:
    for name, value_s in (("p50", found.p50), ("p95", found.p95)):
        if value_s is not None and math.isfinite(value_s) and value_s >= 0:
            yield name, value_s


def _quantile_lines(summary: Summary, place: Callable[[float], float]) -> Iterator[Markup]:
    """An upright line for each, with its label beside it."""
    found = [(name, value_s, place(value_s)) for name, value_s in _quantiles(summary.latency_s)]
    for n, (_, _, x) in enumerate(found):
        yield draw.upright(x, 18 * n, BASE - 18 * n, "line dashed ink")
    for n, (name, value_s, x) in enumerate(found):
        # The lower one on the left of its line, the higher one on the right: they cannot meet.
        is_left = x > (_ROOM if name == "p50" else 1 - _ROOM)
        at, words = (x, 11 + 18 * n), f"{name} {duration(value_s)}"
        yield draw.text(at, words, "label", "end" if is_left else "start", -6 if is_left else 6)


def _told_latency(summary: Summary, series: Series) -> str:
    found = dict(_quantiles(summary.latency_s))
    n_pictures = sum(series.latencies.values())
    told = counted(n_pictures, "picture")
    if n_pictures == 1 and "p50" in found:
        return f"The one picture took {duration(found['p50'])}."
    if "p50" not in found or "p95" not in found:
        return f"How long {told} took."
    return (
        f"Half of {told} took no longer than {duration(found['p50'])}, "
        f"95% no longer than {duration(found['p95'])}."
    )
