"""A bounded pool: takes a seat, then an item, and sees the item through its retries.

    run(take)                  yields each item's end
      └── _drive(take)         takes a seat before it takes an item; waits for ends if none is ready
            └── _finish(case)  never raises; what breaks ends the run, not its neighbours
                  └── _with_retries(case)      asks retry.decide; a waiting retry holds no seat
                        └── _call(case)        one attempt and its record, cancelled or not
                              └── journey.attempt, journey.record      injected

The pool knows neither HTTP nor disk. A million items are never a million tasks, nor a million
waiting retries: no item is taken while `limiter.max_open` are open, and one stays open until its
end has been taken from `run`. An item that has to wait for long is parked: it is not open any more,
and comes back when its time has come and no other item is ready.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, assert_never

from batchgen.clock import Clock
from batchgen.errors import AttemptError, BatchgenError, Cancelled, SkippedDependency
from batchgen.limits import Limiter, Seat
from batchgen.model import Decision, Item
from batchgen.retry import Again, GiveUp, Later, Retries, StopRun, Tries, Verdict, decide
from batchgen.stop import Stop


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


@dataclass(slots=True)
class _Case(Generic[FinishedT]):
    """An item on its way: what was tried, and from when on it may be tried again."""

    item: Item
    seat: Seat
    tries: Tries = field(default_factory=Tries)
    n: int = 0
    ready_s: float = 0.0
    end: FinishedT | None = None


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
        self._ends: asyncio.Queue[FinishedT | None] = asyncio.Queue()
        self._under_way: set[asyncio.Task[None]] = set()
        self._parked: list[_Case[FinishedT]] = []
        self._n_open = 0
        self._n_retrying = 0
        self._changed = asyncio.Event()
        self._driver: asyncio.Task[None] | None = None
        self._defect: Exception | None = None
        self.later: str | None = None  # why items are left though the run went to its end

    @property
    def n_waiting(self) -> int:
        """How many items wait for their next attempt."""
        return self._n_retrying + len(self._parked)

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
                self._closed()
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
            while (case := await self._next(take)) is not None:
                self._n_open += 1
                task = group.create_task(self._finish(case))
                self._under_way.add(task)
                task.add_done_callback(self._left)
        for case in self._parked:
            if case.end is not None:
                self._ends.put_nowait(case.end)

    def _left(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._changed.set()

    def _closed(self) -> None:
        """An item is not open any more."""
        self._n_open -= 1
        self._changed.set()

    async def _next(self, take: Take) -> _Case[FinishedT] | None:
        """Wait for room, a seat and an item that is ready; None if there will be none any more.

        No seat is held while nothing is ready: what is under way may need it for a retry.
        """
        while True:
            self._changed.clear()
            if self._n_open >= self._limiter.max_open:
                if await self._stop.cuts_short(self._change()):
                    return None
                continue
            seat = await self._seat()
            if seat is None:
                return None
            self._changed.clear()
            if (case := self._ready(take, seat)) is not None:
                return case
            self._limiter.free_seat(seat)
            if not self._under_way and not self._parked:
                return None
            if await self._stop.cuts_short(self._change(self._soonest_s())):
                return None

    async def _seat(self) -> Seat | None:
        """Wait for a seat for one more item; None once the run stops."""
        seat = await self._limiter.take_seat()
        if self._stop.asked:
            self._limiter.free_seat(seat)
            return None
        return seat

    def _ready(self, take: Take, seat: Seat) -> _Case[FinishedT] | None:
        """The next item that is ready: a fresh one, else one that was parked for long enough.

        No fresh one while too many are parked: they have to be kept.
        """
        is_full = len(self._parked) >= self._limiter.max_open
        if not is_full and (item := self._taken(take)) is not None:
            return _Case(item, seat)
        now_s = self._clock.monotonic_s()
        for number, case in enumerate(self._parked):
            if case.ready_s <= now_s or self._limiter.is_out(case.item.model):
                del self._parked[number]
                case.seat = seat
                return case
        return None

    def _taken(self, take: Take) -> Item | None:
        """The next item, if one is ready and can be read."""
        try:
            return take()
        except Exception as defect:  # noqa: BLE001 - raised again by run, when all have ended
            self._broke(defect)
            return None

    def _soonest_s(self) -> float | None:
        """Seconds until the first parked item is ready; None if there is none."""
        now_s = self._clock.monotonic_s()
        return min((case.ready_s - now_s for case in self._parked), default=None)

    async def _change(self, within_s: float | None = None) -> None:
        """Wait until an item has ended, or been parked, but no longer than so many seconds."""
        if within_s is None:
            await self._changed.wait()
            return
        await self._clock.wait_within(self._changed.wait(), within_s)

    async def _finish(self, case: _Case[FinishedT]) -> None:
        try:
            end = await self._with_retries(case)
        except Exception as defect:  # noqa: BLE001 - raised again by run, when all have ended
            self._broke(defect)
            self._closed()
        else:
            if end is None:
                self._parked.append(case)
                self._closed()
            else:
                self._ends.put_nowait(end)

    def _broke(self, defect: Exception) -> None:
        """Keep the first defect, even where the run was already stopping for another reason."""
        self._defect = self._defect or defect
        told = str(defect) if isinstance(defect, BatchgenError) else repr(defect)
        self._stop.ask(told, defect)

    async def _with_retries(self, case: _Case[FinishedT]) -> FinishedT | None:
        """Call until the item is done, given up, parked (None), or the run stops.

        The first seat is held. Each turn of a conversation has retries of its own, and takes a
        seat of its own.
        """
        while True:
            case.n += 1
            self._limiter.assign(case.seat, case.item.model)
            try:
                called = await self._call(case)
            finally:
                self._limiter.free_seat(case.seat)
            case.end = called.end
            match called.verdict:
                case _ if called.goes_on:
                    case.tries, case.n = Tries(), 0
                case Again() as again if called.error is not None:
                    if again.is_charged:
                        case.tries = case.tries.after(called.error)
                    if again.is_parked and not self._limiter.is_out(case.item.model):
                        case.ready_s = self._clock.monotonic_s() + again.after_s
                        return None
                    if await self._waits(case, again.after_s):
                        return called.end
                case _:
                    return called.end
            seat = await self._seat()
            if seat is None:
                return called.end
            case.seat = seat

    async def _waits(self, case: _Case[FinishedT], wait_s: float) -> bool:
        """Wait for the next attempt; True if the run stops."""
        self._n_retrying += 1
        try:
            return await self._stop.cuts_short(self._limiter.back_off(case.item.model, wait_s))
        finally:
            self._n_retrying -= 1

    async def _call(self, case: _Case[FinishedT]) -> _Called[FinishedT]:
        """Make one attempt and write it down, even when it is cancelled meanwhile."""
        attempted = await self._journey.attempt(case.item, case.n)
        cancelled = _is_cancelled()
        error = attempted.error
        verdict = None if error is None else self._decide(error, case)
        why = verdict.why if isinstance(verdict, GiveUp) else None
        decision = self._decision(error, verdict)
        end = await to_the_end(self._journey.record(attempted, decision, why))
        if cancelled:
            raise asyncio.CancelledError
        goes_on = error is None and self._journey.goes_on(attempted)
        return _Called(error, verdict, end, goes_on)

    def _decide(self, error: AttemptError, case: _Case[FinishedT]) -> Verdict:
        is_shared = self._limiter.is_shared(case.item.model)
        return decide(error, case.tries, self._retries, self._rng, is_shared=is_shared)

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
            case Later(why):
                self.later = self.later or f"an item was {why}; run again then"
                return "retry"
            case GiveUp():
                return "failed"
            case StopRun(why):
                self._stop.ask(why, error)
                return "stop"
            case unknown:
                assert_never(unknown)


def _is_cancelled() -> bool:
    """Whether the present task was cancelled, though what it waited for gave a value."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Run bookkeeping to its end, however often the caller is cancelled meanwhile.

    The cancellation is not passed on: the caller looks after it when the work is done.
    """
    task = asyncio.create_task(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    return task.result()
