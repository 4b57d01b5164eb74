"""Money is set aside before it is spent, and a cap is never passed by what was started."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.budget import Allowance, Budget, Purse, next_time
from batchgen.clock import Clock
from batchgen.errors import UsageError
from batchgen.options import check_options
from tests import virtual_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def usd(text: str) -> Decimal:
    return Decimal(text)


def spend(
    budget: Budget, calls: Sequence[tuple[Decimal | None, Decimal | None]], *, today: str = "0"
) -> tuple[list[bool], list[str], Purse]:
    """Make calls one after the other, each reserved and billed so."""
    told: list[str] = []

    async def main() -> tuple[list[bool], Purse]:
        purse = Purse(budget, virtual_time.clock(), told.append, usd(today))
        passed = []
        for reserved, billed in calls:
            passed.append(await purse.reserve(reserved))
            if passed[-1]:
                purse.settle(reserved, billed)
        return passed, purse

    passed, purse = virtual_time.run(main())
    return passed, told, purse


def test_without_a_budget_everything_passes() -> None:
    passed, told, purse = spend(Budget(), [(usd("99"), usd("99")), (None, None)])
    assert (passed, told, purse.overshoot()) == ([True, True], [], None)


def test_what_might_pass_the_cap_does_not_leave_and_the_reason_says_how_much() -> None:
    calls = [(usd("0.4"), usd("0.3"))] * 4
    passed, told, _ = spend(Budget(max_cost_usd=usd("1.0")), calls)
    assert passed == [True, True, True, False]
    assert told == [
        (
            "budget.max_cost_usd: $0.90 of $1.00 are spent or may be billed, and one more request "
            "may cost $0.40: raise it, or run again"
        )
    ]


def test_a_cap_that_is_met_exactly_is_used_to_the_last_cent() -> None:
    passed, _, _ = spend(Budget(max_cost_usd=usd("0.5")), [(usd("0.25"), usd("0.25"))] * 3)
    assert passed == [True, True, False]


def test_a_bill_that_nobody_knows_counts_as_what_was_set_aside() -> None:
    passed, _, _ = spend(Budget(max_cost_usd=usd("1")), [(usd("0.6"), None), (usd("0.6"), None)])
    assert passed == [True, False]


def test_what_earlier_runs_spent_today_counts_for_the_day_alone() -> None:
    budget = Budget(max_cost_usd=usd("5"), max_cost_usd_per_day=usd("2"))
    passed, told, _ = spend(budget, [(usd("0.5"), usd("0.5"))] * 2, today="1.5")
    assert passed == [True, False]
    assert told[0].startswith("budget.max_cost_usd_per_day: $2.00 of $2.00 are spent or")


def test_a_new_day_begins_with_nothing_spent() -> None:
    async def main() -> list[bool]:
        budget = Budget(max_cost_usd_per_day=usd("1"))
        purse = Purse(budget, virtual_time.clock(), lambda _: None, usd("0.9"))
        before = await purse.reserve(usd("0.5"))
        await asyncio.sleep(21 * 3600)  # the clock starts at 03:00 UTC
        return [before, await purse.reserve(usd("0.5"))]

    assert virtual_time.run(main()) == [False, True]


def test_a_request_waits_for_bills_that_may_leave_room_for_it() -> None:
    told: list[str] = []

    async def main() -> tuple[bool, float]:
        purse = Purse(Budget(max_cost_usd=usd("1")), virtual_time.clock(), told.append)
        assert await purse.reserve(usd("0.7"))

        async def bill() -> None:
            await asyncio.sleep(30)
            purse.settle(usd("0.7"), usd("0.1"))

        billing = asyncio.create_task(bill())
        passed = await purse.reserve(usd("0.7"))
        await billing
        return passed, virtual_time.now_s()

    passed, at_s = virtual_time.run(main())
    assert passed
    assert at_s == pytest.approx(30, abs=0.1)
    assert not told


def test_pictures_that_nobody_asked_for_may_pass_it_and_that_is_told() -> None:
    _, _, purse = spend(Budget(max_cost_usd=usd("1")), [(usd("0.5"), usd("1.25"))])
    assert purse.overshoot() == (
        "budget.max_cost_usd $1.00 was passed by $0.25: answers held more thoughts, text, drafts "
        "or searches than was set aside"
    )


@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 100)), max_size=60),
    st.integers(0, 3000),
    st.integers(1, 8),
    st.integers(),
)
def test_a_cap_is_never_passed_however_many_spend_at_once(
    calls: list[tuple[int, int]], cap: int, n_workers: int, seed: int
) -> None:
    spent = 0
    rng = random.Random(seed)
    stopped = False

    async def worker(purse: Purse, left: Iterator[tuple[int, int]]) -> None:
        nonlocal spent
        for most, percent in left:
            if stopped or not await purse.reserve(Decimal(most)):
                return
            await asyncio.sleep(rng.uniform(0, 10))
            really = most * percent // 100
            spent += really
            purse.settle(Decimal(most), Decimal(really))

    def stop(_: str) -> None:
        nonlocal stopped
        stopped = True

    async def main() -> None:
        purse = Purse(Budget(max_cost_usd=Decimal(cap)), virtual_time.clock(), stop)
        left = iter(calls)
        await asyncio.gather(*(worker(purse, left) for _ in range(n_workers)))

    virtual_time.run(main())
    assert spent <= cap


@pytest.mark.parametrize(
    ("allowance", "n", "may_fail"),
    [
        (Allowance(10), 1000, 10),
        (Allowance(0), 1000, 0),
        (Allowance(10, is_share=True), 1000, 100),
        (Allowance(10, is_share=True), 9, 0),
        (Allowance(2.5, is_share=True), 200, 5),
    ],
)
def test_failures_are_a_number_or_a_share(allowance: Allowance, n: int, may_fail: int) -> None:
    assert allowance.of(n) == may_fail


def test_a_deadline_is_the_next_time_that_clocks_here_show_it() -> None:
    now = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
    local = now.astimezone()
    assert next_time(f"{local:%H:%M}", now) - now == timedelta(days=1)
    later = local + timedelta(minutes=90)
    assert next_time(f"{later:%H:%M}", now) - now == timedelta(minutes=90)
    assert next_time("0:00", now).astimezone().strftime("%H:%M") == "00:00"


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clocks here are those of Central Europe, by a rule that needs no database."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("now", "clock_time", "moment"),
    [
        ("2026-11-21T01:00Z", "06:30", "2026-11-21T05:30Z"),
        ("2026-11-21T05:31Z", "06:30", "2026-11-22T05:30Z"),  # a minute late: tomorrow's
        ("2026-11-21T05:30Z", "06:30", "2026-11-22T05:30Z"),  # on the minute as well
        ("2026-11-21T05:29:59Z", "06:30", "2026-11-21T05:30Z"),
        ("2026-11-21T22:59Z", "00:00", "2026-11-21T23:00Z"),
        # Clocks are set forward at 01:00Z: the night is an hour shorter, and 02:30 does not come.
        ("2026-03-28T22:00Z", "06:30", "2026-03-29T04:30Z"),
        ("2026-03-28T22:00Z", "02:30", "2026-03-29T01:30Z"),
        ("2026-03-29T01:31Z", "02:30", "2026-03-30T00:30Z"),
        # They are set back at 01:00Z: the night is an hour longer, and 02:30 comes twice.
        ("2026-10-24T22:00Z", "06:30", "2026-10-25T05:30Z"),
        ("2026-10-24T22:00Z", "02:30", "2026-10-25T00:30Z"),
        ("2026-10-25T00:45Z", "02:30", "2026-10-25T01:30Z"),
        ("2026-10-25T01:45Z", "02:30", "2026-10-26T01:30Z"),
    ],
)
def test_a_deadline_goes_by_the_clocks_of_the_place_also_when_they_are_set(
    now: str, clock_time: str, moment: str
) -> None:
    found = next_time(clock_time, datetime.fromisoformat(now))
    assert found == datetime.fromisoformat(moment)


@pytest.mark.parametrize(
    "word", ["", "25:00", "6", "6:3", "06:60", "-1:30", "06:30:00", "noon", "²:30", "06:30\n"]
)
def test_what_is_no_time_of_day_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="expected a time of day such as 06:30"):
        next_time(word, datetime(2026, 11, 21, tzinfo=UTC))


def test_a_clock_that_is_set_back_does_not_give_the_money_of_a_day_twice() -> None:
    now = datetime(2026, 11, 22, 0, 0, 1, tzinfo=UTC)

    async def main() -> list[bool]:
        nonlocal now
        clock = Clock(now=lambda: now)
        purse = Purse(Budget(max_cost_usd_per_day=usd("1")), clock, lambda _: None)
        passed = [await purse.reserve(usd("0.9"))]
        purse.settle(usd("0.9"), usd("0.9"))
        now -= timedelta(seconds=2)
        return [*passed, await purse.reserve(usd("0.9"))]

    assert virtual_time.run(main()) == [True, False]


def test_what_earlier_runs_spent_is_no_fault_of_this_one() -> None:
    _, _, purse = spend(Budget(max_cost_usd_per_day=usd("5")), [], today="50")
    assert purse.overshoot() is None


@pytest.mark.parametrize(
    "options",
    [{"max_cost_usd": "5"}, {"max_cost_usd": float("nan")}, {"deadline": 6}, {"max_duration": []}],
)
def test_what_python_may_pass_is_refused_in_words(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="expected"):
        check_options(options)  # type: ignore[arg-type]
