"""An event loop whose clock jumps when nothing is ready: hours of waiting take no time at all.

Threads and sockets work as ever: a loop with nothing scheduled really waits for them, but not for
long, because a test that waits for nothing is a deadlock and should say so.
"""

from __future__ import annotations

import asyncio
import selectors
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from batchgen.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

START = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
_DEADLOCK_S = 20.0
# Each turn of the loop takes a moment, as it does in life: a timer that asks for "now, but for a
# rounding error" must come due.
_TURN_S = 1e-9


class _JumpingSelector(selectors.DefaultSelector):
    """Where the loop would sleep, its clock moves on instead."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now_s += _TURN_S
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is not None:
            self.now_s += timeout
            return []
        ready = super().select(_DEADLOCK_S)
        if not ready:
            raise RuntimeError("deadlock: nothing is scheduled, and nothing happens")
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop on a clock that starts at 0 and only moves when everything waits."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s

    def jump(self, seconds: float) -> None:
        self._jumping.now_s += seconds


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def now_s() -> float:
    """The running loop's time."""
    return asyncio.get_running_loop().time()


def work(seconds: float) -> None:
    """Keep the running loop busy: time goes by, and what comes due meanwhile is late."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.jump(seconds)


def clock() -> Clock:
    """A clock on the running loop's time."""
    return Clock(
        now=lambda: START + timedelta(seconds=now_s()),
        monotonic_s=now_s,
        sleep=asyncio.sleep,
    )
