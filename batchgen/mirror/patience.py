"""Work at a store that may be away: done in threads, and again for as long as somebody waits."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Self

from batchgen.clock import Clock
from batchgen.objects.bucket import StoreAway

_AT_ONCE: Final = 3
_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 30.0
# Once nobody waits any more, what is under way has so long.
_LAST_WAIT_S: Final = 5.0


class Patience:
    """Does jobs at one place in a store; `async with` opens and closes its threads.

    Attributes:
        patience_s: For how long a store that is away is waited for.
    """

    def __init__(
        self,
        address: str,
        clock: Clock,
        patience_s: float,
        warn: Callable[[str], None],
        *,
        at_once: int = _AT_ONCE,
    ) -> None:
        """Set the place, as a person names it, and how many jobs are done at once."""
        self.patience_s = patience_s
        self._address, self._clock, self._warn = address, clock, warn
        self._at_once = at_once
        self._is_given_up = asyncio.Event()
        self._is_told = False

    async def __aenter__(self) -> Self:
        """Start the threads."""
        self._threads = ThreadPoolExecutor(self._at_once, "batchgen-uploads")
        return self

    async def __aexit__(self, *exc: object) -> None:
        """What is on its way in a thread is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def give_up(self) -> None:
        """Wait for a store that is away no more."""
        self._is_given_up.set()

    async def until_done(self, job: Callable[[], None], *, patience_s: float | None = None) -> None:
        """Do a job, again and again as long as the store is away.

        Args:
            job: It may be done twice.
            patience_s: For how long, if it is not worth all patience.

        Raises:
            StoreAway: It was away for longer than we wait.
            StoreError: It refused, or the disk failed.
        """
        most_s = self.patience_s if patience_s is None else min(patience_s, self.patience_s)
        began_s, wait_s = self._clock.monotonic_s(), _FIRST_WAIT_S
        while True:
            try:
                await self.once(job)
            except StoreAway as away:
                waited_s = self._clock.monotonic_s() - began_s
                if waited_s + wait_s > most_s or self._is_given_up.is_set():
                    raise
                self._tell(away)
                await self._clock.wait_within(self._is_given_up.wait(), wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            else:
                self._is_told = False
                return

    async def once(
        self, job: Callable[[], None], threads: ThreadPoolExecutor | None = None
    ) -> None:
        """Do a job in a thread, which is left to itself when nobody waits for it any more."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.run_in_executor(threads or self._threads, job)
        given_up: asyncio.Future[Any] = asyncio.ensure_future(self._is_given_up.wait())
        try:
            await asyncio.wait({future, given_up}, return_when=asyncio.FIRST_COMPLETED)
            if not future.done():
                await asyncio.wait({future}, timeout=_LAST_WAIT_S)
        finally:
            given_up.cancel()
        if not future.done():
            future.add_done_callback(_heard)
            raise StoreAway(f"{self._address}: given up, while the store did not answer")
        future.result()

    def _tell(self, away: StoreAway) -> None:
        if not self._is_told:
            self._is_told = True
            self._warn(f"the store is away and is waited for, nothing more is sent: {away}")


def _heard(future: "asyncio.Future[Any]") -> None:
    """What came of it does not matter any more."""
    if not future.cancelled():
        future.exception()
