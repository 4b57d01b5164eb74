"""Time as an argument: everything that waits or stamps gets its clock handed in."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """Wall time for stamps, monotonic time for durations, and a way to wait.

    Durations are never taken from `now`: a clock that is set back at night must not shorten a
    wait that a server asked for.
    """

    now: Callable[[], datetime] = _utc_now
    monotonic_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def wait_within(self, change: Awaitable[object], within_s: float) -> None:
        """Wait for something to change, but no longer than so many seconds."""
        changed = asyncio.ensure_future(change)
        slept = asyncio.ensure_future(self.sleep(within_s))
        try:
            await asyncio.wait({changed, slept}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
            slept.cancel()

    def stamp(self) -> str:
        """Now as the ledger writes it: `2026-11-21T03:00:04.120Z`."""
        return stamp(self.now())


def stamp(at: datetime) -> str:
    """Write a moment the way the ledger does: UTC, milliseconds, `Z`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
