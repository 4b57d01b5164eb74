"""batchgen with a job that sets what the server allows."""

from benchmarks.contenders.batchgen import make
from benchmarks.work import Work


def run(work: Work) -> None:
    """Write the job file and run it."""
    make(work, work.limits)
