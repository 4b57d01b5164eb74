"""batchgen whose calls are made by 4 workers on a Ray cluster, which is started for it."""

from benchmarks.crews import steady
from benchmarks.work import Work


def run(work: Work) -> dict[str, float]:
    """Run the job."""
    return steady(work, n_workers=4)
