"""One run of one contender, in a process of its own, so that its memory is its own.

    python -m benchmarks.contend CONTENDER < TASK.json

Prints the figures as one line of JSON, with those that the contender itself returned. Time and CPU
count from after the imports to the end of the run; memory is the peak of the whole process.
"""

import json
import os
import resource
import sys
import time
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from types import ModuleType

from benchmarks.work import loads


def peak_rss_bytes() -> int:
    """The peak of this process. `ru_maxrss` is no use on Linux: it survives the exec."""
    return peak_rss_bytes_of("self") or max_rss_bytes(resource.RUSAGE_SELF)


def peak_rss_bytes_of(pid: int | str) -> int:
    """The peak of a process that runs; 0 where the system does not tell, or it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    peaks = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return sum(int(line.split()[1]) * 1024 for line in peaks)


def max_rss_bytes(who: int) -> int:
    """What `getrusage` tells of the largest of some processes."""
    peak = resource.getrusage(who).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def cpu_s() -> float:
    """User and system time, of this process and of those that it started and that have ended."""
    return sum(os.times()[:4])


def _children_rss_bytes(contender: ModuleType) -> int:
    """The peaks of the processes that a contender started, each counted as the largest."""
    n_processes: int = getattr(contender, "N_PROCESSES", 0)
    return n_processes * max_rss_bytes(resource.RUSAGE_CHILDREN)


def main() -> None:
    """Run the contender that the command line names."""
    contender = import_module(f"benchmarks.contenders.{sys.argv[1]}")
    task = loads(sys.stdin.read())
    # What goes on beside the run is there before it begins, and its figures are not the run's.
    with contender.beside(task) if hasattr(contender, "beside") else nullcontext():
        began_s, cpu_began_s = time.perf_counter(), cpu_s()
        extras = contender.run(task)
        figures = {
            "wall_s": time.perf_counter() - began_s,
            "cpu_s": cpu_s() - cpu_began_s,
            "peak_rss_bytes": peak_rss_bytes() + _children_rss_bytes(contender),
            "extras": extras or {},
        }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
