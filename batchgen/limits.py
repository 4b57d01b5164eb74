"""How much may be under way at once, and how fast it may leave."""

import asyncio
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

from aiolimiter import AsyncLimiter

# With nothing configured: enough to hide a picture's 10-120 s, too little to upset a service.
AUTO_CONCURRENCY: Final = 8
# Paced just below the limit, so that jitter on the way never makes a minute too full.
_SAFETY: Final = 0.99
_FILES_A_REQUEST: Final = 3
_OTHER_FILES: Final = 32
_MINUTE_S: Final = 60.0

# Waits for something, but no longer than until the run stops; True if it stops.
CutsShort: TypeAlias = Callable[[Awaitable[None]], Awaitable[bool]]


async def _to_its_end(wait: Awaitable[None]) -> bool:
    await wait
    return False


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a run may ask of the service.

    Attributes:
        concurrency: Requests in flight; None leaves it to batchgen.
        rpm: Requests a minute for each model; None means no pacing.
    """

    concurrency: int | None = None
    rpm: float | None = None


def max_in_flight() -> int:
    """How many requests the limit of open files allows: each has a socket, a part and a reference.

    Some are left for everything else that a process has open.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, (soft - _OTHER_FILES) // _FILES_A_REQUEST)


class Limiter:
    """Hands out slots, and lets requests leave one at a time at an even pace.

    A slot is taken before the pace is waited for, so nothing gathers behind the pace and leaves
    in a burst. Created inside the running loop.
    """

    def __init__(self, limits: Limits) -> None:
        """Start with every slot free."""
        self.concurrency = limits.concurrency or AUTO_CONCURRENCY
        self._rpm = limits.rpm
        self._slots = asyncio.Semaphore(self.concurrency)
        self._paces: dict[str, AsyncLimiter] = {}
        self.n_in_flight = 0
        self.peak = 0

    @property
    def max_open(self) -> int:
        """How many items may be open, waiting retries included."""
        return 4 * self.concurrency + 16

    async def take_slot(self) -> None:
        """Wait for a slot, in order of arrival."""
        await self._slots.acquire()

    def free_slot(self) -> None:
        """Give a slot back."""
        self._slots.release()

    @asynccontextmanager
    async def paced(self, model: str, cuts_short: CutsShort = _to_its_end) -> AsyncIterator[bool]:
        """Wait until a request to this model may leave, and count it while it is under way.

        Yields False if the wait was cut short: then nothing may leave any more.
        """
        if self._rpm is not None and await cuts_short(self._pace(model, self._rpm).acquire()):
            yield False
            return
        self.n_in_flight += 1
        self.peak = max(self.peak, self.n_in_flight)
        try:
            yield True
        finally:
            self.n_in_flight -= 1

    def _pace(self, model: str, rpm: float) -> AsyncLimiter:
        """A bucket of one: `AsyncLimiter(60, 60)` would let 119 through in the first minute."""
        pace = self._paces.get(model)
        if pace is None:
            pace = self._paces[model] = AsyncLimiter(1, _MINUTE_S / (rpm * _SAFETY))
        return pace

    def __repr__(self) -> str:
        """Show what is under way."""
        return f"<Limiter {self.n_in_flight}/{self.concurrency}, peak {self.peak}>"
