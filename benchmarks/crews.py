"""batchgen with workers on Ray, or without: how fast it goes once it has begun.

To start a cluster takes seconds, whatever the job: that is in the time of the whole, and not here.
What the process of the run itself computes bounds how many workers it can serve.
"""

import time

from batchgen.events import AttemptEnded, Event
from benchmarks.contenders.batchgen import make
from benchmarks.work import Work


def steady(work: Work, n_workers: int = 0) -> dict[str, float]:
    """Run the job.

    Returns:
        `steady_per_s`: calls a second, from the first end to the last.
        `ms_a_call`: the same as milliseconds for each.
        `own_cpu_ms`: processor time of this process alone for each call, beginning and end
            included.
    """
    ends_s: list[float] = []

    def note(event: Event) -> None:
        if isinstance(event, AttemptEnded):
            ends_s.append(time.perf_counter())

    began_s = time.process_time()
    make(
        work,
        {"concurrency": work.concurrency},
        on_event=note,
        executor="ray" if n_workers else None,
        ray_workers=n_workers or None,
    )
    cpu_s = time.process_time() - began_s
    took_s = ends_s[-1] - ends_s[0]
    n = len(ends_s) - 1
    return {
        "steady_per_s": n / took_s,
        "ms_a_call": took_s / n * 1000,
        "own_cpu_ms": cpu_s / work.n * 1000,
    }
