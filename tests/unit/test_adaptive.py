"""What a service takes is found out: 2,000 requests against limits that nobody configured."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from batchgen.errors import OutOfFiles, RateLimited, ServerRefused
from batchgen.limits import AUTO, Concurrency, Limits
from tests.services import AtOnce, Bucket, FixedWindow, Load, Service, SlidingWindow, at_most

if TYPE_CHECKING:
    from collections.abc import Callable

Latency = tuple[float, float]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("make", "latency_s"),
    [
        pytest.param(lambda: AtOnce(2, 1.0), (0.5, 1.5), id="2 at once"),
        pytest.param(lambda: AtOnce(4, 1.0), (0.5, 1.5), id="4 at once"),
        pytest.param(lambda: AtOnce(10, 65.0), (10, 120), id="10 at once, of 10 to 120 s"),
        pytest.param(lambda: AtOnce(30, 1.0), (0.5, 1.5), id="30 at once"),
        pytest.param(lambda: SlidingWindow(60), (5, 15), id="60 a minute"),
        pytest.param(lambda: SlidingWindow(60), (1, 3), id="60 a minute, quick answers"),
        pytest.param(lambda: SlidingWindow(20), (10, 40), id="20 a minute, slow answers"),
        pytest.param(lambda: SlidingWindow(60, tells=False), (5, 15), id="60 a minute, untold"),
        pytest.param(lambda: SlidingWindow(20, tells=False), (10, 40), id="20 a minute, untold"),
        pytest.param(lambda: SlidingWindow(30, 10), (0.1, 0.3), id="30 in 10 s"),
        pytest.param(lambda: SlidingWindow(60, tells=False), (1, 3), id="60, quick, untold"),
        pytest.param(lambda: SlidingWindow(300), (5, 15), id="300 a minute"),
        pytest.param(lambda: SlidingWindow(300, tells=False), (5, 15), id="300 a minute, untold"),
        pytest.param(lambda: SlidingWindow(250, 10), (0.2, 1.0), id="250 in 10 s"),
        pytest.param(lambda: FixedWindow(60), (5, 15), id="60 each minute of the clock"),
        pytest.param(lambda: FixedWindow(250, 10), (0.2, 1.0), id="250 each 10 s of the clock"),
        pytest.param(lambda: AtOnce(16, 0.6), (0.2, 1.0), id="16 at once, quick answers"),
        pytest.param(lambda: Bucket(20, 20), (0.1, 0.3), id="20 a second"),
        pytest.param(lambda: Bucket(20, 20, tells=False), (0.1, 0.3), id="20 a second, untold"),
        pytest.param(lambda: Bucket(5, 5), (1, 3), id="5 a second"),
        pytest.param(lambda: Bucket(1, 1), (1, 3), id="one a second, never two together"),
    ],
)
def test_nine_tenths_of_an_unknown_limit_are_used_and_few_requests_are_refused(
    make: Callable[[], Service], latency_s: Latency, seed: int
) -> None:
    load = Load(Limits(), make(), latency_s, seed=seed)
    limiter = load.run()
    assert len(load.taken_s) == 2000
    assert load.share_refused <= 0.05, limiter
    assert load.used() >= 0.9, limiter


def test_without_a_refusal_the_concurrency_doubles_with_each_round_up_to_its_bound() -> None:
    load = Load(Limits(), n=400, latency_s=(10, 10))
    limiter = load.run()
    rounds = [sum(10 * n <= at_s < 10 * n + 9 for at_s in load.taken_s) for n in range(7)]
    assert rounds == [1, 4, 8, 16, 32, 64, 64]
    assert limiter.peak == AUTO.highest
    assert limiter.history[0].limit == AUTO.start
    assert limiter.history[-1].limit == AUTO.highest


def test_bounds_are_never_left() -> None:
    load = Load(Limits(concurrency=Concurrency.between(3, 9)), AtOnce(1, 1.0), (0.5, 1.5), n=200)
    limiter = load.run()
    assert {step.limit for step in limiter.history} == {3}
    load = Load(Limits(concurrency=Concurrency.between(3, 9)), n=200)
    limiter = load.run()
    assert limiter.peak == 9
    assert limiter.history[0].limit == 3


def test_what_is_not_used_does_not_grow() -> None:
    load = Load(Limits(), n=300, latency_s=(1, 1), n_workers=3)
    limiter = load.run()
    assert limiter.peak == 3
    assert {step.limit for step in limiter.history} == {AUTO.start}
    load = Load(Limits(rpm=60), n=300, latency_s=(1, 1))
    limiter = load.run()
    assert {step.limit for step in limiter.history} == {AUTO.start}


def test_there_is_one_cut_however_many_are_refused_together() -> None:
    load = Load(Limits(concurrency=at_most(32)), AtOnce(8, 10.0), (10, 10), n=60)
    limiter = load.run()
    cuts = [step for step in limiter.history if step.why == "429"]
    # All that left together after the first one are refused but eight, within a hundredth.
    assert len(load.refused_s) >= 24
    assert len({round(at_s) for at_s in load.refused_s}) == len(cuts)
    assert cuts[0].limit == 8


def test_successes_from_before_a_cut_do_not_undo_it() -> None:
    load = Load(Limits(concurrency=at_most(32)), AtOnce(8, 10.0), (10, 10), n=33)
    limiter = load.run()
    assert limiter.concurrency == 8


def test_the_history_is_bounded_and_keeps_its_first_and_last_steps() -> None:
    load = Load(Limits(), SlidingWindow(20, 10), (0.1, 0.9), n=8000)
    limiter = load.run()
    assert len(limiter.history) <= 100
    assert limiter.history[0].why == "start"
    assert limiter.history[-1].per_min == pytest.approx(120, rel=0.1)


# --- an outage ----------------------------------------------------------------------------------


def test_an_outage_of_a_minute_costs_few_requests_and_ends_by_itself() -> None:
    def away(now_s: float) -> ServerRefused | None:
        return ServerRefused("away") if 30 <= now_s < 90 else None

    load = Load(Limits(concurrency=at_most(16)), n=1000, latency_s=(1, 3), fails=away)
    load.run()
    assert len(load.refused_s) <= 16 + 35
    during = [at_s for at_s in load.refused_s if at_s >= 32]
    assert len(during) <= 7  # one probe at a time, with growing pauses
    back_s = min(at_s for at_s in load.taken_s if at_s >= 90)
    last_pause_s = back_s - max(load.refused_s)
    assert back_s - 90 <= last_pause_s
    assert last_pause_s <= 64
    # All is as before within a few rounds.
    after = [at_s for at_s in load.taken_s if back_s + 10 <= at_s < back_s + 40]
    assert len(after) / 30 >= 0.8 * 16 / 2


def test_too_many_open_files_lower_the_concurrency() -> None:
    def crowded(_now_s: float) -> OutOfFiles | None:
        return OutOfFiles("ulimit") if load.n_in_flight > 5 else None

    load = Load(Limits(concurrency=at_most(32)), n=200, latency_s=(5, 5), fails=crowded)
    limiter = load.run()
    assert limiter.concurrency <= 6
    assert len(load.refused_s) <= 32  # they left together, and it does not happen again
    assert limiter.history[-1].why != "429"


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("latency_s", [(10, 20), (40, 80)])
def test_failures_that_come_at_random_are_no_outage(share: float, latency_s: Latency) -> None:
    rng = random.Random(7)

    def flaky(_now_s: float) -> ServerRefused | None:
        return ServerRefused("busy") if rng.random() < share else None

    steady = Load(Limits(), n=800, latency_s=latency_s)
    steady.run()
    shaken = Load(Limits(), n=800, latency_s=latency_s, fails=flaky)
    limiter = shaken.run()
    # Five in a row happen at one in five, now and then.
    assert sum(step.why == "the service is back" for step in limiter.history) <= 1
    assert shaken.taken_s[-1] <= steady.taken_s[-1] * 1.3


@pytest.mark.parametrize("n_used", [55, 58, 60])
def test_what_an_earlier_run_used_up_does_not_cripple_the_search(n_used: int) -> None:
    service = SlidingWindow(60)
    service.taken_s.extend([-5.0] * n_used)
    load = Load(Limits(), service, (10, 40))
    load.run()
    assert load.used() >= 0.9
    assert load.share_refused <= 0.05


def test_one_refusal_at_the_start_is_forgotten_where_there_is_no_limit() -> None:
    is_first = True

    def once(_now_s: float) -> RateLimited | None:
        nonlocal is_first
        was_first, is_first = is_first, False
        return RateLimited("wait", wait_s=5) if was_first else None

    load = Load(Limits(), n=1000, latency_s=(20, 20), fails=once)
    load.run()
    free = Load(Limits(), n=1000, latency_s=(20, 20))
    free.run()
    assert load.taken_s[-1] <= free.taken_s[-1] + 30


@pytest.mark.parametrize(("n", "latency_s"), [(6, (0.5, 1.5)), (10, (10, 40)), (30, (1, 3))])
def test_a_limit_that_is_told_as_overload_is_found_too(n: int, latency_s: Latency) -> None:
    load = Load(Limits(), latency_s=latency_s)
    load.fails = lambda _: ServerRefused("overloaded") if load.n_in_flight > n else None
    load.run()
    used = load.n * sum(latency_s) / 2 / (load.taken_s[-1] * n)
    assert used >= 0.9
    assert load.share_refused <= 0.05


@pytest.mark.parametrize("n", [4, 16, 64])
def test_half_an_hour_without_the_service_costs_no_more_than_what_was_under_way_and_a_few(
    n: int,
) -> None:
    def away(now_s: float) -> ServerRefused | None:
        return ServerRefused("away") if 100 <= now_s < 1900 else None

    load = Load(Limits(concurrency=at_most(n)), n=20 * n + 200, latency_s=(5, 15), fails=away)
    load.run()
    assert len(load.refused_s) <= n + 5 + 13
