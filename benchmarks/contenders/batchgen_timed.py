"""batchgen, with a clock at the selector of its event loop.

The loop is busy from when its selector hands over what has come until it is asked again: so long
nobody looks at a socket, a timer or a thread that is done. Whatever takes that time counts: a
callback, and the wait for the interpreter's lock while another thread has it.
"""

import selectors
import time
from collections.abc import Sequence
from statistics import quantiles
from typing import Any

from benchmarks.contenders import batchgen
from benchmarks.work import Work


class _TimedSelector(selectors.DefaultSelector):
    """Notes how long its user was away, each time."""

    busy_s: list[float] = []  # noqa: RUF012 - of all loops of the process

    def __init__(self) -> None:
        super().__init__()
        self._left_s: float | None = None

    def select(self, timeout: float | None = None) -> Any:
        if self._left_s is not None:
            self.busy_s.append(time.perf_counter() - self._left_s)
        found = super().select(timeout)
        self._left_s = time.perf_counter()
        return found


def run(work: Work) -> dict[str, float]:
    """Run the job as batchgen does; asyncio makes its loops with the selector it finds."""
    selectors.DefaultSelector = _TimedSelector  # type: ignore[misc]
    batchgen.run(work)
    return _percentiles_ms(_TimedSelector.busy_s)


def _percentiles_ms(busy_s: Sequence[float]) -> dict[str, float]:
    permilles = quantiles(busy_s, n=1000, method="inclusive")
    return {
        "n_turns": len(busy_s),
        "busy_p50_ms": 1000 * permilles[499],
        "busy_p99_ms": 1000 * permilles[989],
        "busy_p999_ms": 1000 * permilles[998],
        "busy_max_ms": 1000 * max(busy_s),
    }
