"""The charts of a report: right figures from any ledger, and nothing but figures in the page."""

from __future__ import annotations

import math
import os
import random
import re
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import resources
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from batchgen.clock import stamp
from batchgen.model import Attempt, ImageFile, Outcome, Tokens
from batchgen.report.charts.charts import charts, figures
from batchgen.report.charts.latency import latency_bins
from batchgen.report.charts.over_runs import over_runs
from batchgen.report.charts.over_time import limit_steps
from batchgen.report.charts.scales import log_ticks, percent, seconds, ticks, time_ticks
from batchgen.report.charts.series import MAX_SLOTS, MAX_SPANS, RunSeries, Timeline, joined
from batchgen.report.past import RunPoint, last_runs
from batchgen.report.past.files import MAX_RUNS
from batchgen.report.past.point import RunItems
from batchgen.report.summary import (
    AttemptCounts,
    Concurrency,
    Diff,
    ItemCounts,
    Latency,
    MaybeBilled,
    RunTotals,
    Summary,
    sorted_costs,
)
from batchgen.sanitize import printable
from batchgen.store.ledger import End, Run, Sent
from tests.hostile import NAMES, PAYLOADS
from tests.pages import Page, check_tags

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from batchgen.report.charts.draw import Chart
    from batchgen.store.ledger import Line

BEGAN = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
RUN_ID = "20261121T030000Z-4f2a9c31"
BEFORE = "20261120T030000Z-4f2a9c31"
CHART_TAGS = {
    *("div", "figure", "figcaption", "h3", "p", "details", "summary"),
    *("table", "thead", "tbody", "tr", "th", "td"),
    *("svg", "title", "desc", "text", "tspan", "rect", "path"),
}


def at(at_s: float) -> str:
    return stamp(BEGAN + timedelta(seconds=at_s))


def run(run_id: str = RUN_ID) -> Run:
    return Run(run_id=run_id, at=at(0), job="job", job_sha256="0", provider="emulator", version="1")


def sent(n: int, at_s: float) -> Sent:
    return Sent(run_id=RUN_ID, item=f"i{n}", key="0", turn=1, attempt=1, at=at(at_s), model="m")


def call(n: int, at_s: float, latency_s: float | None, **more: Any) -> Attempt:
    """A call that brought a picture, unless it is told otherwise."""
    picture = ImageFile(
        path="x", role="final", sha256="0", bytes=1, width=1, height=1, mime="image/png"
    )
    line: dict[str, Any] = {
        "run_id": RUN_ID,
        "item": f"i{n}",
        "key": "0",
        "turn": 1,
        "attempt": 1,
        "at": at(at_s),
        "model": "m",
        "provider": "e",
        "http_status": 200,
        "outcome": Outcome.IMAGE,
        "decision": "done",
        "cost_usd": Decimal("0.1"),
        "cost_basis": "reported",
        "billed": "yes",
        "latency_s": latency_s,
        "images": (picture,),
        "tokens": Tokens(input_text=10, output_image=90),
    }
    return Attempt(**{**line, **more})


def limited(n: int, at_s: float, until_s: float | None = None) -> Attempt:
    more = {} if until_s is None else {"cools_until": at(until_s)}
    outcome = {"outcome": Outcome.RATE_LIMITED, "decision": "retry", "http_status": 429}
    return call(n, at_s, 0.5, cost_usd=Decimal(0), billed="no", images=(), **outcome, **more)


def end(at_s: float, **concurrency: Any) -> End:
    return End(
        run_id=RUN_ID,
        at=at(at_s),
        stop_reason="finished",
        exit_code=0,
        wall_s=at_s,
        concurrency=concurrency,
    )


def series_of(lines: Iterable[Line]) -> RunSeries:
    series = RunSeries()
    for line in lines:
        series.take(line)
    return series


def summary_of(lines: Iterable[Line], **more: Any) -> Summary:
    totals = RunTotals()
    for line in lines:
        if isinstance(line, Attempt):
            totals.add(line)
    told: dict[str, Any] = {
        "job": "job",
        "run_id": RUN_ID,
        "started_at": at(0),
        "finished_at": None,
        "wall_s": None,
        "stop_reason": None,
        "exit_code": None,
        "items": ItemCounts(total=totals.images, done=totals.images),
        "attempts": AttemptCounts(by_outcome=totals.by_outcome),
        "images": totals.images,
        "tokens": totals.tokens,
        "cost_usd": totals.known_cost_usd,
        "cost_waste_usd": totals.waste_usd,
        "cost_maybe_usd": totals.maybe_usd,
        "cost_unknown_attempts": totals.n_unknown,
        "cost_by_model": sorted_costs(totals.by_model),
        "cost_by_tag": {name: sorted_costs(costs) for name, costs in totals.by_tag.items()},
        "latency_s": totals.latency_s,
        "throughput_per_min": None,
        "concurrency": Concurrency(),
        "failures": [],
        "maybe_billed": MaybeBilled(),
        "diff": None,
    }
    return Summary(**{**told, **more})


def drawn(lines: Iterable[Line], runs: Iterable[RunPoint] = (), **more: Any) -> dict[str, Chart]:
    """The charts of a run by their keys, each of them checked."""
    lines = [run(), *lines]
    found = charts(summary_of(lines, **more), series_of(lines), list(runs))
    check(found)
    return {chart.key: chart for chart in found}


def check(found: list[Chart]) -> Page:
    """Only marks, without scripts, styles and addresses; every class is one of the style sheet."""
    page = Page(figures(found))
    check_tags(page, CHART_TAGS)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"chart-[a-z0-9-]+", one) for one in ids)
    for tag, attrs in page.tags:
        for name in ("aria-labelledby", "aria-describedby"):
            assert name not in attrs or attrs[name] in ids
        assert tag != "svg" or "class" not in attrs or attrs["role"] == "img"
        numbers = [attrs.get(name, "0") for name in ("x", "y", "width", "height", "dx", "d")]
        assert not re.search("nan|inf|e[-+]", " ".join(numbers)), attrs
    used = {one for _, attrs in page.tags for one in attrs.get("class", "").split()}
    assert used <= set(re.findall(r"\.([a-z][a-z0-9-]*)", style())), used
    for chart in found:
        assert {cell for row in chart.rows for cell in row} <= set(page.words)
        assert all(len(row) == len(chart.head) for row in chart.rows), chart.rows
        assert chart.rows
        assert chart.summary.endswith(".")
    return page


def style() -> str:
    folder = resources.files("batchgen.report").joinpath("templates")
    return folder.joinpath("charts.css").read_text("utf-8")


# --- what one pass gathers --------------------------------------------------------------------


def test_calls_in_flight_are_those_that_left_and_have_not_ended() -> None:
    series = series_of([run(), call(1, 0, 4), call(2, 1, 2), end(4)])
    timeline = series.drawn().grouped(4, 4)
    assert timeline.width_s == 1
    assert timeline.in_flight(4) == [1, 2, 2, 1]


def test_a_call_without_an_outcome_is_in_flight_until_now_and_not_beyond_the_end() -> None:
    series = series_of([run(), sent(1, 1), sent(2, 1), call(2, 1, 1)])
    assert series.until_s() == 2
    assert series.until_s(BEGAN + timedelta(seconds=3.5)) == 3.5
    assert series.drawn().grouped(3.5, 7).in_flight(3.5) == [0, 0, 2, 2, 1, 1, 1]
    assert series.drawn().grouped(3.53, 7).in_flight(3.53)[-1] == pytest.approx(1)
    series.take(end(3))
    assert series.until_s(BEGAN + timedelta(seconds=60)) == 3
    assert series.drawn().grouped(3, 3).in_flight(3) == [0, 2, 1]


def test_joining_stretches_of_time_keeps_what_happened_in_them() -> None:
    rng = random.Random(3)
    calls = [(rng.uniform(0, 900), rng.expovariate(1 / 20)) for _ in range(2000)]
    until_s = max(at_s + took_s for at_s, took_s in calls)
    series = series_of([run(), *(call(n, *one) for n, one in enumerate(calls)), end(until_s)])
    timeline = series.drawn()
    assert len(timeline.slots) <= MAX_SLOTS
    few = timeline.grouped(until_s, 10)
    assert len(few.slots) <= 10
    for n, busy in enumerate(few.in_flight(until_s)):
        from_s, to_s = n * few.width_s, min(until_s, (n + 1) * few.width_s)
        overlaps = (min(a + took, to_s) - max(a, from_s) for a, took in calls)
        expected = sum(max(0.0, one) for one in overlaps) / (to_s - from_s)
        assert busy == pytest.approx(expected, rel=0.01)  # the ledger has milliseconds
    assert sum(slot.n_pictures for slot in few.slots) == 2000


def test_a_call_at_the_very_end_is_counted() -> None:
    timeline = Timeline()
    timeline.begin(0)
    timeline.end(15).n_pictures += 1
    few = timeline.grouped(15, 5)
    assert [slot.n_pictures for slot in few.slots] == [0, 0, 0, 0, 1]
    assert few.in_flight(15) == [1, 1, 1, 1, 1]


def test_memory_does_not_grow_with_the_number_of_calls() -> None:
    series = series_of([run()])
    for n in range(8000):
        at_s = n * 50.0
        series.take(sent(n, at_s))
        series.take(limited(n, at_s, at_s + 5) if n % 2 else call(n, at_s, 1 + n % 500))
    assert len(series.timeline.slots) <= MAX_SLOTS
    assert len(series.cooldowns) <= MAX_SPANS
    assert len(series.latencies) < 1000
    assert series.n_open == 0
    assert series.n_ended_as == (4000, 4000, 0)


def test_each_run_starts_anew_and_a_shard_goes_on_with_its_own() -> None:
    first: list[Line] = [run(BEFORE), call(1, 0, 1, run_id=BEFORE), limited(2, 1, 5)]
    series = series_of([*first, run(), call(3, 0, 2), run(), call(4, 1, 2)])
    assert series.n_ended_as == (2, 0, 0)
    assert series.cooldowns == []
    assert series.usd_by_outcome == {Outcome.IMAGE: Decimal("0.2")}


def test_what_a_run_finds_of_a_killed_one_and_what_was_never_sent_is_not_its_own() -> None:
    found = call(1, -60, None, run_id=BEFORE, outcome=Outcome.INTERRUPTED, billed="maybe")
    never = call(2, 1, None, attempt=0, outcome=Outcome.MISSING_REFERENCE, decision="failed")
    assert series_of([run(), found, never]).n_ended_as == (0, 0, 0)


def test_cooldowns_that_overlap_are_one_and_of_many_the_closest_are_joined() -> None:
    assert joined([(5, 6), (0, 2), (1, 3)], 9) == [(0, 3), (5, 6)]
    assert joined([(0, 1), (10, 11), (12, 13)], 2) == [(0, 1), (10, 13)]
    series = series_of([run(), limited(1, 1, 10), limited(2, 2, 12), limited(3, 20, 19)])
    assert series.cooldowns == [(1.5, 12)]


def test_the_limit_is_that_of_all_models_and_never_above_the_most() -> None:
    steps: list[Any] = [
        {"at_s": 0, "model": "a", "limit": 2},
        {"at_s": 0, "model": "b", "limit": 1},
        {"at_s": 5.5, "model": "a", "limit": 9, "per_min": None, "why": "all went well"},
        *("no step", {"at_s": "x", "limit": 1}, {"at_s": math.nan, "limit": 1}, {"limit": 1}),
        {"at_s": 10**400, "model": "a", "limit": 1},
        {"at_s": 7, "model": "a", "limit": -3},
    ]
    assert limit_steps(steps, 8) == [(0, 3), (5.5, 8), (7, 1)]
    assert limit_steps(steps, None) == [(0, 3), (5.5, 10), (7, 1)]


# --- scales -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("most", "expected"),
    [(0, [0, 1]), (1, [0, 1]), (7, [0, 5, 10]), (100, [0, 50, 100]), (20_000, [0, 10_000, 20_000])],
)
def test_ticks_of_counts_are_round_and_whole(most: float, expected: list[float]) -> None:
    assert ticks(most, whole=True) == expected


@pytest.mark.parametrize("most", [math.nan, math.inf, -1, 5e-324, 1e-12])
def test_an_axis_of_nothing_has_ticks_all_the_same(most: float) -> None:
    assert ticks(most) == [0, 1]


@pytest.mark.parametrize(
    ("until_s", "expected"),
    [
        (0.4, ["0s", "0.1s", "0.2s", "0.3s", "0.4s"]),
        (1, ["0s", "0.2s", "0.4s", "0.6s", "0.8s", "1s"]),
        (22, ["0s", "5s", "10s", "15s", "20s"]),
        (300, ["0s", "1m", "2m", "3m", "4m", "5m"]),
        (2400, ["03:00", "03:10", "03:20", "03:30", "03:40"]),
        (86_400, ["06:00", "12:00", "18:00", "22 Nov"]),
        (5 * 86_400, ["22 Nov", "23 Nov", "24 Nov", "25 Nov", "26 Nov"]),
    ],
)
def test_a_short_run_is_told_by_a_stopwatch_and_a_long_one_by_the_clock(
    until_s: float, expected: list[str]
) -> None:
    assert [words for _, words in time_ticks(until_s, BEGAN)] == expected


def test_ticks_of_time_stand_where_their_moments_are() -> None:
    began_at = BEGAN + timedelta(minutes=7, seconds=30)
    assert time_ticks(1200, began_at)[0] == (150, "03:10")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (4.7, 80, [5, 10, 20, 50]),
        (0.9, 700, [1, 5, 20, 60, 300]),
        (20, 26, [20, 22, 24, 26]),
        (0.001, 1000, [0.001, 0.01, 0.1, 1, 10, 120]),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_round_and_apart(
    low: float, high: float, expected: list[float]
) -> None:
    assert log_ticks(low, high) == pytest.approx(expected)


def test_shares_and_durations_are_short_and_never_nothing_for_something() -> None:
    assert [percent(one) for one in (0, 0.0004, 0.004, 0.43, 1)] == [
        *("0%", "<0.1%", "0.4%", "43%", "100%")
    ]
    told = [seconds(one) for one in (0, 0.05, 0.5, 21.4, 90, 3600, 5400, 90_000)]
    assert told == ["0s", "0.05s", "0.5s", "21.4s", "1m30s", "1h", "1h30m", "1d01h"]


def test_bins_of_latency_lose_no_call_and_are_few() -> None:
    counts = {n: n % 7 for n in range(-320, 640)}
    bins = latency_bins(counts)
    assert len(bins) <= 26
    assert sum(n for _, _, n in bins) == sum(counts.values())
    assert all(one[1] == later[0] for one, later in pairwise(bins))
    assert [n for _, _, n in latency_bins({100: 3})] == [0, 0, 0, 3, 0, 0, 0]


# --- the charts -------------------------------------------------------------------------------


def test_a_run_that_sent_nothing_has_its_runs_alone() -> None:
    assert list(drawn([])) == ["runs"]


def test_one_picture_has_every_chart_that_there_is_data_for() -> None:
    found = drawn([call(1, 0, 21.4), end(21.4)])
    assert list(found) == [
        *("in-flight", "latency", "tokens", "outcomes", "waste", "cost-by-model", "runs")
    ]
    assert found["latency"].summary == "The one picture took 21.4s."
    assert found["waste"].summary == ("Of $0.10, nothing was paid for calls without a picture.")
    assert found["cost-by-model"].rows == (("m", "$0.10", "100%"),)


def test_sentences_and_tables_have_the_figures() -> None:
    blocked = {"outcome": Outcome.BLOCKED, "decision": "failed", "images": ()}
    lines: list[Line] = [
        *(call(n, n, 10 + n, tags={"scene": "beach" if n else "forest"}) for n in range(4)),
        call(5, 5, 1, cost_usd=Decimal("0.02"), model="other", **blocked),
        *(limited(6, 6, 9), limited(7, 6, 9)),
        end(20, most=8, history=[{"at_s": 0, "model": "m", "limit": 4}]),
    ]
    found = drawn(
        lines,
        cost_maybe_usd=Decimal("0.30"),
        concurrency=Concurrency(peak=6),
        latency_s=Latency(p50=11, p95=13, max=13),
    )
    told = {key: chart.summary for key, chart in found.items()}
    assert told["in-flight"] == (
        "At most 6 calls in flight at once, in 20.0s. 2 calls answered with 429. "
        "1 cooldown, 2.5s in all."
    )
    assert told["outcomes"].startswith(
        "Of 7 calls, 4 brought a picture, 2 were tried again, 1 failed."
    )
    assert told["latency"] == (
        "Half of 4 pictures took no longer than 11.0s, 95% no longer than 13.0s."
    )
    assert told["waste"] == ("$0.02 of $0.42 (5%) brought no picture. $0.30 may be billed besides.")
    assert [row[:2] for row in found["waste"].rows] == [
        *(("pictures", "$0.40"), ("blocked", "$0.02"), ("may be billed besides", "$0.30"))
    ]
    assert found["cost-by-tag-1"].title == "Cost by \u2068scene\u2069"
    assert found["cost-by-tag-1"].rows == (("beach", "$0.30", "75%"), ("forest", "$0.10", "25%"))
    assert found["tokens"].rows == (("text in", "70", "10%"), ("images out", "630", "90%"))
    assert all(row[2] == "4" for row in found["in-flight"].rows)
    assert sum(int(row[3]) for row in found["in-flight"].rows) == 2


def test_marks_stand_where_their_figures_are() -> None:
    blocked = {"outcome": Outcome.BLOCKED, "decision": "failed", "images": ()}
    lines = [call(1, 0, 1), call(2, 1.5, 0.5, model="n", cost_usd=Decimal("0.025"), **blocked)]
    found = drawn([*lines, end(2)])
    # One call in flight in the first half, of a thousand across and 144 down; then none.
    assert "M0 144L0 0L" in found["in-flight"].svg
    assert "L500 0L500 144L" in found["in-flight"].svg
    assert re.findall(r'width="([0-9.]+%)" height="8"', found["cost-by-model"].svg) == [
        *("100%", "25%")
    ]
    up, down = re.findall(r'y="(\d+)" width="\S+" height="([0-9.]+)" rx', found["outcomes"].svg)
    assert up == ("44", "71")
    assert down == ("117", "71")


def test_one_failure_among_thousands_is_seen() -> None:
    blocked = {"outcome": Outcome.BLOCKED, "decision": "failed", "images": ()}
    lines = [*(call(n, 0, 1) for n in range(2000)), call(2000, 0, 1, **blocked)]
    assert re.search('height="1.5" rx="1.5" class="c-bad"', drawn(lines)["outcomes"].svg)


def test_the_clock_on_the_axis_is_that_of_utc_and_the_sentence_says_so() -> None:
    found = drawn([call(1, 0, 30), end(3600)])
    assert ">03:15</text>" in found["in-flight"].svg
    for key in ("in-flight", "outcomes"):
        assert found[key].summary.endswith("Times in UTC.")
        assert found[key].rows[1][0] == "3m45s (03:03:45)"


def test_of_many_values_of_a_tag_the_dearest_are_shown_and_the_rest_as_one() -> None:
    costs = {f"v{n:02d}": Decimal(100 - n) for n in range(30)}
    chart = drawn([call(1, 0, 1)], images=1000, cost_by_tag={"shop": costs})["cost-by-tag-1"]
    assert len(chart.rows) == 12
    assert chart.rows[0][0] == "v00"
    assert chart.rows[-1][:2] == ("…(19 others)", "$1,520.00")


def test_the_tags_with_the_fewest_values_are_shown_and_none_that_names_the_pictures() -> None:
    def values(n: int) -> dict[str, Decimal]:
        return {f"v{k}": Decimal(1) for k in range(n)}

    def shown(**tags: dict[str, Decimal]) -> list[str]:
        found = drawn([call(1, 0, 1)], images=60, cost_by_tag=tags)
        titles = [chart.title for key, chart in found.items() if key.startswith("cost-by-tag")]
        return [title.removeprefix("Cost by \u2068").removesuffix("\u2069") for title in titles]

    assert shown(one=values(1), a=values(4), b=values(2), c=values(3)) == ["b", "c", "a"]
    assert shown(sku=values(60), one=values(1), a=values(30), b=values(31)) == ["a", "one"]


def test_a_limit_far_above_what_was_in_flight_is_told_and_not_drawn() -> None:
    lines: list[Line] = [call(1, 0, 9), end(9, history=[{"at_s": 0, "model": "m", "limit": 1000}])]
    svg = drawn(lines)["in-flight"].svg
    assert "allowed 1,000" in svg
    assert "dashed" not in svg


def test_runs_are_shown_from_the_oldest_with_the_one_at_hand_as_the_last() -> None:
    before = RunPoint(run_id=BEFORE, started_at=at(-86_400), items=RunItems(done=5, reused=2))
    again = RunPoint(run_id=RUN_ID, started_at=at(0), cost_usd=Decimal(9))
    chart = drawn([call(1, 0, 1)], [again, before])["runs"]
    assert chart.rows == (
        (RUN_ID, "$0.10", "1", "0", "0", "–", "–", "–", "1s", "1s"),
        (BEFORE, "unknown", "3", "2", "–", "–", "–", "–", "–", "–"),
    )


def in_the_past(n: int, **more: Any) -> RunPoint:
    return RunPoint(**{"run_id": f"{n:03d}", "started_at": at(-86_400.0 * (999 - n)), **more})


def bars(chart: Chart) -> list[str]:
    """What the bars of a chart say."""
    return re.findall(r"<rect[^>]*><title>([^<]*)</title>", chart.svg)


def test_runs_tell_their_latency_and_what_became_of_failures() -> None:
    first = in_the_past(1, latency_s=Latency(p50=12, p95=75), items=RunItems(done=3, failed=2))
    then = in_the_past(2, n_new_failures=1, n_fixed=1200, n_still_failing=2)
    diff = Diff(new_failures=["a", "b"], fixed=["c"], still_failing=[], cost_delta_usd=None)
    chart = drawn([call(1, 0, 4)], [first, then], diff=diff)["runs"]
    assert {row[0]: row[5:] for row in chart.rows} == {
        RUN_ID: ("2", "1", "0", "4s", "4s"),
        "002": ("1", "1,200", "2", "–", "–"),
        "001": ("–", "–", "–", "12s", "1m15s"),
    }
    told = bars(chart)
    assert [words.partition(": ")[2] for words in told if " p" in words] == [
        *("p95 1m15s", "p50 12s", "p95 4s", "p50 4s")
    ]
    assert [words for words in told if re.search("anew|still|fixed", words)] == [
        *("2 still failing", "1 failed anew", "1,200 fixed", "2 failed anew", "1 fixed")
    ]
    assert chart.summary.endswith("The last one left 1 done and 0 failed, 2 of them anew; 1 fixed.")


def test_a_killed_run_left_nobody_knows_how_much() -> None:
    killed = in_the_past(999, run_id="9", images=3, items=RunItems(failed=2), n_new_failures=1)
    chart = drawn([call(1, 0, 4)], [killed])["runs"]
    told = "The last one made 3, and nobody knows what it left; 2 failed, 1 of them anew."
    assert chart.summary.endswith(told)


@pytest.mark.parametrize(
    ("n_runs", "words"), [(59, "59 runs, "), *((n, "The last 60 runs, ") for n in (60, 404))]
)
def test_of_many_runs_it_is_told_that_only_the_last_are_added_up(n_runs: int, words: str) -> None:
    chart = over_runs([in_the_past(n) for n in range(n_runs)])
    assert chart is not None
    assert chart.summary.startswith(words)
    assert "in all" in chart.summary


def test_runs_of_which_nothing_failed_have_no_plot_of_failures() -> None:
    chart = drawn([call(1, 0, 4)], [in_the_past(1, latency_s=Latency(p50=2, p95=3))])["runs"]
    assert "new failures" not in chart.svg
    assert "p95" in chart.svg
    assert "p95" not in drawn([], [in_the_past(1)])["runs"].svg


@pytest.mark.parametrize("n_runs", [1, 2, 12, MAX_RUNS])
@pytest.mark.parametrize("n_fixed", [0, 1, 10**9])
def test_every_bar_lies_within_the_chart_and_above_the_next_plot(n_runs: int, n_fixed: int) -> None:
    of_failures = {"n_new_failures": 3, "n_still_failing": 5, "n_fixed": n_fixed}
    odd = [in_the_past(n, latency_s=Latency(p50=n, p95=9e9), **of_failures) for n in range(n_runs)]
    svg = drawn([call(1, 0, 4)], odd)["runs"].svg
    height = float(re.search(r'height="([0-9.]+)" role', svg)[1])  # type: ignore[index]
    found = re.findall(
        r'<rect x="([0-9.]+)%" y="(-?[0-9.]+)" width="([0-9.]+)%" height="([^"]+)"', svg
    )
    assert len(found) >= n_runs
    for x, y, wide, high in (map(float, one) for one in found):
        assert x + wide <= 100
        assert 0 <= y < y + high <= height
        n = (y - 28) // 118  # a plot is 72 high, and one begins every 118
        assert 28 + 118 * n - 1 <= y < y + high <= 28 + 118 * n + 73


def test_a_run_that_goes_on_tells_of_failures_what_its_ledger_does() -> None:
    so_far = RunPoint(run_id=RUN_ID, started_at=at(0), n_new_failures=2, n_fixed=1)
    assert drawn([call(1, 0, 4)], [so_far])["runs"].rows[0][5:8] == ("2", "1", "–")


@pytest.mark.parametrize("until_s", [0.0, 0.7, 61, 86_400.0 * 5, 86_400.0 * 4000])
@pytest.mark.parametrize("n_calls", [1, 200])
def test_runs_of_any_length_can_be_drawn(until_s: float, n_calls: int) -> None:
    step_s = until_s / n_calls
    lines = [call(n, n * step_s, min(step_s, 30)) for n in range(n_calls)]
    assert drawn(lines)["outcomes"].rows
    assert drawn([*lines, sent(999, until_s), end(until_s)])["in-flight"].rows


def test_a_run_that_waits_for_days_is_drawn_at_once() -> None:
    lines: list[Line] = [run(), sent(1, 0), call(1, 0, 1), sent(2, 2)]
    series = series_of(lines)
    now = BEGAN + timedelta(days=400)
    began_s = time.process_time()
    assert charts(summary_of(lines), series, [], now=now)
    assert time.process_time() - began_s < 5


def test_no_figure_is_too_odd_to_be_drawn() -> None:
    odd = [Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("9E+9999"), Decimal(-5)]
    odd += [Decimal("1E-300"), Decimal("1E14"), Decimal(0)]
    series = series_of([run()])
    for n, usd in enumerate(odd):
        for latency_s in (None, math.nan, math.inf, -1.0, 0.0, 1e300):
            series.take(call(n, -1e6, latency_s, cost_usd=usd))
        series.take(call(n, 0, 1, cost_usd=usd, outcome=Outcome.BLOCKED))
    for moment in ("", "never", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999-12:00"):
        series.take(call(90, 0, 1, at=moment))
        series.take(msgspec.structs.replace(limited(91, 0), cools_until=moment))
        series.take(msgspec.structs.replace(sent(92, 0), at=moment))
    series.take(end(math.pi, history=[None, {}], most="many"))
    costs = {f"{n}": usd for n, usd in enumerate(odd)}
    summary = summary_of(
        [],
        cost_by_model=costs,
        cost_by_tag={"x": costs, "empty": {}},
        cost_maybe_usd=Decimal("Infinity"),
        tokens=Tokens(input_text=-5, output_image=10**30),
        latency_s=Latency(p50=math.nan, p95=1e300),
    )
    points = [RunPoint(run_id=f"{n}", started_at="", cost_usd=usd) for n, usd in enumerate(odd)]
    found = charts(summary, series, points)
    check(found)
    assert len(found) == 8


@pytest.mark.parametrize("moment", ["", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"])
def test_a_run_that_began_at_no_time_of_this_world_can_be_drawn(moment: str) -> None:
    series = series_of([msgspec.structs.replace(run(), at=moment), call(1, 0, 90_000)])
    check(charts(summary_of([call(1, 0, 5)]), series, []))


def test_no_payload_is_more_than_words_in_a_chart() -> None:
    hostile = [*PAYLOADS, *NAMES]
    for n in range(0, len(hostile), 3):
        some = hostile[n : n + 3]
        costs = {words: Decimal(1) for words in some}
        runs = [RunPoint(run_id=words, started_at=words) for words in some]
        summary = summary_of([], cost_by_model=costs, cost_by_tag=dict.fromkeys(some, costs))
        page = check(charts(summary, RunSeries(), runs))
        text = "".join(page.words)
        assert not re.search("[\ud800-\udfff\x00-\x08\u202e]", text)
        for words in some:
            assert printable(words) in text
            assert f"Cost by \u2068{printable(words, 40) or '(empty)'}\u2069" in text


def test_a_long_name_is_cut_and_its_table_has_more_of_it() -> None:
    chart = drawn([call(1, 0, 1, model="x" * 200)])["cost-by-model"]
    assert "x" * 39 + "…" in chart.svg
    assert "x" * 41 not in chart.svg
    assert chart.rows[0][0] == "x" * 200


# --- runs on disk -----------------------------------------------------------------------------


def test_summaries_of_other_versions_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    whole = summary_of([call(1, 0, 1)], run_id="1")
    files: dict[str, bytes] = {
        "1": msgspec.json.encode(whole),
        "2": b'{"v": 9, "items": {"done": 3, "reused": 5, "lost": 1}, "cost_usd": null, "new": []',
        "3": b'{"items": [], "cost_usd": "much", "started_at": 7',
        "4": b'{"items": {"done": -1, "failed": "x", "reused": 1e999}, "cost_usd": "NaN"',
        "5": b'{"items": {"done": ' + b"9" * 400 + b"}",
        "6": b"[]",
        "7": b"{",
        "8": b"\xff",
        "9": b"[" * 100_000,
    }
    for name, text in files.items():
        own_name = b', "run_id": "' + name.encode() + b'"}' if 2 <= int(name) <= 5 else b""
        (tmp_path / f"{name}.json").write_bytes(text + own_name)
    (tmp_path / "note.txt").write_text("mine")
    os.mkfifo(tmp_path / "0.json")
    (tmp_path / "00.json").mkdir()
    points = last_runs(tmp_path)
    assert [(point.run_id, point.n_made, point.items.reused) for point in points[:3]] == [
        *(("1", 1, 0), ("2", 0, 3), ("3", 0, None))
    ]
    assert points[0].cost_usd == Decimal("0.1")
    assert {point.run_id for point in points} <= {"1", "2", "3", "4", "5"}
    check(charts(whole, series_of([]), points))


def test_of_many_runs_the_last_ones_are_read(tmp_path: Path) -> None:
    assert last_runs(tmp_path / "none") == []
    for n in range(MAX_RUNS + 5):
        (tmp_path / f"{n:03d}.json").write_text(f'{{"run_id": "{n:03d}"}}')
    points = last_runs(tmp_path)
    assert [points[0].run_id, points[-1].run_id] == ["005", f"{MAX_RUNS + 4:03d}"]


# --- colours ----------------------------------------------------------------------------------


def test_marks_and_words_stand_out_in_both_schemes() -> None:
    folder = resources.files("batchgen.report").joinpath("templates")
    text = folder.joinpath("report.css").read_text("utf-8") + style()
    pairs = dict(re.findall(r"--([a-z0-9-]+): light-dark\((#[0-9a-f]{6}, #[0-9a-f]{6})\)", text))
    for scheme in (0, 1):
        colours = {name: pair.split(", ")[scheme] for name, pair in pairs.items()}
        for name in ("c-1", "c-2", "c-3", "c-4", "c-5", "c-ok", "c-wait", "c-bad"):
            assert contrast(colours[name], colours["card"]) >= 3, (name, scheme)
        for name in ("ink", "quiet"):
            assert contrast(colours[name], colours["card"]) >= 4.5, (name, scheme)


def contrast(one: str, other: str) -> float:
    """Source: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
