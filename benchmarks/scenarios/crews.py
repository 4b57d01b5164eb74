"""What workers on Ray add, and what a lease costs: beside the run whose calls are its own."""

from typing import Final

from benchmarks.goals import Goal
from benchmarks.kinds import Calls, Column

_BYTES: Final = 2000

SCENARIOS: Final = (
    Calls(
        name="ray",
        title="2,000 replies of 2 kB, 64 at once, by workers on Ray",
        n=2000,
        concurrency=64,
        image_bytes=_BYTES,
        contenders=("batchgen_steady", "ray_1", "ray_2", "ray_4"),
        columns=(
            Column("steady_per_s", "calls/s once begun"),
            Column("own_cpu_ms", "CPU ms a call, the run alone", "{:.1f}"),
        ),
    ),
    Calls(
        name="ray-6mb",
        title="200 replies of 6 MB, 32 at once, by workers on Ray",
        n=200,
        concurrency=32,
        image_bytes=6_000_000,
        contenders=("batchgen_steady", "ray_1", "ray_2", "ray_4"),
        columns=(Column("steady_per_s", "calls/s once begun", "{:,.1f}"),),
    ),
    Calls(
        name="ray-lease",
        title="300 replies of 2 kB, one at a time: what ticket, lease and end of a call cost",
        n=300,
        concurrency=1,
        image_bytes=_BYTES,
        contenders=("batchgen_steady", "ray_1"),
        columns=(Column("ms_a_call", "ms a call once begun", "{:.1f}"),),
    ),
)
GOALS: Final[tuple[Goal, ...]] = ()
