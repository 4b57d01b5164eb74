"""A bounded pool: takes a slot, then an item, and sees the item through its retries.

    run(take)                  yields each item's end
      └── _drive(take)         takes a slot before it takes an item; waits for ends if none is ready
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
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, assert_never

from batchgen.clock import Clock
from batchgen.errors import AttemptError, BatchgenError, Cancelled, SkippedDependency
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

# Gives the next item that is ready; None if there is none now. The end of one that is under way
# may make others ready; with none ready and none under way, the run has ended.
Take: TypeAlias = Callable[[], Item | None]


@dataclass(frozen=True, slots=True)
class Journey(Generic[AttemptedT, FinishedT]):
    """What is done for one item.

    Attributes:
        attempt: Make call number n of an item. A failed call is a value, a cancelled one too;
            what is raised is a defect of ours or of the disk, and ends the run.
        record: Write down an attempt with what was decided, and why if it was given up; say where
            the item stands now. Called exactly once for each attempt.
        goes_on: Whether an attempt that succeeded was not the last thing to do for its item: then
            `attempt` is called for what comes next, from number 1 and with retries of its own.
    """

    attempt: Callable[[Item, int], Coroutine[Any, Any, AttemptedT]]
    record: Callable[[AttemptedT, Decision, str | None], Coroutine[Any, Any, FinishedT]]
    goes_on: Callable[[AttemptedT], bool] = lambda _: False


@dataclass(frozen=True, slots=True)
class _Called(Generic[FinishedT]):
    """One call that has been written down, and what follows from it."""

    error: AttemptError | None
    verdict: Verdict | None
    end: FinishedT
    goes_on: bool


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
        self._under_way: set[asyncio.Task[None]] = set()
        self._one_ended = asyncio.Event()
        self._driver: asyncio.Task[None] | None = None
        self._defect: Exception | None = None

    async def run(self, take: Take) -> AsyncIterator[FinishedT]:
        """Yield each item's end, in order of completion.

        Args:
            take: Where items come from; asked only when there is a slot for one more.

        Raises:
            Exception: What broke in a journey, after everything else under way has ended.
        """
        self._driver = asyncio.create_task(self._drive(take))
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

    async def _drive(self, take: Take) -> None:
        async with asyncio.TaskGroup() as group:
            while (item := await self._next(take)) is not None:
                task = group.create_task(self._finish(item))
                self._under_way.add(task)
                task.add_done_callback(self._left)

    def _left(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._one_ended.set()

    async def _next(self, take: Take) -> Item | None:
        """Wait for room, a slot and an item that is ready; None if there will be none any more.

        No slot is held while nothing is ready: what is under way may need it for a retry.
        """
        await self._room.acquire()
        while await self._has_slot():
            self._one_ended.clear()
            if (item := self._taken(take)) is not None:
                return item
            self._limiter.free_slot()
            if not self._under_way or await self._stop.cuts_short(self._wait_for_an_end()):
                break
        return None

    async def _has_slot(self) -> bool:
        """Wait for a slot for one more item; False once the run stops."""
        await self._limiter.take_slot()
        if self._stop.asked:
            self._limiter.free_slot()
        return not self._stop.asked

    def _taken(self, take: Take) -> Item | None:
        """The next item, if one is ready and can be read."""
        try:
            return take()
        except Exception as defect:  # noqa: BLE001 - raised again by run, when all have ended
            self._broke(defect)
            return None

    async def _wait_for_an_end(self) -> None:
        await self._one_ended.wait()

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
        """Call until the item is done, given up, or the run stops; the first slot is held.

        Each turn of a conversation has retries of its own, and takes a slot of its own.
        """
        tries, n = Tries(), 0
        while True:
            n += 1
            try:
                called = await self._call(item, n, tries)
            finally:
                self._limiter.free_slot()
            end = called.end
            if called.goes_on:
                tries, n = Tries(), 0
            elif called.error is None or not isinstance(called.verdict, Again):
                return end
            else:
                tries = tries.after(called.error)
                if await self._stop.cuts_short(self._clock.sleep(called.verdict.after_s)):
                    return end
            await self._limiter.take_slot()
            if self._stop.asked:
                self._limiter.free_slot()
                return end

    async def _call(self, item: Item, n: int, tries: Tries) -> _Called[FinishedT]:
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
        goes_on = error is None and self._journey.goes_on(attempted)
        return _Called(error, verdict, end, goes_on)

    def _decision(self, error: AttemptError | None, verdict: Verdict | None) -> Decision:
        """The ledger's word for a verdict; a run that must stop is told to."""
        if isinstance(error, Cancelled):
            return "stop"
        if isinstance(error, SkippedDependency):
            return "skipped"
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
