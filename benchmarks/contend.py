"""One run of one contender, in a process of its own, so that its memory is its own.

    python -m benchmarks.contend CONTENDER < TASK.json

Prints the figures as one line of JSON. Time and CPU count from after the imports to the end of
the run; memory is the peak of the whole process.
"""

import json
import os
import resource
import sys
import time
from importlib import import_module
from pathlib import Path
from types import ModuleType

from benchmarks.work import loads


def peak_rss_bytes() -> int:
    """The peak of this process. `ru_maxrss` is no use on Linux: it survives the exec."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def cpu_s() -> float:
    """User and system time, of this process and of those that it started and that have ended."""
    return sum(os.times()[:4])


def _children_rss_bytes(contender: ModuleType) -> int:
    """The peaks of the processes that a contender started, each counted as the largest."""
    n_processes: int = getattr(contender, "N_PROCESSES", 0)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return n_processes * (peak if sys.platform == "darwin" else peak * 1024)


def main() -> None:
    """Run the contender that the command line names."""
    contender = import_module(f"benchmarks.contenders.{sys.argv[1]}")
    task = loads(sys.stdin.read())
    began_s, cpu_began_s = time.perf_counter(), cpu_s()
    contender.run(task)
    figures = {
        "wall_s": time.perf_counter() - began_s,
        "cpu_s": cpu_s() - cpu_began_s,
        "peak_rss_bytes": peak_rss_bytes() + _children_rss_bytes(contender),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
