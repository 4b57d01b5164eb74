"""Point 7: how long the event loop looks at nothing while large replies come."""

from typing import Final

from benchmarks.goals import Figures, Goal, Verdict, at_most
from benchmarks.kinds import MB, Calls, Column

_MAX_BUSY_MS: Final = 20

SCENARIOS: Final = (
    Calls(
        name="loop",
        title="One reply of 20 MB, then 64 in flight at once: how long the event loop is busy",
        n=1 + 64,
        concurrency=64,
        image_bytes=20 * MB,
        held=True,
        contenders=("batchgen_timed",),
        columns=(
            Column("n_turns", "turns of the loop"),
            Column("busy_p50_ms", "p50 ms", "{:.2f}"),
            Column("busy_p99_ms", "p99 ms", "{:.1f}"),
            Column("busy_p999_ms", "p99.9 ms", "{:.1f}"),
            Column("busy_max_ms", "max ms", "{:.1f}"),
        ),
    ),
)


def _busy(figures: Figures) -> Verdict:
    return at_most(
        _MAX_BUSY_MS, "{:.1f} ms", figures["loop"]["batchgen_timed"].extras["busy_p999_ms"]
    )


GOALS: Final = (
    Goal(
        words="64 of 20 MB in flight: the loop is never blocked for more than 20 ms at p99.9",
        scenarios=("loop",),
        judge=_busy,
        point="7 Loop health",
    ),
)
