"""What is measured: the scenarios, and the goals that some of them have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from benchmarks import jobs, logs
from benchmarks.measure import Median

MB: Final = 1_000_000
CONTENDERS: Final = ("batchgen", "usual_script", "orjson_pybase64", "google_genai")
MIN_SPEEDUP: Final = 2.0
MAX_PEAK_RSS_BYTES: Final = 150 * MB
MIN_LINES_PER_S: Final = 250_000
MAX_LINES_RSS_BYTES: Final = 200 * MB
MAX_YAML_S: Final = 4.0
MAX_TIMES_DUCKDB: Final = 3.0
SYNC_CONTENDERS: Final = ("batchgen", "sync_a_line", "no_syncs")
TRAFFIC_CONTENDERS: Final = ("batchgen_told", "batchgen_auto", "patient_script")
MIN_USED: Final = 0.9
MAX_REFUSED: Final = 0.05


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that batchgen should reach.

    Attributes:
        words: The goal as it stands in the results.
        figure: batchgen's own figure, in words, and whether it is good enough.
    """

    words: str
    figure: Callable[[Mapping[str, Median]], tuple[str, bool]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Calls:
    """One load, put on each contender in turn.

    Attributes:
        n: Requests of one run.
        concurrency: How many of them are under way at once.
        image_bytes: The size of the image in each reply, before base64.
        held: Whether the server answers only when `concurrency` requests wait for it; the first
            request is answered at once, so `n` is one more than a multiple of `concurrency`.
        n_references: How many images each request carries.
        reference_bytes: The size of each.
        on_disk: Whether the output goes to a disk, though there may be a tmpfs.
    """

    name: str
    title: str
    n: int
    concurrency: int
    image_bytes: int
    held: bool = False
    n_references: int = 0
    reference_bytes: int = 0
    goal: Goal | None = None
    contenders: tuple[str, ...] = CONTENDERS
    on_disk: bool = False

    @property
    def bytes_a_call(self) -> int:
        """The image bytes of one call, sent and received: what its MB/s count."""
        return self.image_bytes + self.n_references * self.reference_bytes

    @property
    def disk_bytes(self) -> int:
        """What one run needs on disk."""
        return self.n * self.image_bytes + self.n_references * self.reference_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Readings:
    """One file, read by a command and by another way to do the same.

    Attributes:
        n: Items that the file stands for.
        write: Writes a file of so many items, and what it names, into a directory.
        script: The contender beside the command.
        command: The contender that is the command.
        bytes_each: The most that an item takes on disk.
    """

    name: str
    title: str
    n: int
    write: Callable[[Path, int], Path]
    script: str
    command: str = "validate"
    bytes_each: int = 200
    goal: Goal | None = None

    @property
    def contenders(self) -> tuple[str, ...]:
        """The command and the script."""
        return (self.command, self.script)

    @property
    def disk_bytes(self) -> int:
        """What the file needs at most."""
        return self.n * self.bytes_each


@dataclass(frozen=True, kw_only=True, slots=True)
class Limited:
    """Requests to a server with a limit of its own.

    All contenders run side by side, each against a server of its own: they wait far more than they
    work.

    Attributes:
        n: Requests of one run.
        rule: The limit, as `benchmarks.rules` reads it.
        tells: Whether a refusal says how long to wait.
        seconds: What a request takes, at least and at most.
        limits: What the job of the contender that is told sets.
        concurrency: How many requests the script has under way at once, refused ones included.
    """

    name: str
    title: str
    rule: tuple[str, ...]
    tells: bool
    limits: Mapping[str, object]
    seconds: tuple[float, float] = (0.2, 1.0)
    n: int = 2000
    concurrency: int = 64
    image_bytes: int = 2000
    goal: Goal | None = field(default_factory=lambda: TRAFFIC_GOAL)
    contenders: tuple[str, ...] = TRAFFIC_CONTENDERS

    @property
    def disk_bytes(self) -> int:
        """What the runs of all contenders need on disk."""
        return len(self.contenders) * self.n * self.image_bytes


Scenario: TypeAlias = Calls | Readings | Limited


def _speedup(medians: Mapping[str, Median]) -> tuple[str, bool]:
    speedup = medians["batchgen"].per_s / medians["usual_script"].per_s
    return f"{speedup:.2f} x", speedup >= MIN_SPEEDUP


def _peak(medians: Mapping[str, Median]) -> tuple[str, bool]:
    peak = medians["batchgen"].peak_rss_bytes
    return f"{peak / MB:.0f} MB", peak <= MAX_PEAK_RSS_BYTES


def _lines(medians: Mapping[str, Median]) -> tuple[str, bool]:
    one = medians["validate"]
    is_met = one.per_s >= MIN_LINES_PER_S and one.peak_rss_bytes <= MAX_LINES_RSS_BYTES
    return f"{one.per_s:,.0f} lines/s, {one.peak_rss_bytes / MB:.0f} MB", is_met


def _yaml_s(medians: Mapping[str, Median]) -> tuple[str, bool]:
    wall_s = medians["validate"].wall_s
    return f"{wall_s:.2f} s", wall_s <= MAX_YAML_S


def _times_duckdb(medians: Mapping[str, Median]) -> tuple[str, bool]:
    ours, other = medians["cost"], medians["duckdb_cost"]
    times = ours.wall_s / other.wall_s
    is_met = times <= MAX_TIMES_DUCKDB and ours.peak_rss_bytes <= MAX_PEAK_RSS_BYTES
    return f"{times:.2f} x, {ours.peak_rss_bytes / MB:.0f} MB", is_met


def _traffic(medians: Mapping[str, Median]) -> tuple[str, bool]:
    told, found = medians["batchgen_told"].traffic, medians["batchgen_auto"].traffic
    if told is None or found is None:
        raise KeyError("batchgen_auto")
    words = [f"{one.used:.1%} and {one.refused:.1%}".replace("%", " %") for one in (told, found)]
    is_met = all(one.used >= MIN_USED and one.refused <= MAX_REFUSED for one in (told, found))
    return f"{words[0]} with the limit set, {words[1]} with the limit found out", is_met


TRAFFIC_GOAL: Final = Goal("at least 90 % used and at most 5 % refused, in both", _traffic)

SCENARIOS: Final[tuple[Scenario, ...]] = (
    Calls(
        name="throughput",
        title="100 replies of 6 MB, 32 at once",
        n=100,
        concurrency=32,
        image_bytes=6 * MB,
        goal=Goal("at least 2 x the images/s of the usual script", _speedup),
    ),
    Calls(
        name="memory",
        title="One reply of 20 MB, then 64 more, all of them in flight at once",
        n=1 + 64,
        concurrency=64,
        image_bytes=20 * MB,
        held=True,
        goal=Goal("at most 150 MB of peak RSS", _peak),
    ),
    Calls(
        name="small",
        title="2,000 replies of 2 kB, 64 at once",
        n=2000,
        concurrency=64,
        image_bytes=2000,
    ),
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
        contenders=SYNC_CONTENDERS,
        on_disk=True,
    ),
    Calls(
        name="syncs-tmpfs",
        title="The same on tmpfs, where a sync costs nothing but its way through a thread",
        n=1000,
        concurrency=64,
        image_bytes=2000,
        contenders=SYNC_CONTENDERS,
    ),
    Readings(
        name="read-jsonl",
        title="Reading 1,000,000 lines of JSON with ten shared references",
        n=1_000_000,
        write=jobs.json_lines,
        script="json_loads",
        goal=Goal("at least 250,000 lines/s, and at most 200 MB of peak RSS", _lines),
    ),
    Readings(
        name="read-yaml",
        title="Reading 10,000 items of YAML",
        n=10_000,
        write=jobs.yaml_items,
        script="yaml_load",
        goal=Goal("at most 4 s", _yaml_s),
    ),
    Readings(
        name="read-csv",
        title="Reading a table of 100,000 rows, times a matrix of 4",
        n=400_000,
        write=jobs.table,
        script="csv_product",
    ),
    Readings(
        name="cost",
        title="Adding up a log of 1,000,000 answers by model and day",
        n=1_000_000,
        write=logs.answers,
        command="cost",
        script="duckdb_cost",
        bytes_each=600,
        goal=Goal("at most 3 x the time of duckdb, and at most 150 MB of peak RSS", _times_duckdb),
    ),
    Limited(
        name="window",
        title="2,000 requests, of which the server takes 250 in any 10 s",
        rule=("window", "250", "10"),
        tells=True,
        limits={"rpm": 1500},
    ),
    Limited(
        name="bucket",
        title="2,000 requests, of which the server takes 25 a second, and up to 25 together",
        rule=("bucket", "25", "25"),
        tells=True,
        limits={"rpm": 1500},
    ),
    Limited(
        name="bucket-untold",
        title="The same bucket, whose refusals do not say how long to wait",
        rule=("bucket", "25", "25"),
        tells=False,
        limits={"rpm": 1500},
    ),
    Limited(
        name="at-once",
        title="2,000 requests, of which the server takes 16 at once",
        rule=("at-once", "16"),
        tells=False,
        limits={"concurrency": 16},
    ),
)
