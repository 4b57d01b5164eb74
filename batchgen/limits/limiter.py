"""Lets requests leave: never more at once, never faster than the job and the service allow.

take_seat            one for each item that is about to be sent, so that few are prepared ahead
departure            waits at the lane of the model, in order of arrival; then it is in flight
  ├── the run        is not stopping; the first request of a run goes alone
  ├── the lane       is open: no pause for all, no limit reached (see `lane`)
  └── the pace       of `rpm`, evenly, one at a time
heard                what a request came to, before the next one leaves
"""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from batchgen.clock import Clock
from batchgen.errors import AttemptError
from batchgen.events import Cooling
from batchgen.limits.lane import Call, Lane, Out, Step, all_steps
from batchgen.limits.settings import Limits
from batchgen.limits.windows import NO_DEMAND, SAFETY, Demand, Wait
from batchgen.stop import Stop

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter

_MINUTE_S: Final = 60.0
_SAME_MOMENT_S: Final = 0.01
# A busy loop wakes late: by 2 ms each time, which at 25 requests a second are a twentieth of the
# pace. So a fast one makes up for what it is late, by half an interval at most.
_FAST_PER_S: Final = 5.0
_MADE_UP: Final = 0.5


@dataclass(slots=True, eq=False)
class Seat:
    """A place for one item that is about to be sent; its lane, once its model is known."""

    lane: Lane | None = None


@dataclass(slots=True)
class _Wakeable:
    """Something that many wait for a change of. None is lost: who looks notes the version first."""

    version: int = 0
    _event: asyncio.Event = field(default_factory=asyncio.Event)

    def changed(self) -> None:
        """Wake all who wait."""
        self.version += 1
        self._event.set()
        self._event = asyncio.Event()

    async def after(self, version: int) -> None:
        """Wait for a change since this version was looked at."""
        while self.version == version:
            await self._event.wait()


def _even_pace(per_s: float) -> "AsyncLimiter":
    """One at a time: a bucket of one, for `AsyncLimiter(60, 60)` lets 119 through at first."""
    from aiolimiter import AsyncLimiter  # noqa: PLC0415 - few jobs say how fast

    depth = 1 + _MADE_UP * (per_s > _FAST_PER_S)
    return AsyncLimiter(depth, depth / per_s)


class Limiter:
    """The ways to the service, one lane a model. Created inside the running loop."""

    def __init__(
        self,
        limits: Limits,
        *,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        patience_s: float = math.inf,
        longest_pause_s: float = 600.0,
        on_out: Callable[[str, Out], None] | None = None,
    ) -> None:
        """Start with nothing under way.

        Args:
            limits: What may be asked of the service.
            clock: Time.
            rng: Chance, for jitter.
            patience_s: So long may nothing but refusals come from a model before it is given up.
            longest_pause_s: No pause that nobody asked for is longer.
            on_out: Told once of each model that is given up.
        """
        self._limits = limits
        self._clock = clock or Clock()
        self._rng = rng or random.Random()
        self._patience_s = patience_s
        self._longest_pause_s = longest_pause_s
        self._on_out = on_out
        self._began_s = self._clock.monotonic_s()
        self._lanes: dict[str, Lane] = {}
        self._doors: dict[str, asyncio.Lock] = {}
        self._paces: dict[str, AsyncLimiter] = {}
        self._told_out: set[str] = set()
        self._n_seats = 0
        self._held: dict[str, tuple[float, str]] = {}  # until when a door is held, and why
        self._queue = asyncio.Lock()
        self._state = _Wakeable()
        self.n_in_flight = 0
        self.peak = 0

    # --- seats --------------------------------------------------------------------------------

    @property
    def concurrency(self) -> int:
        """How many requests may be in flight by now, over all models."""
        bounds = self._limits.concurrency
        found = sum(lane.adaptive.limit for lane in self._lanes.values() if lane.out is None)
        return min(bounds.highest, max(found, bounds.start if not self._lanes else 1))

    @property
    def max_open(self) -> int:
        """How many items may be open, waiting retries included."""
        return 4 * self.concurrency + 16

    async def take_seat(self) -> Seat:
        """Wait for a seat, in order of arrival."""
        async with self._queue:
            while True:
                version = self._state.version
                if self._n_seated() < self.concurrency:
                    break
                await self._until(self._soonest_s(), version)
            self._n_seats += 1
            return Seat()

    def assign(self, seat: Seat, model: str) -> None:
        """Say which model a seat is for: while that one has no room, it holds up nobody else."""
        seat.lane = self._lane(model)
        seat.lane.n_seats += 1
        self._state.changed()

    def free_seat(self, seat: Seat) -> None:
        """Give a seat back."""
        self._n_seats -= 1
        if seat.lane is not None:
            seat.lane.n_seats -= 1
            seat.lane = None
        self._state.changed()

    def _n_seated(self) -> int:
        """How many seats count: of a model no more than may be in flight by now."""
        now_s = self._clock.monotonic_s()
        n_idle = sum(
            max(0, lane.n_seats - self._room(lane, now_s)) for lane in self._lanes.values()
        )
        return self._n_seats - n_idle

    def _room(self, lane: Lane, now_s: float) -> int:
        until_s, _ = self._held[lane.model]
        if now_s < max(until_s, lane.cools_until_s):
            return lane.n_in_flight
        # With one model alone nobody else wants the seats of those that wait for its first answer.
        return lane.room if len(self._lanes) > 1 else lane.n_seats

    def _soonest_s(self) -> float:
        """Seconds until the first model has room again."""
        now_s = self._clock.monotonic_s()
        waits = (
            max(lane.cools_until_s, self._held[lane.model][0]) - now_s
            for lane in self._lanes.values()
            if lane.out is None
        )
        return min((wait_s for wait_s in waits if wait_s > 0), default=math.inf)

    # --- departures ---------------------------------------------------------------------------

    @asynccontextmanager
    async def departure(
        self,
        model: str,
        demand: Demand = NO_DEMAND,
        *,
        item_id: str = "",
        attempt: int = 1,
        stop: Stop | None = None,
    ) -> AsyncIterator[Call | None]:
        """Wait until a request may leave, and count it while it is under way.

        Yields None if nothing may leave any more: the run stops, or the model is given up.
        """
        call = await self._leave(model, demand, item_id, attempt, stop or Stop())
        if call is None:
            yield None
            return
        try:
            yield call
        finally:
            self.n_in_flight -= 1
            self._lane(model).arrived(call)
            self._state.changed()

    async def _leave(
        self, model: str, demand: Demand, item_id: str, attempt: int, stop: Stop
    ) -> Call | None:
        lane = self._lane(model)
        async with self._doors[model]:
            while not stop.asked:
                version = self._state.version
                lane.look_at_the_day(self._clock.now())
                self._tell_out(lane)
                if lane.out is not None:
                    return None
                wait = self._wait(lane, demand)
                if wait.for_s > 0:
                    self._hold(lane, wait)
                    await stop.cuts_short(self._until(wait.for_s, version))
                elif model not in self._paces or not await self._paced(lane, demand, stop):
                    return self._left(lane, demand, item_id, attempt)
        return None

    def _left(self, lane: Lane, demand: Demand, item_id: str, attempt: int) -> Call:
        self.n_in_flight += 1
        self.peak = max(self.peak, self.n_in_flight)
        now_s, now = self._clock.monotonic_s(), self._clock.now()
        return lane.leave(now_s, now, item_id, attempt, demand)

    async def _paced(self, lane: Lane, demand: Demand, stop: Stop) -> bool:
        """Wait for the pace; whether something else has come in the way meanwhile."""
        if await stop.cuts_short(self._paces[lane.model].acquire()):
            return True
        return self._wait(lane, demand).for_s > 0 or lane.out is not None

    def _wait(self, lane: Lane, demand: Demand) -> Wait:
        if self.n_in_flight and not self._is_proven:
            return Wait(math.inf)
        if self.n_in_flight >= self._limits.concurrency.highest:
            return Wait(math.inf)
        return lane.wait(self._clock.monotonic_s(), self._clock.now(), demand)

    def _hold(self, lane: Lane, wait: Wait) -> None:
        """Note what holds the door of a model, for those behind it and for those who watch."""
        if not wait.why or math.isinf(wait.for_s):
            return
        until_s = self._clock.monotonic_s() + wait.for_s
        was_until_s, _ = self._held[lane.model]
        self._held[lane.model] = (until_s, wait.why)
        if abs(until_s - was_until_s) > _SAME_MOMENT_S:
            self._state.changed()

    @property
    def _is_proven(self) -> bool:
        """A request has shown that key and address are right: the others may follow."""
        return any(lane.is_proven for lane in self._lanes.values())

    async def _until(self, wait_s: float, version: int) -> None:
        """Wait for a change since this version, but no longer than so many seconds."""
        if math.isinf(wait_s):
            await self._state.after(version)
            return
        await self._clock.wait_within(self._state.after(version), wait_s)

    # --- what came of them --------------------------------------------------------------------

    def heard(self, call: Call, error: AttemptError | None) -> float:
        """Learn from what a request came to, before the next one leaves.

        Returns:
            For how many seconds nothing leaves to the model because of it; 0 if that changes
            nothing, or if nothing leaves there any more in this run.
        """
        lane, now_s = self._lane(call.model), self._clock.monotonic_s()
        before_s = lane.cools_until_s
        lane.heard(call, error, now_s)
        self._tell_out(lane)
        self._state.changed()
        is_longer = lane.cools_until_s > before_s and lane.out is None
        return max(0.0, lane.cools_until_s - now_s) if is_longer else 0.0

    def sent(self, call: Call) -> None:
        """A request leaves only now: what had to be written first has taken its time."""
        if self._lane(call.model).sent(call, self._clock.monotonic_s()):
            self._state.changed()

    def settle(
        self, call: Call, *, tokens: int | None, n_images: int | None, usd: Decimal | None
    ) -> None:
        """Count what a request really took of the limits; None where that is not known."""
        self._lane(call.model).settle(call, tokens=tokens, n_images=n_images, usd=usd)
        self._state.changed()

    def recall(self, model: str, at: datetime, demand: Demand) -> None:
        """Count a request that left before this run; they come in the order of time."""
        age_s = max(0.0, (self._clock.now() - at).total_seconds())
        at_s = self._clock.monotonic_s() - age_s
        self._lane(model).recall(at_s, at, demand)

    def is_shared(self, model: str) -> bool:
        """Whether everybody sees the failures of a model, so that no item is to blame."""
        return self._lane(model).trouble.is_shared

    def is_out(self, model: str) -> bool:
        """Whether nothing goes to a model any more."""
        lane = self._lanes.get(model)
        return lane is not None and lane.out is not None

    async def back_off(self, model: str, wait_s: float) -> None:
        """Wait for the next try, but no longer than until the model is given up."""
        until_s = self._clock.monotonic_s() + wait_s
        while not self.is_out(model):
            version = self._state.version
            left_s = until_s - self._clock.monotonic_s()
            if left_s <= 0:
                return
            await self._until(left_s, version)

    def _tell_out(self, lane: Lane) -> None:
        if lane.out is not None and lane.model not in self._told_out:
            self._told_out.add(lane.model)
            if self._on_out is not None:
                self._on_out(lane.model, lane.out)

    def _lane(self, model: str) -> Lane:
        lane = self._lanes.get(model)
        if lane is None:
            lane = self._lanes[model] = Lane(
                model,
                self._limits,
                patience_s=self._patience_s,
                longest_pause_s=self._longest_pause_s,
                rng=self._rng,
                began_s=self._began_s,
            )
            self._doors[model] = asyncio.Lock()
            self._held[model] = (-math.inf, "")
            if self._limits.rpm is not None:
                self._paces[model] = _even_pace(self._limits.rpm * SAFETY / _MINUTE_S)
        return lane

    # --- to be told ---------------------------------------------------------------------------

    @property
    def cooling(self) -> tuple[Cooling, ...]:
        """The models to which nothing leaves for a while."""
        now_s = self._clock.monotonic_s()
        told = []
        for model, lane in self._lanes.items():
            until_s, why = max(self._held[model], (lane.cools_until_s, lane.cools_why))
            if until_s > now_s and lane.out is None:
                told.append(Cooling(model, until_s - now_s, why))
        return tuple(told)

    @property
    def history(self) -> list[Step]:
        """How the limits changed, in the order of time."""
        return all_steps(list(self._lanes.values()))

    def __repr__(self) -> str:
        """Show what is under way."""
        lanes: Mapping[str, Any] = {name: lane.adaptive for name, lane in self._lanes.items()}
        return f"<Limiter {self.n_in_flight}/{self.concurrency}, peak {self.peak}, {lanes}>"
