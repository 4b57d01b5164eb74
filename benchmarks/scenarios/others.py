"""What is measured besides: no goal at the head of the page needs it; `make bench-full` runs it."""

from typing import Final

from benchmarks import catalogue, jobs, logs, pictures
from benchmarks.goals import Figures, Goal, Verdict, at_most, both
from benchmarks.kinds import MB, Calls, Finished, Readings, Viewed

_SYNC_CONTENDERS: Final = ("batchgen", "sync_a_line", "no_syncs")
_MAX_TIMES_DUCKDB: Final = 3.0
_MAX_REPORT_S: Final = 10.0
_MAX_PEAK_MB: Final = 150
_MAX_SLOWER: Final = 0.05

SCENARIOS: Final = (
    Calls(
        name="references",
        title="16 requests with 14 references of 5 MB each, 8 at once",
        n=16,
        concurrency=8,
        image_bytes=2000,
        n_references=14,
        reference_bytes=5 * MB,
    ),
    Calls(
        name="syncs",
        title="1,000 replies of 2 kB, 64 at once, with and without grouped syncs, on a disk",
        n=1000,
        concurrency=64,
        image_bytes=2000,
        contenders=_SYNC_CONTENDERS,
        on_disk=True,
    ),
    Calls(
        name="syncs-tmpfs",
        title="The same on tmpfs, where a sync costs nothing but its way through a thread",
        n=1000,
        concurrency=64,
        image_bytes=2000,
        contenders=_SYNC_CONTENDERS,
    ),
    Readings(
        name="read-csv",
        title="Reading a table of 100,000 rows, times a matrix of 4",
        n=400_000,
        write=jobs.table,
        script="csv_product",
    ),
    Finished(
        name="anew-1m",
        title="`batchgen run` of 1,000,000 items that are done, of which something was touched",
        n=1_000_000,
        is_sealed=False,
        rounds=1,
    ),
    Readings(
        name="cost",
        title="Adding up a log of 1,000,000 answers by model and day",
        n=1_000_000,
        write=logs.answers,
        command="cost",
        script="duckdb_cost",
        bytes_each=600,
    ),
    Readings(
        name="report-1000",
        title="Writing the report of 1,000 items, besides thumbnails",
        n=1000,
        write=catalogue.finished,
        command="report",
        bytes_each=8000,
    ),
    Readings(
        name="report",
        title="Writing the report of 20,000 items, besides thumbnails",
        n=20_000,
        write=catalogue.finished,
        command="report",
        bytes_each=8000,
    ),
    *(
        Readings(
            name=f"thumbnails-{name}",
            title=f"Thumbnails of 100 {words}",
            n=100,
            write=write,
            command="thumbnails",
            script="pillow_thumbnails",
            bytes_each=10 * MB,
        )
        for name, words, write in (
            ("1k", "PNGs of 1024 px", pictures.png_1k),
            ("2k", "PNGs of 2048 px", pictures.png_2k),
            ("4k", "JPEGs of 4096 px", pictures.jpeg_4k),
        )
    ),
    Viewed(
        name="viewers",
        title="600 pictures that take 0.2 to 1 s each, 32 at once, while three people look",
        n=600,
        concurrency=32,
    ),
)


def _times_duckdb(figures: Figures) -> Verdict:
    ours, other = figures["cost"]["cost"], figures["cost"]["duckdb_cost"]
    return both(
        at_most(_MAX_TIMES_DUCKDB, "{:.2f} x", ours.wall_s / other.wall_s),
        at_most(_MAX_PEAK_MB, "{:.0f} MB", ours.peak_rss_bytes / MB),
    )


def _report(figures: Figures) -> Verdict:
    one = figures["report"]["report"]
    return both(
        at_most(_MAX_REPORT_S, "{:.2f} s", one.wall_s),
        at_most(_MAX_PEAK_MB, "{:.0f} MB", one.peak_rss_bytes / MB),
    )


def _viewed(figures: Figures) -> Verdict:
    one = figures["viewers"]
    slower = one["batchgen_viewed"].wall_s / one["batchgen"].wall_s - 1
    verdict = at_most(_MAX_SLOWER, "{:+.1%}", slower)
    return Verdict(f"{verdict.figure.replace('%', ' %')} of time", verdict.is_met)


GOALS: Final = (
    Goal(
        words="at most 3 x the time of duckdb, and at most 150 MB of peak RSS",
        scenarios=("cost",),
        judge=_times_duckdb,
    ),
    Goal(
        words="at most 10 s, and at most 150 MB of peak RSS",
        scenarios=("report",),
        judge=_report,
    ),
    Goal(
        words="at most 5 % more time with three viewers than without",
        scenarios=("viewers",),
        judge=_viewed,
    ),
)
