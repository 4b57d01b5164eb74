"""Charts of a run from its start to its end: calls in flight, and what became of them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from markupsafe import Markup

from batchgen.report.charts import draw, scales
from batchgen.report.charts.draw import BASE, HEIGHT, PLOT, TOP, Chart
from batchgen.report.charts.series import Series, Span, Timeline
from batchgen.report.summary import Summary
from batchgen.wording import counted, duration

_MAX_STEPS: Final = 120
_MAX_BARS: Final = 48
_MAX_ROWS: Final = 16
# How many times as many stretches as the ledger's may be grouped into what is drawn.
_FINER: Final = 16
_MIN_BAR: Final = 1.5
# A limit so much higher than what was in flight is told in words.
_FAR_ABOVE: Final = 2.5
# Beyond reason.
_MAX_S: Final = 1e9
_MAX_LIMIT: Final = 10**9


@dataclass(frozen=True, slots=True)
class _Run:
    """The last run up to some moment."""

    series: Series
    until_s: float

    def grouped(self, at_most: int) -> Timeline:
        timeline = self.series.drawn()
        # A run may wait for days and write nothing: so that there are no millions of stretches.
        timeline.reach(self.until_s / _FINER)
        return timeline.grouped(self.until_s, at_most)

    def share(self, at_s: float) -> float:
        return min(1.0, max(0.0, at_s / self.until_s))

    def axis(self) -> Markup:
        ticks = scales.time_ticks(self.until_s, self.series.began_at)
        return draw.x_axis(BASE, [(self.share(at_s), words) for at_s, words in ticks])

    @property
    def by_clock(self) -> bool:
        """Whether moments are told by the clock on the wall."""
        return self.series.began_at is not None and self.until_s >= scales.BY_STOPWATCH_S

    def told(self, at_s: float) -> str:
        """A moment in a table."""
        began_at = self.series.began_at
        since = scales.seconds(round(at_s, 1))
        if began_at is None or not self.by_clock:
            return since
        return f"{since} ({scales.shifted(began_at, at_s):%H:%M:%S})"


def _run(series: Series, now: datetime | None) -> _Run | None:
    """None for a run that made no call."""
    if not (series.timeline.slots or series.n_open):
        return None
    return _Run(series, max(1.0, series.until_s(now)))


# --- calls in flight --------------------------------------------------------------------------


def in_flight(summary: Summary, series: Series, now: datetime | None) -> Chart | None:
    """Calls in flight, how many were allowed, and when nothing left."""
    run = _run(series, now)
    if run is None:
        return None
    timeline = run.grouped(_MAX_STEPS)
    busy = timeline.in_flight(run.until_s)
    limits = limit_steps(series.steps, series.most)
    spans = [span for span in series.cooldowns if span[0] < run.until_s]
    top_of_limits = max((limit for _, limit in limits), default=0)
    has_limit = 0 < top_of_limits <= max(busy) * _FAR_ABOVE + 2
    ticks = scales.ticks(max(*busy, top_of_limits if has_limit else 0, 1), whole=True)
    levels = [(n * timeline.width_s, value) for n, value in enumerate(busy)]
    n_limited = sum(slot.n_limited for slot in timeline.slots)
    peak = summary.concurrency.peak or math.ceil(max(busy) - 1e-9)
    desc = _told_in_flight(run, peak, spans, n_limited)
    title = "Calls in flight"
    marks = [
        draw.key_row(12, list(_key_in_flight(limits, spans, n_limited, has_limit=has_limit))),
        *_bands(run, spans),
        draw.y_axis(TOP, PLOT, [(value / ticks[-1], scales.number(value)) for value in ticks[1:]]),
        draw.stretched(TOP, PLOT, _lines(run, levels, limits if has_limit else (), ticks[-1])),
        *_limited(run),
        run.axis(),
    ]
    return Chart(
        key="in-flight",
        title=title,
        svg=draw.picture("in-flight", title, desc, height=HEIGHT, marks=marks),
        summary=desc,
        head=("from", "in flight", "allowed", "429", "cooling"),
        rows=tuple(_rows_in_flight(run, limits, spans)),
        is_wide=True,
    )


def _lines(
    run: _Run,
    levels: Sequence[tuple[float, float]],
    limits: Sequence[tuple[float, int]],
    top: float,
) -> Iterator[Markup]:
    """What was in flight as an area, and what was allowed as a dashed line above it."""

    def corners(values: Sequence[tuple[float, float]]) -> list[draw.Point]:
        places = [(run.share(at_s), PLOT * (1 - value / top)) for at_s, value in values]
        return draw.stairs(places, 1.0)

    yield draw.path([(0, PLOT), *corners(levels), (1, PLOT)], "area c-1", closed=True)
    yield draw.path(corners(levels), "line c-1")
    if limits:
        yield draw.path(corners(limits), "line dashed c-5")


def limit_steps(steps: Sequence[Any], most: Any) -> list[tuple[float, int]]:
    """How many calls were allowed over all models: from when, and how many.

    Args:
        steps: The history in the `end` line: `at_s`, `model` and `limit`; what is no such thing is
            passed over.
        most: What no sum exceeds, if it is a number.
    """
    by_model: dict[str, int] = {}
    found: list[tuple[float, int]] = []
    for step in steps:
        if not isinstance(step, dict):
            continue
        at_s, limit = step.get("at_s"), step.get("limit")
        if not (isinstance(at_s, int | float) and isinstance(limit, int) and 0 <= at_s < _MAX_S):
            continue
        by_model[str(step.get("model"))] = max(0, limit)
        total = sum(by_model.values())
        if isinstance(most, int) and most > 0:
            total = min(most, total)
        if found and found[-1][0] == at_s:
            found.pop()
        found.append((float(at_s), min(total, _MAX_LIMIT)))
    return found


def _key_in_flight(
    limits: Sequence[tuple[float, int]], spans: Sequence[Span], n_limited: int, *, has_limit: bool
) -> Iterator[tuple[str, str, str]]:
    yield "■", "c-1", "in flight"
    if has_limit:
        yield "┄┄", "c-5", "allowed"
    elif limits:
        yield "┄┄", "c-5", f"allowed {scales.number(max(n for _, n in limits))}"
    if spans:
        yield "▒", "c-wait", "cooling"
    if n_limited:
        yield "▼", "c-bad", f"429 ×{scales.number(n_limited)}"


def _bands(run: _Run, spans: Sequence[Span]) -> Iterator[Markup]:
    for start, end in spans:
        x, width = run.share(start), run.share(end) - run.share(start)
        told = f"cooling for {scales.seconds(end - start)}"
        yield draw.bar((x, TOP), width, PLOT, "band", told)
        yield draw.bar((x, TOP), width, 3, "c-wait", told)


def _limited(run: _Run) -> Iterator[Markup]:
    timeline = run.grouped(_MAX_BARS)
    for n, slot in enumerate(timeline.slots):
        if slot.n_limited:
            yield draw.marker((run.share((n + 0.5) * timeline.width_s), TOP - 4), "c-bad")


def _told_in_flight(run: _Run, peak: int, spans: Sequence[Span], n_limited: int) -> str:
    told = f"At most {counted(peak, 'call')} in flight at once, in {duration(run.until_s)}."
    if n_limited:
        told += f" {counted(n_limited, 'call')} answered with 429."
    if spans:
        cooled_s = sum(min(end, run.until_s) - start for start, end in spans)
        told += f" {counted(len(spans), 'cooldown')}, {duration(cooled_s)} in all."
    return told + (" Times in UTC." if run.by_clock else "")


def _rows_in_flight(
    run: _Run, limits: Sequence[tuple[float, int]], spans: Sequence[Span]
) -> Iterator[tuple[str, ...]]:
    timeline = run.grouped(_MAX_ROWS)
    busy = timeline.in_flight(run.until_s)
    for n, (slot, value) in enumerate(zip(timeline.slots, busy, strict=True)):
        from_s, to_s = n * timeline.width_s, (n + 1) * timeline.width_s
        allowed = [limit for at_s, limit in limits if at_s < to_s]
        cooled_s = sum(max(0.0, min(end, to_s) - max(start, from_s)) for start, end in spans)
        yield (
            run.told(from_s),
            f"{value:.1f}",
            f"{allowed[-1]:,}" if allowed else "–",
            f"{slot.n_limited:,}",
            duration(cooled_s) if cooled_s else "–",
        )


# --- what became of them ----------------------------------------------------------------------


def outcomes(series: Series, now: datetime | None) -> Chart | None:
    """Pictures upwards, calls without one downwards."""
    run = _run(series, now)
    if run is None or not any(series.n_ended_as):
        return None
    timeline = run.grouped(_MAX_BARS)
    slots = timeline.slots
    up = max(slot.n_pictures for slot in slots)
    down = max(slot.n_retried + slot.n_failed for slot in slots)
    step = scales.ticks(max(up, down), whole=True)[1]
    # A side with little on it gets what it needs, and not a whole step.
    n_up, n_down = (math.ceil(n / step) if n > step / 2 else 0.5 if n else 0 for n in (up, down))
    each = PLOT / (n_up + n_down)
    zero = TOP + n_up * each
    levels = range(-int(n_down), int(n_up) + 1)
    marks = [
        draw.key_row(12, _key_outcomes(series)),
        draw.y_axis(
            TOP,
            PLOT,
            [((n + n_down) / (n_up + n_down), scales.number(abs(n) * step)) for n in levels],
        ),
        *_outcome_bars(run, timeline, zero, each / step),
        draw.rule(zero, "axis"),
        run.axis(),
    ]
    title, desc = "What calls came to", _told_outcomes(run, timeline.width_s)
    return Chart(
        key="outcomes",
        title=title,
        svg=draw.picture("outcomes", title, desc, height=HEIGHT, marks=marks),
        summary=desc,
        head=("from", "pictures", "tried again", "failed"),
        rows=tuple(_rows_outcomes(run)),
        is_wide=True,
    )


def _key_outcomes(series: Series) -> list[tuple[str, str, str]]:
    n_pictures, n_retried, n_failed = series.n_ended_as
    entries = [
        (n_pictures, "■", "c-ok", "picture" if n_pictures == 1 else "pictures"),
        (n_retried, "□", "c-wait", "retried"),
        (n_failed, "■", "c-bad", "failed"),
    ]
    return [(sign, of, f"{scales.number(n)} {what}") for n, sign, of, what in entries if n]


def _outcome_bars(run: _Run, timeline: Timeline, zero: float, each: float) -> Iterator[Markup]:
    """Pictures stand on the line, what was tried again and what failed hangs from it."""

    def height(n: int) -> float:
        return max(_MIN_BAR, n * each - 1)  # one call among thousands is seen as well

    for n, slot in enumerate(timeline.slots):
        x = run.share(n * timeline.width_s)
        width = (run.share((n + 1) * timeline.width_s) - x) * 0.82
        if slot.n_pictures:
            up, told = height(slot.n_pictures), counted(slot.n_pictures, "picture")
            yield draw.bar((x, zero - 1 - up), width, up, "c-ok", told)
        y = zero + 1
        hanging = (
            (slot.n_retried, "hollow c-wait", "tried again"),
            (slot.n_failed, "c-bad", "failed"),
        )
        for count, classes, what in hanging:
            if count:
                yield draw.bar((x, y), width, height(count), classes, f"{count:,} {what}")
                y += height(count) + 1


def _told_outcomes(run: _Run, width_s: float) -> str:
    counts = run.series.n_ended_as
    n_pictures, n_retried, n_failed = counts
    return (
        f"Of {counted(sum(counts), 'call')}, {n_pictures:,} brought a picture, "
        f"{n_retried:,} were tried again, {n_failed:,} failed. "
        f"A bar for each {scales.seconds(width_s)}." + (" Times in UTC." if run.by_clock else "")
    )


def _rows_outcomes(run: _Run) -> Iterator[tuple[str, ...]]:
    timeline = run.grouped(_MAX_ROWS)
    for n, slot in enumerate(timeline.slots):
        counts = (slot.n_pictures, slot.n_retried, slot.n_failed)
        yield run.told(n * timeline.width_s), *(f"{count:,}" for count in counts)
