"""A job's place as one run has it: made, held against all others, and of a store also brought.

make      the directory, before the job is read; one that was made for nothing goes away again
take      the lock, or that of a shard; then the claim of a store, and what lies there
follow    the run's name, behind all that were here
share     the other shards may begin
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

from batchgen.clock import Clock
from batchgen.errors import StoreError, UsageError, store_errors
from batchgen.mirror.away import Away
from batchgen.mirror.bringing import bring
from batchgen.mirror.claim import Claim
from batchgen.objects import ObjectAddress
from batchgen.objects.bucket import Bucket
from batchgen.store.inside import refuse_links
from batchgen.store.layout import Layout, follow
from batchgen.store.lock import OutputLock, ShardLock

_BETWEEN_LOOKS_S: Final = 0.2
_LOOKS_UNTOLD: Final = 10
_T = TypeVar("_T")


@dataclass
class Hold:
    """The directory of a run, and what keeps others out of it.

    Attributes:
        layout: Its files.
        address: Where they belong, if the directory is a mirror.
        run_id: Names the run.
        began_at: When it began.
        go_on: Raises if somebody asked to stop.
        tell: Told of what is waited for.
        away: Sends to the store what belongs there, once it is taken; None for a directory.
    """

    layout: Layout
    address: ObjectAddress | None
    run_id: str
    began_at: datetime
    clock: Clock
    go_on: Callable[[], None]
    tell: Callable[[str], None]
    away: Away | None = None
    _lock: OutputLock | ShardLock | None = None
    _claim: Claim | None = None
    _n_waits: int = 0

    @property
    def place(self) -> str:
        """Where the files belong, as a person names it."""
        return str(self.layout.root if self.address is None else self.address)

    @property
    def is_alone(self) -> bool:
        """Whether nobody else may write in the directory at this moment."""
        return not isinstance(self._lock, ShardLock) or self._lock.is_alone

    def make(self, stack: AsyncExitStack) -> None:
        """Make the directory.

        Raises:
            UsageError: There are no shards of what belongs into a store.
            StoreError: The disk failed, or a link is in the way.
        """
        if self.layout.shard is not None and self.address is not None:
            raise UsageError(
                f"--shard writes to a directory, not to {self.address}: give each part an address "
                "of its own, and name its items with --tag or --only"
            )
        root, own = self.layout.root, self.layout.own
        for directory in dict.fromkeys((root, own.parent, own)):
            if directory.is_relative_to(root):
                stack.callback(_remove_if_empty, directory)
        refuse_links(root, [own])
        with store_errors(own):
            own.mkdir(parents=True, exist_ok=True)

    async def take(
        self, stack: AsyncExitStack, *, patience_s: float, on_lost: Callable[[StoreError], None]
    ) -> None:
        """Take the place, until the stack is closed.

        Args:
            stack: Lets go of it.
            patience_s: For how long a store that is away is waited for.
            on_lost: Told when the claim of a store is lost.

        Raises:
            OutputHeld: Another run has it.
            UsageError: The store cannot be used.
            StoreError: The disk, or the store, failed.
        """
        layout = self.layout
        refuse_links(layout.root, layout.folders)
        for path in (layout.ledger, layout.parts, layout.runs):
            with store_errors(path):
                path.mkdir(exist_ok=True)
        if layout.shard is None:
            lock = OutputLock(layout.lock, run_id=self.run_id, at=self.began_at)
            self._lock = stack.enter_context(lock)
        else:
            shards = ShardLock(layout, layout.shard, run_id=self.run_id, at=self.began_at)
            await shards.hold(stack, self._wait)
            self._lock = shards
        if self.address is not None:
            await self._take_store(self.address, stack, patience_s, on_lost)

    async def _take_store(
        self,
        address: ObjectAddress,
        stack: AsyncExitStack,
        patience_s: float,
        on_lost: Callable[[StoreError], None],
    ) -> None:
        bucket = Bucket.at(address)

        def lose(why: str) -> None:
            on_lost(StoreError(why))

        claim = Claim(bucket, self.run_id, self.clock, lose)
        await self._heeding(stack.enter_async_context(claim))
        contents = await self._heeding(_in_thread(lambda: bring(bucket, self.layout)))
        self.away = await stack.enter_async_context(
            Away(
                self.layout,
                bucket,
                claim,
                contents,
                clock=self.clock,
                patience_s=patience_s,
                warn=lambda told: self.tell(f"warning: {told}"),
            )
        )
        self._claim = claim
        self.layout = replace(self.layout, away=self.away)

    async def _heeding(self, work: Awaitable[_T]) -> _T:
        """Wait for a store, unless somebody asks to stop."""
        task = asyncio.ensure_future(work)
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=_BETWEEN_LOOKS_S)
                self.go_on()
            return task.result()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, StoreError):
                await asyncio.wait({task}, timeout=_BETWEEN_LOOKS_S)

    def follow(self) -> str:
        """The run's name, or the next one that comes after all that were here.

        Raises:
            StoreError: The lock file cannot be written.
        """
        self.run_id = follow(self.run_id, self.layout.ledger)
        if self._lock is not None:
            self._lock.rename(self.run_id)
        if self._claim is not None:
            self._claim.rename(self.run_id)
        return self.run_id

    @property
    def is_taken_over(self) -> bool:
        """Whether somebody had the place of a store and did not live to let go of it."""
        return self._claim is not None and self._claim.is_taken_over

    async def share(self) -> None:
        """Let the other shards begin, now that what earlier runs left is taken over."""
        if isinstance(self._lock, ShardLock):
            await self._lock.share(self._wait)

    async def _wait(self) -> None:
        self.go_on()
        self._n_waits += 1
        if self._n_waits == _LOOKS_UNTOLD:
            self.tell("waiting for another shard, which takes over what earlier runs left")
        await self.clock.sleep(_BETWEEN_LOOKS_S)


async def _in_thread(job: Callable[[], _T]) -> _T:
    """Do a job in a thread that the loop does not wait for at its end."""
    threads = ThreadPoolExecutor(1, "batchgen-bringing")
    future = asyncio.get_running_loop().run_in_executor(threads, job)
    threads.shutdown(wait=False)
    return await future


def _remove_if_empty(directory: Path) -> None:
    with suppress(OSError):
        directory.rmdir()
