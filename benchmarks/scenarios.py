"""What is measured: the scenarios, and the goals that two of them have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks.measure import Median

MB: Final = 1_000_000
CONTENDERS: Final = ("batchgen", "usual_script", "orjson_pybase64", "google_genai")
MIN_SPEEDUP: Final = 2.0
MAX_PEAK_RSS_BYTES: Final = 150 * MB


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
class Scenario:
    """One load, put on each contender in turn.

    Attributes:
        n: Requests of one run.
        concurrency: How many of them are under way at once.
        image_bytes: The size of the image in each reply, before base64.
        held: Whether the server answers only when `concurrency` requests wait for it.
        n_references: How many images each request carries.
        reference_bytes: The size of each.
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

    @property
    def bytes_a_call(self) -> int:
        """The image bytes of one call, sent and received: what its MB/s count."""
        return self.image_bytes + self.n_references * self.reference_bytes

    @property
    def disk_bytes(self) -> int:
        """What one run needs on disk."""
        return self.n * self.image_bytes + self.n_references * self.reference_bytes


def _speedup(medians: Mapping[str, Median]) -> tuple[str, bool]:
    speedup = medians["batchgen"].per_s / medians["usual_script"].per_s
    return f"{speedup:.2f} x", speedup >= MIN_SPEEDUP


def _peak(medians: Mapping[str, Median]) -> tuple[str, bool]:
    peak = medians["batchgen"].peak_rss_bytes
    return f"{peak / MB:.0f} MB", peak <= MAX_PEAK_RSS_BYTES


SCENARIOS: Final = (
    Scenario(
        name="throughput",
        title="100 replies of 6 MB, 32 at once",
        n=100,
        concurrency=32,
        image_bytes=6 * MB,
        goal=Goal("at least 2 x the images/s of the usual script", _speedup),
    ),
    Scenario(
        name="memory",
        title="64 replies of 20 MB, all in flight at once",
        n=64,
        concurrency=64,
        image_bytes=20 * MB,
        held=True,
        goal=Goal("at most 150 MB of peak RSS", _peak),
    ),
    Scenario(
        name="small",
        title="2,000 replies of 2 kB, 64 at once",
        n=2000,
        concurrency=64,
        image_bytes=2000,
    ),
    Scenario(
        name="references",
        title="16 requests with 14 references of 5 MB each, 8 at once",
        n=16,
        concurrency=8,
        image_bytes=2000,
        n_references=14,
        reference_bytes=5 * MB,
    ),
)
