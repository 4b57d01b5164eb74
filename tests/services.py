"""Services with limits of their own, as models in virtual time: what they let through is counted.

They share nothing with the product; what they say is what its limits have to find out.
"""

from __future__ import annotations

import asyncio
import math
import random
from bisect import bisect_left
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from batchgen.errors import AttemptError, RateLimited
from batchgen.limits import NO_DEMAND, Call, Concurrency, Demand, Limiter, Limits
from tests import virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Service(Protocol):
    """Says to a request that arrives whether it is taken, and else how long to wait, if it tells.

    `per_s` is the most that it lets through.
    """

    @property
    def per_s(self) -> float: ...

    def asks(self, now_s: float, n_in_flight: int) -> tuple[bool, float | None]: ...


@dataclass
class SlidingWindow:
    """At most `n` requests in any `span_s` seconds."""

    n: int
    span_s: float = 60.0
    tells: bool = True
    taken_s: deque[float] = field(default_factory=deque)

    @property
    def per_s(self) -> float:
        return self.n / self.span_s

    def asks(self, now_s: float, _n_in_flight: int) -> tuple[bool, float | None]:
        while self.taken_s and self.taken_s[0] <= now_s - self.span_s:
            self.taken_s.popleft()
        if len(self.taken_s) < self.n:
            self.taken_s.append(now_s)
            return True, None
        return False, math.ceil(self.taken_s[0] + self.span_s - now_s) if self.tells else None


@dataclass
class FixedWindow:
    """At most `n` requests in each `span_s` seconds of the clock."""

    n: int
    span_s: float = 60.0
    tells: bool = True
    number: int = -1
    n_taken: int = 0

    @property
    def per_s(self) -> float:
        return self.n / self.span_s

    def asks(self, now_s: float, _n_in_flight: int) -> tuple[bool, float | None]:
        number = int(now_s // self.span_s)
        if number != self.number:
            self.number, self.n_taken = number, 0
        if self.n_taken < self.n:
            self.n_taken += 1
            return True, None
        return False, math.ceil((number + 1) * self.span_s - now_s) if self.tells else None


@dataclass
class Bucket:
    """`per_s` requests a second, and up to `burst` that were not used before."""

    per_s: float
    burst: float
    tells: bool = True
    tokens: float = math.inf
    filled_s: float = 0.0

    def asks(self, now_s: float, _n_in_flight: int) -> tuple[bool, float | None]:
        gained = (now_s - self.filled_s) * self.per_s
        self.tokens, self.filled_s = min(self.burst, self.tokens + gained), now_s
        if self.tokens >= 1:
            self.tokens -= 1
            return True, None
        return False, math.ceil((1 - self.tokens) / self.per_s) if self.tells else None


@dataclass
class AtOnce:
    """At most `n` requests in flight."""

    n: int
    latency_s: float

    @property
    def per_s(self) -> float:
        return self.n / self.latency_s

    def asks(self, _now_s: float, n_in_flight: int) -> tuple[bool, float | None]:
        return n_in_flight <= self.n, None


@dataclass
class Load:
    """Many requests put through a limiter to a service, and what came of them."""

    limits: Limits
    service: Service | None = None
    latency_s: tuple[float, float] = (1.0, 1.0)
    n: int = 2000
    n_workers: int = 100
    fails: Callable[[float], AttemptError | None] = lambda _now_s: None
    demand: Callable[[int], Demand] = lambda _n: Demand()
    seed: int = 1
    left_s: Sequence[float] = ()  # when requests of earlier runs left, on the clock of this one
    taken_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    n_in_flight: int = 0
    peak: int = 0

    def run(self) -> Limiter:
        """Send until all were taken, in virtual time."""
        return virtual_time.run(self.main())

    async def main(self) -> Limiter:
        """The same inside a running loop."""
        rng = random.Random(self.seed)
        limiter = Limiter(self.limits, clock=virtual_time.clock(), rng=rng)
        for at_s in self.left_s:
            limiter.recall("m", virtual_time.START + timedelta(seconds=at_s), NO_DEMAND)
        left = list(range(self.n))
        n_tried: Counter[int] = Counter()

        async def worker() -> None:
            while left:
                one = left.pop()
                n_tried[one] += 1
                if not await self._send(limiter, one, n_tried[one], rng):
                    left.append(one)

        await asyncio.gather(*(worker() for _ in range(self.n_workers)))
        return limiter

    async def _send(self, limiter: Limiter, one: int, attempt: int, rng: random.Random) -> bool:
        async with limiter.departure(
            "m", self.demand(one), item_id=str(one), attempt=attempt
        ) as call:
            assert call is not None
            error = await self._answer(rng)
            limiter.heard(call, error)
            self._settle(limiter, call, one)
            return error is None

    def _settle(self, limiter: Limiter, call: Call, one: int) -> None:
        limiter.settle(call, tokens=self.demand(one).tokens, n_images=1, usd=self.demand(one).usd)

    async def _answer(self, rng: random.Random) -> AttemptError | None:
        now_s = virtual_time.now_s()
        self.n_in_flight += 1
        self.peak = max(self.peak, self.n_in_flight)
        try:
            if self.service is not None:
                is_taken, told_s = self.service.asks(now_s, self.n_in_flight)
                if not is_taken:
                    self.refused_s.append(now_s)
                    await asyncio.sleep(0.01)
                    return RateLimited("too many", wait_s=told_s)
            if (error := self.fails(now_s)) is not None:
                self.refused_s.append(now_s)
                await asyncio.sleep(0.01)
                return error
            self.taken_s.append(now_s)
            await asyncio.sleep(rng.uniform(*self.latency_s))
            return None
        finally:
            self.n_in_flight -= 1

    @property
    def share_refused(self) -> float:
        """The share of requests that the service refused."""
        return len(self.refused_s) / (len(self.refused_s) + len(self.taken_s))

    def used(self, first: float = 0.2) -> float:
        """What was let through of what might have been, after the first share of the run."""
        assert self.service is not None
        begin = int(len(self.taken_s) * first)
        span_s = self.taken_s[-1] - self.taken_s[begin]
        return (len(self.taken_s) - begin - 1) / (span_s * self.service.per_s)


def fullest(times: list[float], span_s: float) -> int:
    """The most of these in any half-open span of this length, the first included."""
    return max((bisect_left(times, at + span_s) - n for n, at in enumerate(times)), default=0)


def at_most(n: int) -> Concurrency:
    """So many at once."""
    return Concurrency.at_most(n)
