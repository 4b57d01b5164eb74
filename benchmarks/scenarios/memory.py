"""Point 2: what is held of replies under way, and of requests that wait."""

from typing import Final

from benchmarks.goals import Figures, Goal, Verdict, at_most
from benchmarks.kinds import MB, Calls, Column

_POINT: Final = "2 Memory"
_MAX_PEAK_MB: Final = 100
_MAX_APART: Final = 0.1
_MAX_WAITING_MB: Final = 40
_PARTS: Final = Column("n_parts", "part files while all wait")


def held(name: str, mb: int) -> Calls:
    """One reply, and then 64 that all come at once."""
    return Calls(
        name=name,
        title=f"One reply of {mb} MB, then 64 more, all of them in flight at once",
        n=1 + 64,
        concurrency=64,
        image_bytes=mb * MB,
        held=True,
        contenders=("batchgen",),
    )


def waiting(name: str, at_once: int, *, rounds: int = 3) -> Calls:
    """The same 1,001 small replies, of which so many are waited for at once."""
    return Calls(
        name=name,
        title=f"One reply of 2 kB, then 1,000 that are waited for {at_once:,} at once",
        n=1 + 1000,
        concurrency=at_once,
        image_bytes=2000,
        held=True,
        until_told=True,
        contenders=("batchgen",),
        columns=(_PARTS,),
        rounds=rounds,
    )


SCENARIOS: Final = (
    held("memory", 20),
    held("memory-2mb", 2),
    waiting("waiting", 1000),
    waiting("waiting-8", 8),
)


def _peak_mb(figures: Figures, name: str) -> float:
    return figures[name]["batchgen"].peak_rss_bytes / MB


def _peak(figures: Figures) -> Verdict:
    return at_most(_MAX_PEAK_MB, "{:.0f} MB", _peak_mb(figures, "memory"))


def _apart(figures: Figures) -> Verdict:
    large_mb, small_mb = (_peak_mb(figures, name) for name in ("memory", "memory-2mb"))
    apart = at_most(_MAX_APART, "{:.1%}", abs(small_mb / large_mb - 1))
    return Verdict(f"{small_mb:.0f} MB, {apart.figure.replace('%', ' %')} apart", apart.is_met)


def _waiting(figures: Figures) -> Verdict:
    many_mb, few_mb = (_peak_mb(figures, name) for name in ("waiting", "waiting-8"))
    added = at_most(_MAX_WAITING_MB, "{:.0f} MB", many_mb - few_mb)
    return Verdict(f"{added.figure} ({many_mb:.0f} after {few_mb:.0f})", added.is_met)


def _parts(figures: Figures) -> Verdict:
    return at_most(0, "{:.0f}", figures["waiting"]["batchgen"].extras["n_parts"])


GOALS: Final = (
    Goal(
        words="64 replies of 20 MB in flight: peak RSS under 100 MB",
        scenarios=("memory",),
        judge=_peak,
        point=_POINT,
    ),
    Goal(
        words="64 of 2 MB: the same within 10 %",
        scenarios=("memory-2mb", "memory"),
        judge=_apart,
        point=_POINT,
    ),
    Goal(
        words="1,000 attempts that wait add under 40 MB to what 8 at once take",
        scenarios=("waiting", "waiting-8"),
        judge=_waiting,
        point=_POINT,
    ),
    Goal(
        words="1,000 attempts that wait have no part file before the first byte of an answer",
        scenarios=("waiting",),
        judge=_parts,
        point=_POINT,
    ),
)
