"""batchgen in one process, with a look at how fast it goes once it has begun."""

from benchmarks.crews import steady
from benchmarks.work import Work


def run(work: Work) -> dict[str, float]:
    """Run the job."""
    return steady(work)
