"""A bounded pool: takes a slot, then an item, and sees the item through its retries.

    run(items)                 yields each item's end
      └── _drive(items)        takes a slot before it takes an item
            └── _finish(item)  never raises; what breaks ends the run, not its neighbours
                  └── _with_retries(item)      asks retry.decide; a waiting retry holds no slot
                        └── _call(item, n)     one attempt and its record, cancelled or not
                              └── journey.attempt, journey.record      injected

The pool knows neither HTTP nor disk. A million items are never a million tasks, nor a million
waiting retries: no item is taken while `limiter.max_open` are open, and one stays open until its
end has been taken from `run`.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, assert_never

from batchgen.clock import Clock
from batchgen.errors import AttemptError, BatchgenError, Cancelled
from batchgen.limits import Limiter
from batchgen.model import Decision, Item
from batchgen.retry import Again, GiveUp, Retries, StopRun, Tries, Verdict, decide


class Attempted(Protocol):
    """What the pool needs to know of one call that has ended."""

    @property
    def error(self) -> AttemptError | None:
        """Why it failed; None if the item has its picture."""


AttemptedT = TypeVar("AttemptedT", bound=Attempted)
FinishedT = TypeVar("FinishedT")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Journey(Generic[AttemptedT, FinishedT]):
    """What is done for one item.

    Attributes:
        attempt: Make call number n of an item. A failed call is a value, a cancelled one too;
            what is raised is a defect of ours or of the disk, and ends the run.
        record: Write down an attempt with what was decided, and why if it was given up; say where
            the item stands now. Called exactly once for each attempt.
    """

    attempt: Callable[[Item, int], Coroutine[Any, Any, AttemptedT]]
    record: Callable[[AttemptedT, Decision, str | None], Coroutine[Any, Any, FinishedT]]


class Stop:
    """Why a run stops early. The first reason stands."""

    def __init__(self) -> None:
        """Start with no reason to stop."""
        self._asked = asyncio.Event()
        self.reason: str | None = None
        self.cause: BaseException | None = None

    def ask(self, reason: str, cause: BaseException | None = None) -> None:
        """Ask for no new attempts; those under way may finish."""
        if not self.asked:
            self.reason, self.cause = reason, cause
        self._asked.set()

    @property
    def asked(self) -> bool:
        """Whether anyone asked."""
        return self._asked.is_set()

    async def cuts_short(self, wait: Awaitable[None]) -> bool:
        """Wait for something, but no longer than until the run stops; True if it stops."""
        waiting = asyncio.ensure_future(wait)
        asked = asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait({waiting, asked}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            asked.cancel()
        if waiting.done() and not waiting.cancelled():
            waiting.result()  # raises what the wait raised
        return self.asked


class Pool(Generic[AttemptedT, FinishedT]):
    """Runs items through a journey, so many at once as the limiter has slots."""

    def __init__(
        self,
        journey: Journey[AttemptedT, FinishedT],
        *,
        limiter: Limiter,
        retries: Retries,
        stop: Stop,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        """Keep the parts; nothing starts before `run`."""
        self._journey = journey
        self._limiter = limiter
        self._retries = retries
        self._stop = stop
        self._clock = clock
        self._rng = rng
        self._room = asyncio.Semaphore(limiter.max_open)
        self._ends: asyncio.Queue[FinishedT | None] = asyncio.Queue()
        self._driver: asyncio.Task[None] | None = None
        self._defect: Exception | None = None

    async def run(self, items: Iterator[Item]) -> AsyncIterator[FinishedT]:
        """Yield each item's end, in order of completion.

        Raises:
            Exception: What broke in a journey, after everything else under way has ended.
        """
        self._driver = asyncio.create_task(self._drive(items))
        # Not by the driver itself: one that is cancelled before its first step runs nothing.
        self._driver.add_done_callback(lambda _: self._ends.put_nowait(None))
        try:
            while (end := await self._ends.get()) is not None:
                yield end
                self._room.release()
        finally:
            await self.close()
        if self._defect is not None:
            raise self._defect

    @property
    def defect(self) -> Exception | None:
        """What broke in a journey, if anything did."""
        return self._defect

    def cancel(self) -> None:
        """Give up what is under way; each call still gets its record, and `run` ends."""
        if self._driver is None or not self._driver.done():
            self._stop.ask("cancelled")
        if self._driver is not None:
            self._driver.cancel()

    async def close(self) -> None:
        """Give up what is under way, and wait until each call has its record."""
        self.cancel()
        cancelled = False
        while self._driver is not None and not self._driver.done():
            try:
                await asyncio.wait({self._driver})
            except asyncio.CancelledError:
                cancelled = True  # passed on, but not before the last record
        if cancelled:
            raise asyncio.CancelledError

    async def _drive(self, items: Iterator[Item]) -> None:
        async with asyncio.TaskGroup() as group:
            while await self._has_room():
                item = self._next(items)
                if item is None:
                    self._limiter.free_slot()
                    break
                group.create_task(self._finish(item))

    def _next(self, items: Iterator[Item]) -> Item | None:
        """The next item, if there is one and it can be read."""
        try:
            return next(items, None)
        except Exception as defect:  # noqa: BLE001 - raised again by run, when all have ended
            self._broke(defect)
            return None

    async def _has_room(self) -> bool:
        """Wait for room and a slot for one more item; False once the run stops."""
        await self._room.acquire()
        await self._limiter.take_slot()
        if self._stop.asked:
            self._limiter.free_slot()
        return not self._stop.asked

    async def _finish(self, item: Item) -> None:
        try:
            end = await self._with_retries(item)
        except Exception as defect:  # noqa: BLE001 - raised again by run, when all have ended
            self._broke(defect)
            self._room.release()
        else:
            self._ends.put_nowait(end)

    def _broke(self, defect: Exception) -> None:
        """Keep the first defect, even where the run was already stopping for another reason."""
        self._defect = self._defect or defect
        told = str(defect) if isinstance(defect, BatchgenError) else repr(defect)
        self._stop.ask(told, defect)

    async def _with_retries(self, item: Item) -> FinishedT:
        """Call until the item is done, given up, or the run stops; the first slot is held."""
        tries, n = Tries(), 0
        while True:
            n += 1
            try:
                error, verdict, end = await self._call(item, n, tries)
            finally:
                self._limiter.free_slot()
            if error is None or not isinstance(verdict, Again):
                return end
            tries = tries.after(error)
            if await self._stop.cuts_short(self._clock.sleep(verdict.after_s)):
                return end
            await self._limiter.take_slot()
            if self._stop.asked:
                self._limiter.free_slot()
                return end

    async def _call(
        self, item: Item, n: int, tries: Tries
    ) -> tuple[AttemptError | None, Verdict | None, FinishedT]:
        """Make one attempt and write it down, even when it is cancelled meanwhile."""
        call = asyncio.create_task(self._journey.attempt(item, n))
        cancelled = False
        try:
            attempted = await asyncio.shield(call)
        except asyncio.CancelledError:
            call.cancel()
            attempted = await call
            cancelled = True
        error = attempted.error
        verdict = None if error is None else decide(error, tries, self._retries, self._rng)
        why = verdict.why if isinstance(verdict, GiveUp) else None
        decision = self._decision(error, verdict)
        end = await to_the_end(self._journey.record(attempted, decision, why))
        if cancelled:
            raise asyncio.CancelledError
        return error, verdict, end

    def _decision(self, error: AttemptError | None, verdict: Verdict | None) -> Decision:
        """The ledger's word for a verdict; a run that must stop is told to."""
        if isinstance(error, Cancelled):
            return "stop"
        match verdict:
            case None:
                return "done"
            case Again():
                return "retry"
            case GiveUp():
                return "failed"
            case StopRun(why):
                self._stop.ask(why, error)
                return "stop"
            case unknown:
                assert_never(unknown)


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Run bookkeeping to its end, however often the caller is cancelled meanwhile.

    The cancellation is not passed on: the caller looks after it when the work is done.
    """
    task = asyncio.create_task(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    return task.result()
