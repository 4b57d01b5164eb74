"""The pure parts of the benchmarks: verdicts, growth, the page, and the floor's reading."""

from dataclasses import replace
from itertools import pairwise

import pytest

from benchmarks import chart, ends, page
from benchmarks.contenders.floor import Reply
from benchmarks.goals import Figures, Goal, Verdict, at_least, at_most, both
from benchmarks.growth import Grown, Series, exponents, judge
from benchmarks.kinds import MB, Calls, Limited
from benchmarks.measure import Measured, Median, Traffic, median_of
from benchmarks.reply import body, png
from benchmarks.results import Table, scenario_text
from benchmarks.scenarios import GOALS, MAIN, SCENARIOS
from benchmarks.scenarios.growth import SERIES
from benchmarks.server import framed

_EXTRAS = (
    *("n_parts", "n_hashed", "first_request_s", "requests", "pass_ms", "beyond_ms", "n_turns"),
    *("busy_p50_ms", "busy_p99_ms", "busy_p999_ms", "busy_max_ms"),
    *("steady_per_s", "own_cpu_ms", "ms_a_call"),
)


def _median(wall_s: float = 1, cpu_s: float = 1, peak_mb: float = 50) -> Median:
    extras = dict.fromkeys(_EXTRAS, 1.0)
    one = Measured(wall_s, cpu_s, int(peak_mb * MB), extras=extras)
    return median_of([one], 100)


def _table(name: str, wall_s: float = 1) -> Table:
    scenario = next(one for one in SCENARIOS if one.name == name)
    traffic = Traffic(used=0.95, refused=0.01) if isinstance(scenario, Limited) else None
    one = Measured(wall_s, 1, 50 * MB, traffic, dict.fromkeys(_EXTRAS, 1.0))
    runs = {contender: [one] for contender in scenario.contenders}
    return Table(scenario, "tmpfs", ("today",), runs)


# --- the floor --------------------------------------------------------------------------------


def _read(answer: bytes, *cuts: int) -> bytes:
    """The picture that the floor finds in an answer that comes in these pieces."""
    written: list[bytes] = []
    reply = Reply(written.append)
    places = (0, *cuts, len(answer))
    pieces = [answer[start:end] for start, end in pairwise(places)]
    is_whole = [reply.feed(memoryview(piece)) for piece in pieces if piece]
    assert is_whole == [False] * (len(is_whole) - 1) + [True]
    return b"".join(written)


@pytest.mark.parametrize("size_bytes", [60, 61, 62])
def test_the_floor_finds_a_picture_in_an_answer_that_is_cut_anywhere(size_bytes: int) -> None:
    answer = framed(body(size_bytes))
    for cut in range(1, len(answer)):
        assert _read(answer, cut) == png(size_bytes)
    assert _read(answer, *range(1, len(answer))) == png(size_bytes)


@pytest.mark.parametrize("each_bytes", [7, 1000, 65_537])
def test_the_floor_finds_a_large_picture_in_pieces_of_any_size(each_bytes: int) -> None:
    answer = framed(body(200_000))
    assert _read(answer, *range(each_bytes, len(answer), each_bytes)) == png(200_000)


@pytest.mark.parametrize(
    "answer",
    [
        framed(body(60), "429 Too Many Requests"),
        framed(b'{"candidates": []}'),
        framed(body(60).replace(b'"data": "iVBO', b'"data": "!!!!')),
        framed(body(60).replace(b'"data": "iV', b'"data": "V')),
    ],
    ids=["refused", "no picture", "no base64", "base64 that lacks a character"],
)
def test_the_floor_takes_nothing_else_for_a_picture(answer: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        _read(answer)


# --- verdicts ---------------------------------------------------------------------------------


def test_a_bound_itself_meets_the_goal_and_the_worst_figure_counts() -> None:
    assert at_most(2, "{:.0f} s", 1, 2) == Verdict("1 s and 2 s", is_met=True)
    assert not at_most(2, "{:.1f} s", 1, 2.1).is_met
    assert at_least(2, "{:.1f} x", 2, 3) == Verdict("2.0 x and 3.0 x", is_met=True)
    assert not at_least(2, "{:.1f} x", 1.9, 3).is_met


def test_a_goal_of_two_figures_is_met_if_both_are() -> None:
    met, failed = at_most(2, "{}", 1), at_most(2, "{}", 3)
    assert both(met, met) == Verdict("1, 1", is_met=True)
    assert both(met, failed) == Verdict("1, 3", is_met=False)


def _replies(speedup: float, cpu: float) -> Figures:
    """batchgen against rivals of which one is the fastest and another one the most frugal."""
    rivals = {
        "google_genai": _median(wall_s=12, cpu_s=10),
        "usual_script": _median(wall_s=20, cpu_s=30),
        "orjson_pybase64": _median(wall_s=10, cpu_s=20),
        "floor": _median(wall_s=2),
    }
    ours = _median(wall_s=10 / speedup, cpu_s=10 * cpu)
    names = (f"replies-{mb}mb-{n}" for mb in (2, 6, 20) for n in (32, 64))
    return {name: {**rivals, "batchgen": ours} for name in names}


def _met(point: str, figures: Figures) -> list[bool]:
    return [goal.judge(figures).is_met for goal in GOALS if goal.point == point]


@pytest.mark.parametrize(
    ("speedup", "cpu", "met"),
    [
        (4.0, 0.5, [True, True, True, True, True, True, True]),
        (3.9, 0.5, [True, True, False, True, True, True, True]),
        (2.4, 0.5, [True, False, False, False, True, True, True]),
        (1.9, 0.6, [False, False, False, False, False, False, False]),
    ],
)
def test_replies_are_judged_by_the_best_rival_in_each_thing_and_by_the_floor(
    speedup: float, cpu: float, met: list[bool]
) -> None:
    assert _met("1 Replies", _replies(speedup, cpu)) == met


def test_waiting_attempts_are_judged_by_what_they_add() -> None:
    figures = {
        "memory": {"batchgen": _median(peak_mb=99)},
        "memory-2mb": {"batchgen": _median(peak_mb=85)},
        "waiting": {"batchgen": _median(peak_mb=101)},
        "waiting-8": {"batchgen": _median(peak_mb=60)},
    }
    assert _met("2 Memory", figures) == [True, False, False, False]  # a part file, too


def test_every_goal_can_be_judged_by_what_its_scenarios_measure() -> None:
    tables = [_table(scenario.name) for scenario in SCENARIOS]
    figures = {table.scenario.name: table.medians() for table in tables}
    for goal in GOALS:
        needed = {name: figures[name] for name in goal.scenarios}
        assert goal.judge(needed).figure
    for table in tables:
        assert table.scenario.title in scenario_text(table, (), figures)


def test_the_goals_of_the_page_need_nothing_that_the_usual_run_leaves_out() -> None:
    needed = {name for goal in GOALS if goal.point for name in goal.scenarios}
    assert needed <= {scenario.name for scenario in MAIN}
    assert {goal.point[0] for goal in GOALS if goal.point} == set("12345678")


# --- growth -----------------------------------------------------------------------------------


def test_the_exponent_of_a_step_is_the_power_by_which_a_figure_grows() -> None:
    assert exponents((10, 100, 1000), (5, 5, 50)) == pytest.approx((0, 1))
    assert exponents((1, 10), (1, 100)) == pytest.approx((2,))
    assert exponents((1, 10), (100, 10)) == pytest.approx((-1,))


@pytest.mark.parametrize(
    ("last", "is_met"),
    [
        (_median(wall_s=100, peak_mb=50), True),
        (_median(wall_s=120, peak_mb=50), False),
        (_median(wall_s=10, peak_mb=600), False),
    ],
    ids=["as the load", "time faster", "memory faster"],
)
def test_growth_is_judged_by_the_worst_step_of_time_and_of_memory(
    last: Median, *, is_met: bool
) -> None:
    series = Series("a load", "things", "ours", {1: "a", 10: "b", 100: "c"})
    figures = {
        "a": {"ours": _median(wall_s=5)},
        "b": {"ours": _median(wall_s=10)},
        "c": {"ours": last},
    }
    assert judge([series], figures).is_met is is_met
    if last.peak_rss_bytes == 50 * MB:
        untimed = replace(series, is_timed=False)
        assert judge([untimed], figures).is_met


@pytest.mark.parametrize(
    ("floor_s", "is_met"),
    [((1, 10, 160), True), ((1, 10, 100), False), ((1, 5, 40), False)],
    ids=["the machine's", "ours", "not all the machine's"],
)
def test_what_the_floor_grows_by_beyond_the_load_is_the_machines(
    floor_s: tuple[float, ...], *, is_met: bool
) -> None:
    scenarios = {1: "a", 10: "b", 100: "c"}
    series = Series("a load", "things", "ours", scenarios, floor="floor")
    figures = {
        name: {"ours": _median(wall_s=ours_s), "floor": _median(wall_s=s)}
        for name, ours_s, s in zip(scenarios.values(), (1, 10, 150), floor_s, strict=True)
    }
    assert judge([series], figures).is_met is is_met


def test_the_picture_of_the_growth_has_a_panel_for_each_series() -> None:
    svg = chart.picture([Grown(one, (1, 10, 90), (50, 55, 60)) for one in SERIES])
    assert all(f">{one.title}<" in svg for one in SERIES)
    n_timed = sum(one.is_timed for one in SERIES)
    assert (svg.count(">90 s<"), svg.count(">60 MB<")) == (n_timed, len(SERIES))


# --- the page ---------------------------------------------------------------------------------


def _row(text: str, words: str) -> str:
    """The row of a goal, its blanks taken together."""
    (line,) = (one for one in text.splitlines() if one.startswith("|") and words in one)
    return " ".join(line.split())


def test_the_page_begins_with_every_goal_and_its_figure() -> None:
    text = page.document("", [_table("start"), _table("memory")])
    assert (
        text.index("## The goals") < text.index("## How it is measured") < text.index("(`start`)")
    )
    assert "| 1 ms and 1 ms | **met** |" in _row(text, "within 60 ms")
    assert "| 50 MB | **met** |" in _row(text, "64 replies of 20 MB")
    assert "| not measured | – |" in _row(text, "YAML of 10,000")
    n_goals = sum(bool(goal.point) for goal in GOALS)
    assert f"2 of {n_goals} are met." in text


def test_what_was_not_measured_stays_as_it_stands_on_the_page() -> None:
    first = page.document("", [_table("read-yaml", 3), _table("cost"), _table("memory")])
    second = page.document(first, [_table("read-yaml", 5)])
    assert "| 3.00 s | **met** |" in _row(first, "YAML of 10,000")
    assert "| 5.00 s | **not met** |" in _row(second, "YAML of 10,000")
    assert _row(second, "64 replies of 20 MB") == _row(first, "64 replies of 20 MB")
    assert first.partition("(`cost`)")[2] == second.partition("(`cost`)")[2]


def test_a_section_of_a_scenario_that_is_no_more_goes_away() -> None:
    old = "# Title\n\nNotes\n\n## Gone (`gone`)\n\nold\n\n## Kept (`cost`)\n\nkept"
    text = page.document(old, [_table("read-yaml")])
    assert "(`gone`)" not in text
    assert "## Kept (`cost`)\n\nkept" in text


def test_a_goal_whose_contender_failed_is_not_judged() -> None:
    table = _table("start")
    table.failures["--help"] = "exit status 1"
    text = page.document("", [table])
    assert "| not measured: no --help | – |" in _row(text, "within 60 ms")


def test_growth_and_what_ends_first_are_told_when_all_they_need_was_measured() -> None:
    whole = page.document("", [_table(scenario.name) for scenario in MAIN])
    assert (
        whole.index("(`done-10k`)") < whole.index("## Growth") < whole.index("## What ends first")
    )
    assert "(`growth-" not in whole
    part = page.document(whole, [_table("replies-6mb-32", 2)])
    assert part.partition("## Growth")[2] == whole.partition("## Growth")[2]
    assert "## Growth" not in page.document("", [_table("replies-6mb-32")])


def _resources(cpu_s: float, disk_s: float) -> Figures:
    waiting = {"waiting": {"batchgen": _median(peak_mb=150)}}
    return {
        "replies-6mb-32": {"batchgen": _median(cpu_s=cpu_s)},
        "replies-6mb-disk": {
            "batchgen": _median(wall_s=disk_s),
            "no_syncs": _median(wall_s=disk_s / 2),
        },
        "waiting-8": {"batchgen": _median(peak_mb=50.8)},
        **waiting,
    }


@pytest.mark.parametrize(
    ("cpu_s", "disk_s", "first"),
    [
        (1, 5, "**a network of 1 Gbit/s** ends first, at 56,247 images an hour"),
        (1, 10, "**this machine's disk** ends first, at 36,000 images an hour"),
        (20, 5, "**one core** ends first, at 18,000 images an hour"),
    ],
)
def test_what_ends_first_is_what_can_do_the_fewest_images(
    cpu_s: float, disk_s: float, first: str
) -> None:
    text = ends.section(_resources(cpu_s, disk_s), n_calls=100)
    assert first in text
    assert "takes 100 kB" in text
    assert "50% of the time in syncs" in text


def test_a_goal_is_told_in_the_section_of_its_first_scenario_only() -> None:
    goal = Goal(
        words="to be quick",
        scenarios=("memory", "start"),
        judge=lambda figures: at_most(1, "{:.0f} s", figures["memory"]["batchgen"].wall_s),
    )
    figures = {"memory": {"batchgen": _median()}, "start": {}}
    told = scenario_text(_table("memory"), [goal], figures)
    assert "Goal: to be quick. Measured: 1 s. **met**" in told
    assert "to be quick" not in scenario_text(_table("start"), [goal], figures)
    assert "to be quick" not in scenario_text(_table("memory"), [goal], {"start": {}})


def test_processor_time_is_told_by_the_gigabyte() -> None:
    table = _table("memory")
    assert isinstance(table.scenario, Calls)
    cpu_s_per_gb = 1 / (table.scenario.n * 20 * MB / 1e9)
    assert f"| {cpu_s_per_gb:.2f} " in scenario_text(table, (), {})
