"""How much is under way and how fast it leaves, in virtual time."""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left

import pytest
from aiolimiter import AsyncLimiter

from batchgen.limits import AUTO_CONCURRENCY, Limiter, Limits
from tests import virtual_time


def departures(rpm: float, count: int, concurrency: int, latency_s: float) -> list[float]:
    """When each of so many requests left."""
    rng = random.Random(3)
    left_at: list[float] = []

    async def main() -> None:
        limiter = Limiter(Limits(concurrency=concurrency, rpm=rpm))

        async def worker() -> None:
            while len(left_at) + limiter_waiting[0] < count:
                limiter_waiting[0] += 1
                await limiter.take_slot()
                async with limiter.paced("m"):
                    limiter_waiting[0] -= 1
                    left_at.append(virtual_time.now_s())
                    await asyncio.sleep(rng.uniform(0, 2 * latency_s))
                limiter.free_slot()

        limiter_waiting = [0]
        await asyncio.gather(*(worker() for _ in range(concurrency)))

    virtual_time.run(main())
    return left_at


def fullest_window(times: list[float], window_s: float) -> int:
    """The most departures in any half-open window of this length; the first window included."""
    return max(bisect_left(times, start + window_s) - n for n, start in enumerate(times))


@pytest.mark.parametrize("rpm", [1, 7, 60, 1000])
def test_no_minute_holds_more_than_the_limit_and_nearly_all_of_it_is_used(rpm: int) -> None:
    count = 3000 if rpm >= 60 else 50 * rpm
    times = departures(rpm, count, concurrency=max(4, rpm // 4), latency_s=10)
    assert len(times) == count
    assert times == sorted(times)
    assert fullest_window(times, 60) <= rpm
    used = (count - 1) / ((times[-1] - times[0]) / 60)
    assert used >= 0.97 * rpm


def test_a_bucket_of_a_minutes_worth_would_let_it_through_nearly_twice() -> None:
    left_at: list[float] = []

    async def main() -> None:
        bucket = AsyncLimiter(60, 60)
        for _ in range(150):
            await bucket.acquire()
            left_at.append(virtual_time.now_s())

    virtual_time.run(main())
    assert fullest_window(left_at, 60) >= 119


def test_the_first_requests_do_not_leave_in_a_burst() -> None:
    times = departures(60, 60, concurrency=60, latency_s=1)
    assert fullest_window(times, 1) == 1
    assert fullest_window(times, 10) <= 10


def test_after_a_pause_requests_do_not_leave_in_a_burst() -> None:
    async def main() -> list[float]:
        limiter = Limiter(Limits(concurrency=50, rpm=60))
        left_at = []
        for pause_s in (0, 600, *[0] * 40):
            await asyncio.sleep(pause_s)
            async with limiter.paced("m"):
                left_at.append(virtual_time.now_s())
        return left_at

    assert fullest_window(virtual_time.run(main()), 60) <= 60


def test_each_model_has_a_pace_of_its_own() -> None:
    async def main() -> float:
        limiter = Limiter(Limits(rpm=6))
        for model in ("a", "b", "c"):
            async with limiter.paced(model):
                pass
        return virtual_time.now_s()

    assert virtual_time.run(main()) < 1


def test_without_a_rate_nothing_is_paced() -> None:
    assert departures(10**9, 200, concurrency=8, latency_s=0)[-1] < 1

    async def main() -> float:
        limiter = Limiter(Limits())
        for _ in range(1000):
            async with limiter.paced("m"):
                pass
        return virtual_time.now_s()

    assert virtual_time.run(main()) < 0.1


def test_slots_are_handed_out_in_order_of_arrival() -> None:
    async def main() -> list[int]:
        limiter = Limiter(Limits(concurrency=2))
        got: list[int] = []

        async def worker(number: int) -> None:
            await limiter.take_slot()
            got.append(number)
            await asyncio.sleep(1)
            limiter.free_slot()

        await asyncio.gather(*(worker(number) for number in range(20)))
        return got

    assert virtual_time.run(main()) == list(range(20))


def test_a_call_that_is_cancelled_while_it_is_paced_costs_no_place() -> None:
    async def main() -> tuple[int, float]:
        limiter = Limiter(Limits(concurrency=3, rpm=6))

        async def call() -> None:
            async with limiter.paced("m"):
                await asyncio.sleep(100)

        calls = [asyncio.create_task(call()) for _ in range(3)]
        await asyncio.sleep(1)
        for one in calls:
            one.cancel()
        await asyncio.wait(calls)
        async with limiter.paced("m"):
            return limiter.n_in_flight, virtual_time.now_s()

    n_in_flight, left_at = virtual_time.run(main())
    assert n_in_flight == 1
    assert left_at == pytest.approx(10 / 0.99, abs=0.1)


def test_the_peak_and_the_bound_on_open_items_are_known() -> None:
    async def main() -> Limiter:
        limiter = Limiter(Limits(concurrency=5))

        async def call() -> None:
            async with limiter.paced("m"):
                await asyncio.sleep(1)

        await asyncio.gather(call(), call(), call())
        return limiter

    limiter = virtual_time.run(main())
    assert (limiter.n_in_flight, limiter.peak, limiter.max_open) == (0, 3, 36)
    assert "0/5" in repr(limiter)


def test_auto_is_a_number() -> None:
    async def main() -> int:
        return Limiter(Limits()).concurrency

    assert virtual_time.run(main()) == AUTO_CONCURRENCY
