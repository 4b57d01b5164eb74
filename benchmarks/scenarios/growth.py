"""Point 8: our own figures at a tenth and at ten times of a load; the load itself is elsewhere."""

from functools import partial
from typing import Final

from benchmarks import jobs
from benchmarks.goals import Goal
from benchmarks.growth import MAX_EXPONENT, Series, judge
from benchmarks.kinds import MB, Calls, Readings
from benchmarks.scenarios.large import finished
from benchmarks.scenarios.memory import waiting


def _large_replies(n: int) -> Calls:
    return Calls(
        name=f"growth-replies-{n}",
        title=f"{n:,} replies of 6 MB, 32 at once",
        n=n,
        concurrency=32,
        image_bytes=6 * MB,
        contenders=("batchgen", "floor"),
        rounds=1,
    )


def _small_replies(n: int) -> Calls:
    return Calls(
        name=f"growth-small-{n}",
        title=f"{n:,} replies of 2 kB, 64 at once",
        n=n,
        concurrency=64,
        image_bytes=2000,
        contenders=("batchgen",),
        rounds=1,
    )


def _lines(n: int) -> Readings:
    return Readings(
        name=f"growth-lines-{n}",
        title=f"Reading {n:,} lines of JSON with ten shared references",
        n=n,
        write=jobs.json_lines,
        rounds=1,
    )


SCENARIOS: Final = (
    _large_replies(10),
    _large_replies(1000),
    _small_replies(500),
    _small_replies(50_000),
    _lines(100_000),
    _lines(10_000_000),
    finished("growth-done-100k", 100_000),
    waiting("growth-waiting-10", 10, rounds=1),
    waiting("growth-waiting-100", 100, rounds=1),
)
SERIES: Final = (
    Series(
        "replies of 6 MB",
        "replies, 32 at once",
        "batchgen",
        {10: "growth-replies-10", 100: "replies-6mb-32", 1000: "growth-replies-1000"},
        floor="floor",
    ),
    Series(
        "replies of 2 kB",
        "replies, 64 at once",
        "batchgen",
        {500: "growth-small-500", 5000: "small", 50_000: "growth-small-50000"},
    ),
    Series(
        "validated lines",
        "lines",
        "validate",
        {100_000: "growth-lines-100000", 1_000_000: "read-jsonl", 10**7: "growth-lines-10000000"},
    ),
    Series(
        "a finished job",
        "items, all done",
        "run",
        {10_000: "done-10k", 100_000: "growth-done-100k", 1_000_000: "done-1m"},
    ),
    Series(
        "requests that wait",
        "waiting at once",
        "batchgen",
        {10: "growth-waiting-10", 100: "growth-waiting-100", 1000: "waiting"},
        is_timed=False,
    ),
)
GOALS: Final = (
    Goal(
        words=f"Nothing grows faster than linearly (power {MAX_EXPONENT} for the noise, beyond "
        "what the floor grows by)",
        scenarios=tuple(name for series in SERIES for name in series.scenarios.values()),
        judge=partial(judge, SERIES),
        point="8 Growth",
    ),
)
