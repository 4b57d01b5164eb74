"""batchgen with workers on Ray, or without: how fast it goes once it has begun.

To start a cluster takes seconds, whatever the job: that is in the time of the whole, and not here.
"""

import time

from batchgen.events import AttemptEnded, Event
from benchmarks.contenders.batchgen import make
from benchmarks.work import Work


def steady(work: Work, n_workers: int = 0) -> dict[str, float]:
    """Run the job; calls a second from the first end to the last, and milliseconds for each."""
    ends_s: list[float] = []

    def note(event: Event) -> None:
        if isinstance(event, AttemptEnded):
            ends_s.append(time.perf_counter())

    make(
        work,
        {"concurrency": work.concurrency},
        on_event=note,
        executor="ray" if n_workers else None,
        ray_workers=n_workers or None,
    )
    took_s = ends_s[-1] - ends_s[0]
    n = len(ends_s) - 1
    return {"steady_per_s": n / took_s, "ms_a_call": took_s / n * 1000}
