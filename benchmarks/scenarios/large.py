"""Point 5: large jobs: read, begun, and recognised as done."""

from typing import Final

from benchmarks import jobs
from benchmarks.goals import Figures, Goal, Verdict, at_least, at_most, both
from benchmarks.kinds import MB, ROUNDS, Beginning, Finished, Readings

_POINT: Final = "5 Large jobs"
_MIN_LINES_PER_S: Final = 250_000
_MAX_LINES_MB: Final = 200
_MAX_FIRST_S: Final = 8
_MAX_RUN_MB: Final = 300
_MAX_DONE_S: Final = {"done-1m": 20, "done-10k": 1}
_MAX_YAML_S: Final = 4


def finished(name: str, n: int, rounds: int = 1) -> Finished:
    """A job of so many items, all of them done."""
    return Finished(
        name=name, title=f"`batchgen run` of {n:,} items that are done", n=n, rounds=rounds
    )


SCENARIOS: Final = (
    Readings(
        name="read-jsonl",
        title="Reading 1,000,000 lines of JSON with ten shared references",
        n=1_000_000,
        write=jobs.json_lines,
        script="json_loads",
    ),
    Beginning(
        name="begin-1m",
        title="`batchgen run` of 1,000,000 lines until its first request, and a Ctrl-C",
        n=1_000_000,
    ),
    finished("done-1m", 1_000_000),
    finished("done-10k", 10_000, rounds=ROUNDS),
    Readings(
        name="read-yaml",
        title="Reading 10,000 items of YAML",
        n=10_000,
        write=jobs.yaml_items,
        script="yaml_load",
    ),
)


def _lines(figures: Figures) -> Verdict:
    one = figures["read-jsonl"]["validate"]
    return both(
        at_least(_MIN_LINES_PER_S, "{:,.0f} lines/s", one.per_s),
        at_most(_MAX_LINES_MB, "{:.0f} MB", one.peak_rss_bytes / MB),
    )


def _first_s(figures: Figures) -> Verdict:
    first_s = figures["begin-1m"]["run"].extras["first_request_s"]
    return at_most(_MAX_FIRST_S, "{:.2f} s", first_s)


def _run_mb(figures: Figures) -> Verdict:
    return at_most(_MAX_RUN_MB, "{:.0f} MB", figures["begin-1m"]["run"].peak_rss_bytes / MB)


def _done_1m(figures: Figures) -> Verdict:
    return at_most(_MAX_DONE_S["done-1m"], "{:.2f} s", figures["done-1m"]["run"].wall_s)


def _done_10k(figures: Figures) -> Verdict:
    return at_most(_MAX_DONE_S["done-10k"], "{:.2f} s", figures["done-10k"]["run"].wall_s)


def _yaml_s(figures: Figures) -> Verdict:
    return at_most(_MAX_YAML_S, "{:.2f} s", figures["read-yaml"]["validate"].wall_s)


GOALS: Final = (
    Goal(
        words="JSONL of 1,000,000: `validate` at least 250,000 lines/s, under 200 MB",
        scenarios=("read-jsonl",),
        judge=_lines,
        point=_POINT,
    ),
    Goal(
        words="JSONL of 1,000,000: `run` sends its first request within 8 s",
        scenarios=("begin-1m",),
        judge=_first_s,
        point=_POINT,
    ),
    Goal(
        words="JSONL of 1,000,000: `run` stays under 300 MB",
        scenarios=("begin-1m",),
        judge=_run_mb,
        point=_POINT,
    ),
    Goal(
        words="A finished job of 1,000,000 recognised as done in under 20 s",
        scenarios=("done-1m",),
        judge=_done_1m,
        point=_POINT,
    ),
    Goal(
        words="A finished job of 10,000 recognised as done in under 1 s",
        scenarios=("done-10k",),
        judge=_done_10k,
        point=_POINT,
    ),
    Goal(
        words="YAML of 10,000: `validate` in under 4 s",
        scenarios=("read-yaml",),
        judge=_yaml_s,
        point=_POINT,
    ),
)
