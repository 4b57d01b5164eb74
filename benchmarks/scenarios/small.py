"""Point 3: small replies, where what is done once a call is all that counts."""

from typing import Final

from benchmarks.goals import Figures, Goal, Verdict, at_least
from benchmarks.kinds import Calls

_POINT: Final = "3 Small replies"
_MIN_TIMES_GENAI: Final = 5.0
_MIN_OF_BARE: Final = 0.7
_BYTES: Final = 2000

SCENARIOS: Final = (
    Calls(
        name="small",
        title="5,000 replies of 2 kB, 64 at once",
        n=5000,
        concurrency=64,
        image_bytes=_BYTES,
        contenders=("batchgen", "google_genai", "bare_aiohttp"),
    ),
    Calls(
        name="small-disk",
        title="1,000 replies of 2 kB, 64 at once, on a disk",
        n=1000,
        concurrency=64,
        image_bytes=_BYTES,
        contenders=("batchgen", "no_syncs", "google_genai"),
        on_disk=True,
    ),
)


def _times(figures: Figures, name: str, other: str) -> float:
    return figures[name]["batchgen"].per_s / figures[name][other].per_s


def _genai(figures: Figures) -> Verdict:
    return at_least(_MIN_TIMES_GENAI, "{:.2f} x", _times(figures, "small", "google_genai"))


def _bare(figures: Figures) -> Verdict:
    return at_least(_MIN_OF_BARE, "{:.2f} x", _times(figures, "small", "bare_aiohttp"))


def _disk(figures: Figures) -> Verdict:
    times = at_least(1.0, "{:.2f} x", _times(figures, "small-disk", "google_genai"))
    share = sync_share(figures, "small-disk")
    return Verdict(f"{times.figure}; fsync takes {share:.0%} of the time", times.is_met)


def sync_share(figures: Figures, name: str) -> float:
    """How much of the time goes when nothing is synced; noise can make it less than none."""
    return max(0.0, 1 - figures[name]["no_syncs"].wall_s / figures[name]["batchgen"].wall_s)


GOALS: Final = (
    Goal(
        words="2 kB at 64 on tmpfs, durable: at least 5 x google-genai",
        scenarios=("small",),
        judge=_genai,
        point=_POINT,
    ),
    Goal(
        words="2 kB at 64 on tmpfs, durable: at least 0.7 x the bare script, which keeps nothing",
        scenarios=("small",),
        judge=_bare,
        point=_POINT,
    ),
    Goal(
        words="2 kB at 64 on disk, durable: faster than google-genai, which syncs nothing",
        scenarios=("small-disk",),
        judge=_disk,
        point=_POINT,
    ),
)
