"""How much is under way and how fast it leaves, in virtual time."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from decimal import Decimal

import pytest
from aiolimiter import AsyncLimiter

from batchgen.errors import AttemptError, RateLimited
from batchgen.limits import AUTO, Concurrency, Demand, Limiter, Limits, Out, read_concurrency
from batchgen.limits.windows import Window
from tests import virtual_time
from tests.services import Load, at_most, fullest

Tried = Callable[[str, int, str], None]


def limiter_of(**limits: object) -> Limiter:
    return Limiter(Limits(**limits), clock=virtual_time.clock())  # type: ignore[arg-type]


# --- what the job says --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "bounds"),
    [
        ("auto", AUTO),
        ("1", (1, 1, 1)),
        (" 32 ", (1, 32, 32)),
        ("2-16", (2, 2, 16)),
        ("8-8", (8, 8, 8)),
        *[(bad, None) for bad in ("0", "-4", "4-", "9-3", "0-3", "1-2-3", "", "x", "²", "1.5")],
    ],
)
def test_a_concurrency_is_auto_a_number_or_two_bounds(
    written: str, bounds: Concurrency | tuple[int, int, int] | None
) -> None:
    expected = Concurrency(*bounds) if isinstance(bounds, tuple) else bounds
    assert read_concurrency(written) == expected


# --- a configured rate --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rpm", "n"), [(1, 50), (7, 350), (60, 3000), (1000, 10_000), (6000, 10_000)]
)
def test_no_minute_holds_more_than_the_limit_and_nearly_all_of_it_is_used(
    rpm: int, n: int, tried: Tried
) -> None:
    load = Load(Limits(concurrency=at_most(64), rpm=rpm), n=n, latency_s=(0.0, 0.4))
    load.run()
    times = load.taken_s
    assert len(times) == n
    # The first request goes alone; the pace is looked at from the second on.
    used = (n - 2) / ((times[-1] - times[1]) / 60)
    assert used >= 0.97 * rpm
    assert fullest(times, 60) <= rpm
    assert load.peak <= 64
    tried("P38", n, "requests")


@pytest.mark.parametrize("rpm", [60, 600, 6000])
def test_no_minute_holds_more_than_the_limit_however_often_the_run_is_begun_anew(
    rpm: int, tried: Tried
) -> None:
    rng = random.Random(rpm)
    runs: list[int] = []
    times: list[float] = []  # on the clock of the run that comes next
    while sum(runs) < 2_000:
        runs.append(rng.randint(1, 400))
        limits = Limits(concurrency=at_most(64), rpm=rpm)
        load = Load(limits, n=runs[-1], latency_s=(0.0, 0.4), left_s=times, seed=len(runs))
        load.run()
        later_s = load.taken_s[-1] + rng.uniform(0, 3)
        # The ledger has whole milliseconds.
        times = [math.floor(1000 * (at_s - later_s)) / 1000 for at_s in [*times, *load.taken_s]]
    assert len(times) == sum(runs)
    assert fullest(times, 60) <= rpm
    tried("P38", len(times), "requests over restarts")


def test_a_busy_loop_costs_a_fast_pace_next_to_nothing() -> None:
    n = 2000
    load = Load(Limits(concurrency=at_most(64), rpm=1500), n=n, latency_s=(0.0, 0.4))

    async def works_meanwhile() -> None:
        while len(load.taken_s) < n:
            await asyncio.sleep(0.004)
            virtual_time.work(0.009)

    async def main() -> None:
        await asyncio.gather(load.main(), works_meanwhile())

    virtual_time.run(main())
    times = load.taken_s
    assert (n - 2) / ((times[-1] - times[1]) / 60) >= 0.98 * 1500
    assert fullest(times, 60) <= 1500


def test_a_bucket_of_a_minutes_worth_would_let_it_through_nearly_twice() -> None:
    left_at: list[float] = []

    async def main() -> None:
        bucket = AsyncLimiter(60, 60)
        for _ in range(150):
            await bucket.acquire()
            left_at.append(virtual_time.now_s())

    virtual_time.run(main())
    assert fullest(left_at, 60) >= 119


def test_requests_leave_one_by_one_at_the_start_and_after_a_pause() -> None:
    async def main() -> list[float]:
        limiter = limiter_of(concurrency=at_most(50), rpm=60)
        left_at = []
        for pause_s in (*[0] * 40, 600, *[0] * 40):
            await asyncio.sleep(pause_s)
            async with limiter.departure("m") as call:
                assert call is not None
                left_at.append(virtual_time.now_s())
                limiter.heard(call, None)
        return left_at

    left_at = virtual_time.run(main())
    assert fullest(left_at, 1) == 1
    assert fullest(left_at, 60) <= 60


def test_each_model_has_a_rate_of_its_own() -> None:
    async def main() -> float:
        limiter = limiter_of(rpm=6)
        for model in ("a", "b", "c"):
            async with limiter.departure(model):
                pass
        return virtual_time.now_s()

    assert virtual_time.run(main()) < 1


def test_what_left_in_an_earlier_run_counts() -> None:
    async def main() -> tuple[float, float]:
        limiter = limiter_of(rpm=3)
        now = virtual_time.clock().now()
        for age_s in (50, 30, 10):
            limiter.recall("m", now - timedelta(seconds=age_s), Demand())
        left_at = []
        for _ in range(2):
            async with limiter.departure("m") as call:
                assert call is not None
                left_at.append(virtual_time.now_s())
                limiter.heard(call, None)
        return left_at[0], left_at[1]

    first_s, second_s = virtual_time.run(main())
    assert 10 <= first_s <= 11
    assert 30 <= second_s <= 32


def test_tokens_are_reserved_before_and_settled_after() -> None:
    async def main() -> list[float]:
        limiter = limiter_of(concurrency=at_most(9), tpm=1000)
        left_at = []
        for told, really in ((600, 200), (700, 700), (100, 100), (900, 900)):
            async with limiter.departure("m", Demand(told)) as call:
                assert call is not None
                left_at.append(virtual_time.now_s())
                limiter.heard(call, None)
                limiter.settle(call, tokens=really, n_images=1, usd=None)
        return left_at

    # 200 + 700 + 100 fit into one minute, although 600 + 700 would not have.
    assert [round(at_s) for at_s in virtual_time.run(main())] == [0, 0, 0, 61]


def test_a_large_request_is_not_overtaken_for_ever_by_small_ones() -> None:
    async def main() -> dict[int, float]:
        limiter = limiter_of(concurrency=at_most(99), tpm=1000)
        left_at: dict[int, float] = {}

        async def call(number: int, tokens: int) -> None:
            async with limiter.departure("m", Demand(tokens)) as one:
                assert one is not None
                left_at[number] = virtual_time.now_s()
                limiter.heard(one, None)

        await call(0, 100)
        sizes = [100, 100, 900, *[100] * 30]
        await asyncio.gather(*(call(n, size) for n, size in enumerate(sizes, 1)))
        return left_at

    left_at = virtual_time.run(main())
    assert left_at[3] <= 61
    assert all(left_at[n] >= left_at[3] for n in range(4, 34))


def test_what_is_larger_than_a_whole_limit_leaves_when_nothing_else_has() -> None:
    async def main() -> list[float]:
        limiter = limiter_of(tpm=1000)
        left_at = []
        for tokens in (300, 5000, 300):
            async with limiter.departure("m", Demand(tokens)) as call:
                assert call is not None
                left_at.append(virtual_time.now_s())
                limiter.heard(call, None)
        return left_at

    assert [round(at_s) for at_s in virtual_time.run(main())] == [0, 61, 121]


@pytest.mark.parametrize("seed", range(3))
def test_no_minute_holds_more_tokens_images_or_money_than_the_job_allows(seed: int) -> None:
    rng = random.Random(seed)
    sizes = [rng.randint(1, 4000) for _ in range(600)]
    limits = Limits(concurrency=at_most(32), tpm=20_000, ipm=25, usd_per_10min=Decimal(15))
    load = Load(
        limits,
        n=600,
        latency_s=(0, 20),
        demand=lambda n: Demand(sizes[n], Decimal(sizes[n]) / 10_000),
    )
    load.run()
    order = list(reversed(range(600)))
    sent = [(at_s, sizes[n]) for at_s, n in zip(load.taken_s, order, strict=True)]
    for span_s, most, amount in ((60, 20_000, 1.0), (600, 15, 1 / 10_000)):
        for number, (at_s, _) in enumerate(sent):
            inside = [size for when_s, size in sent[number:] if when_s < at_s + span_s]
            assert sum(inside) * amount <= most + 1e-6
    assert fullest(load.taken_s, 60) <= 25


def test_the_requests_of_a_day_are_counted_over_runs_and_come_back_at_midnight_pacific() -> None:
    told: list[Out] = []

    async def main() -> tuple[bool, float, list[Out]]:
        clock = virtual_time.clock()  # 03:00 UTC, which is 19:00 the day before in California
        patient = Limiter(Limits(rpd=3), clock=clock)
        hasty = Limiter(
            Limits(rpd=3), clock=clock, patience_s=1800, on_out=lambda _, out: told.append(out)
        )
        for limiter in (patient, hasty):
            limiter.recall("m", clock.now() - timedelta(hours=26), Demand())
            for _ in range(2):
                limiter.recall("m", clock.now() - timedelta(hours=1), Demand())
            async with limiter.departure("m") as call:
                assert call is not None
                limiter.heard(call, None)
        async with hasty.departure("m") as call:
            is_out = call is None
        assert hasty.is_out("m")
        async with patient.departure("m") as call:
            return is_out, virtual_time.now_s(), told

    is_out, left_s, [out] = virtual_time.run(main())
    assert is_out
    assert (out.exit_code, out.fails) == (7, False)
    assert out.reason.startswith("limits.rpd: the requests of today to m are used up; there are")
    assert left_s == pytest.approx(5 * 3600, abs=1)


# --- seats and departures -----------------------------------------------------------------------


def test_seats_are_handed_out_in_order_of_arrival() -> None:
    async def main() -> list[int]:
        limiter = limiter_of(concurrency=at_most(2))
        got: list[int] = []

        async def worker(number: int) -> None:
            seat = await limiter.take_seat()
            got.append(number)
            await asyncio.sleep(1)
            limiter.free_seat(seat)

        await asyncio.gather(*(worker(number) for number in range(20)))
        return got

    assert virtual_time.run(main()) == list(range(20))


def test_the_first_request_goes_alone_and_the_others_follow_once_it_shows_that_all_is_right() -> (
    None
):
    load = Load(Limits(concurrency=at_most(8)), n=40, latency_s=(10, 10), n_workers=8)
    limiter = load.run()
    assert [round(at_s) for at_s in load.taken_s[:9]] == [0, *[10] * 8]
    assert limiter.peak == 8


def test_each_model_has_a_first_request_of_its_own() -> None:
    async def main() -> dict[str, list[float]]:
        limiter = limiter_of(concurrency=at_most(8))
        left_at: dict[str, list[float]] = {"a": [], "b": []}

        async def call(model: str) -> None:
            async with limiter.departure(model) as one:
                assert one is not None
                left_at[model].append(virtual_time.now_s())
                await asyncio.sleep(10)
                limiter.heard(one, None)

        await asyncio.gather(*(call(model) for model in "aaabbb"))
        return left_at

    left_at = virtual_time.run(main())
    assert [round(at_s) for at_s in left_at["a"]] == [0, 10, 10]
    assert [round(at_s) for at_s in left_at["b"]] == [10, 20, 20]


def test_a_call_that_is_cancelled_while_it_waits_costs_no_place() -> None:
    async def main() -> tuple[int, float]:
        limiter = limiter_of(concurrency=at_most(3), rpm=6)

        async def call() -> None:
            async with limiter.departure("m"):
                await asyncio.sleep(100)

        calls = [asyncio.create_task(call()) for _ in range(3)]
        await asyncio.sleep(1)
        for one in calls:
            one.cancel()
        await asyncio.wait(calls)
        async with limiter.departure("m"):
            return limiter.n_in_flight, virtual_time.now_s()

    n_in_flight, left_at = virtual_time.run(main())
    assert n_in_flight == 1
    assert left_at == pytest.approx(10 / 0.99, abs=0.1)


def test_a_model_that_cools_holds_up_no_other() -> None:
    async def main() -> dict[str, list[float]]:
        limiter = limiter_of(concurrency=at_most(2))
        left_at: dict[str, list[float]] = {"a": [], "b": []}

        async def call(model: str) -> None:
            seat = await limiter.take_seat()
            limiter.assign(seat, model)
            async with limiter.departure(model) as one:
                assert one is not None
                left_at[model].append(virtual_time.now_s())
                await asyncio.sleep(1)
                is_first = model == "a" and len(left_at["a"]) == 2
                limiter.heard(one, RateLimited("x", wait_s=500) if is_first else None)
            limiter.free_seat(seat)

        await call("a")
        await call("a")
        await asyncio.gather(*(call(model) for model in "aaaabbbb"))
        return left_at

    left_at = virtual_time.run(main())
    assert max(left_at["b"]) < 10
    assert min(left_at["a"][2:]) >= 501


def test_who_lets_a_model_cool_is_told_for_how_long_and_who_adds_nothing_to_it_is_not() -> None:
    async def main() -> list[float]:
        limiter = limiter_of(concurrency=at_most(4))
        async with limiter.departure("a") as call:
            assert call is not None
            told = [limiter.heard(call, None)]
        async with AsyncExitStack() as under_way:
            leaving = (limiter.departure(model) for model in "aaab")
            *of_a, of_b = [await under_way.enter_async_context(one) for one in leaving]
            for one, wait_s in zip(of_a, (40, 10, 80), strict=True):
                assert one is not None
                told.append(limiter.heard(one, RateLimited("x", wait_s=wait_s)))
            assert of_b is not None
            told.append(limiter.heard(of_b, None))
        return told

    proven, longest, shorter, longer, of_another = virtual_time.run(main())
    assert (proven, shorter, of_another) == (0, 0, 0)
    assert 40 <= longest <= 40.25
    assert 80 <= longer <= 80.25


def test_the_peak_and_the_bound_on_open_items_are_known() -> None:
    load = Load(Limits(concurrency=at_most(5)), n=4, n_workers=3)
    limiter = load.run()
    assert (limiter.n_in_flight, limiter.peak, limiter.max_open) == (0, 3, 36)
    assert "0/5" in repr(limiter)


@pytest.mark.parametrize("limits", [{"ipm": 0.1}, {"rpm": 0.1}])
def test_less_than_one_a_minute_is_one_in_a_longer_time(limits: dict[str, float]) -> None:
    load = Load(Limits(concurrency=at_most(4), **limits), n=5)  # type: ignore[arg-type]
    load.run()
    assert fullest(load.taken_s, 600) == 1


def test_no_change_is_lost_between_looking_and_waiting() -> None:
    async def main() -> bool:
        limiter = limiter_of(concurrency=at_most(1))
        done = asyncio.Event()

        async def first() -> None:
            async with limiter.departure("m") as call:
                assert call is not None
                await done.wait()

        async def second() -> bool:
            async with limiter.departure("m") as call:
                return call is not None

        one = asyncio.create_task(first())
        await asyncio.sleep(1)
        two = asyncio.create_task(second())
        done.set()  # in the turn in which the second looks
        await one
        return await asyncio.wait_for(two, 10)

    assert virtual_time.run(main())


def test_a_seat_that_becomes_free_is_seen_at_once_while_another_model_cools() -> None:
    async def main() -> float:
        limiter = limiter_of(concurrency=at_most(1))
        async with limiter.departure("a") as call:
            assert call is not None
            limiter.heard(call, RateLimited("x", wait_s=600))
        seat = await limiter.take_seat()
        limiter.assign(seat, "b")
        waiting = asyncio.create_task(limiter.take_seat())
        await asyncio.sleep(0)
        limiter.free_seat(seat)
        await waiting
        return virtual_time.now_s()

    assert virtual_time.run(main()) < 1


def test_a_retry_waits_no_longer_than_until_its_model_is_given_up() -> None:
    async def main() -> float:
        limiter = Limiter(Limits(), clock=virtual_time.clock(), patience_s=60)
        waiting = asyncio.create_task(limiter.back_off("m", 10_000))
        async with limiter.departure("m") as call:
            assert call is not None
            await asyncio.sleep(5)
            limiter.heard(call, RateLimited("x", wait_s=10_000))
        await waiting
        return virtual_time.now_s()

    assert virtual_time.run(main()) == pytest.approx(5, abs=0.1)


def test_what_was_written_late_counts_from_when_it_left() -> None:
    async def main() -> float:
        limiter = limiter_of(concurrency=at_most(4), ipm=1)
        async with limiter.departure("m") as call:
            assert call is not None
            await asyncio.sleep(30)  # a slow disk
            limiter.sent(call)
            limiter.heard(call, None)
        async with limiter.departure("m"):
            return virtual_time.now_s()

    assert virtual_time.run(main()) >= 90


def test_what_may_leave_counts_for_as_long_as_it_has_not_and_a_minute_from_then_on() -> None:
    """A worker that stands still has leave, and wakes up."""

    async def main() -> list[float]:
        limiter = limiter_of(concurrency=at_most(8), rpm=2)
        left_at: list[float] = []

        async def one(held_s: float = 0.0) -> None:
            async with limiter.departure("m") as call:
                assert call is not None
                await asyncio.sleep(held_s)
                limiter.sent(call)
                left_at.append(virtual_time.now_s())
                limiter.heard(call, None)

        await one()
        await asyncio.gather(one(held_s=100), *(one() for _ in range(4)))
        return left_at

    left_at = sorted(virtual_time.run(main()))
    assert len(left_at) == 6
    for at_s in left_at:
        assert sum(at_s <= other < at_s + 60 for other in left_at) <= 2, left_at


def test_what_is_in_a_window_no_more_changes_nothing_of_it_however_late_it_is_told_of() -> None:
    """As of a worker that is lost long after its request has left."""
    window = Window(100, 60)
    old = window.add(0, 10, is_leaving=True)
    window.leaves(old, 0)
    assert window.wait_s(100, 100) == 0
    window.add(100, 40)
    window.leaves(old, 101)
    window.settle(old, 90)
    window.end(old)
    assert window.wait_s(102, 60) == 0
    assert window.wait_s(102, 61) > 0


def test_what_never_left_gives_its_place_back() -> None:
    async def main() -> float:
        limiter = limiter_of(concurrency=at_most(8), ipm=1)

        async def never_leaves() -> None:
            async with limiter.departure("m") as call:
                assert call is not None
                await asyncio.sleep(100)

        await never_leaves()
        async with limiter.departure("m"):
            return virtual_time.now_s()

    assert virtual_time.run(main()) == pytest.approx(100, abs=1)


def test_what_left_late_tells_of_the_service_from_then_on() -> None:
    async def main() -> tuple[float, float]:
        limiter = limiter_of(concurrency=at_most(8))

        async def one(error: AttemptError | None = None, held_s: float = 0.0) -> None:
            async with limiter.departure("m") as call:
                assert call is not None
                await asyncio.sleep(held_s)
                limiter.sent(call)
                await asyncio.sleep(1)
                limiter.heard(call, error)

        await one()
        late = asyncio.create_task(one(held_s=100))
        for _ in range(99):
            await one()
        await late
        adaptive = limiter._lane("m").adaptive
        latency_s = adaptive.latency_s
        late = asyncio.create_task(one(RateLimited("x", wait_s=1), held_s=100))
        for _ in range(99):
            await one()
        await late
        assert adaptive.per_min is not None
        return latency_s, adaptive.per_min

    latency_s, per_min = virtual_time.run(main())
    assert latency_s == pytest.approx(1, abs=0.01)
    assert per_min == pytest.approx(60, rel=0.2)


def test_a_picture_that_may_have_been_drawn_keeps_its_place() -> None:
    async def main() -> list[float]:
        limiter = limiter_of(concurrency=at_most(4), ipm=2)
        left_at = []
        for n_images in (None, 0, 1, 1):
            async with limiter.departure("m") as call:
                assert call is not None
                left_at.append(virtual_time.now_s())
                limiter.heard(call, None)
                limiter.settle(call, tokens=None, n_images=n_images, usd=None)
        return left_at

    assert [round(at_s) for at_s in virtual_time.run(main())] == [0, 0, 0, 61]


def test_the_first_request_counts_from_its_answer_as_nobody_knows_when_it_arrived() -> None:
    async def main() -> float:
        limiter = limiter_of(concurrency=at_most(4), ipm=1)
        async with limiter.departure("m") as call:
            assert call is not None
            await asyncio.sleep(20)  # something on the way holds it back
            limiter.heard(call, None)
        async with limiter.departure("m"):
            return virtual_time.now_s()

    assert virtual_time.run(main()) >= 80
