"""The pool in virtual time: what is under way, what waits, and how it ends."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from batchgen.errors import (
    AttemptError,
    BadRequest,
    Cancelled,
    NoAnswer,
    QuotaExhausted,
    RateLimited,
    SkippedDependency,
    StoreError,
    Unreachable,
)
from batchgen.limits import Concurrency, Limiter, Limits
from batchgen.model import Decision, Item
from batchgen.pool import Journey, Pool, Take, to_the_end
from batchgen.retry import Retries
from batchgen.stop import Stop
from tests import virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def items(count: int) -> Iterator[Item]:
    return (Item(id=str(number), model="m", prompt="p") for number in range(count))


@dataclass(frozen=True)
class Called:
    """One call that ended."""

    item: str
    n: int
    error: AttemptError | None


Answer = AttemptError | Exception | None


@dataclass
class World:
    """A service, a ledger and a pool between them, on the loop's clock."""

    answer: Callable[[str, int], Answer] = lambda _item, _n: None
    latency_s: float = 10.0
    record_s: float = 0.0
    concurrency: int = 4
    retries: Retries = field(default_factory=Retries)
    calls: list[tuple[str, int, float]] = field(default_factory=list)
    records: list[tuple[str, int, Decision]] = field(default_factory=list)
    ends: list[Called] = field(default_factory=list)
    n_under_way: int = 0
    peak: int = 0
    n_taken: int = 0

    def start(self) -> None:
        self.stop = Stop()
        self.limiter = Limiter(
            Limits(concurrency=Concurrency.at_most(self.concurrency)), clock=virtual_time.clock()
        )
        self.pool: Pool[Called, Called] = Pool(
            Journey(self.attempt, self.record),
            limiter=self.limiter,
            retries=self.retries,
            stop=self.stop,
            clock=virtual_time.clock(),
            rng=random.Random(1),
        )

    async def attempt(self, item: Item, n: int) -> Called:
        self.calls.append((item.id, n, virtual_time.now_s()))
        self.n_under_way += 1
        self.peak = max(self.peak, self.n_under_way)
        try:
            await asyncio.sleep(self.latency_s)
        except asyncio.CancelledError:
            return Called(item.id, n, Cancelled("given up"))
        finally:
            self.n_under_way -= 1
        answer = self.answer(item.id, n)
        if answer is not None and not isinstance(answer, AttemptError):
            raise answer
        return Called(item.id, n, answer)

    async def record(self, called: Called, decision: Decision, _why: str | None) -> Called:
        await asyncio.sleep(self.record_s)
        self.records.append((called.item, called.n, decision))
        return called

    def taking(self, source: Iterator[Item]) -> Take:
        def take() -> Item | None:
            item = next(source, None)
            self.n_taken += item is not None
            return item

        return take

    async def run(self, source: Iterator[Item]) -> None:
        await self.run_taking(self.taking(source))

    async def run_taking(self, take: Take) -> None:
        async for end in self.pool.run(take):
            self.ends.append(end)

    @property
    def n_open(self) -> int:
        return self.n_taken - len(self.ends)

    def assert_each_call_is_recorded_once(self) -> None:
        assert Counter((item, n) for item, n, _ in self.records) == Counter(
            (item, n) for item, n, _ in self.calls
        )


async def at(seconds: float, act: Callable[[], None]) -> None:
    await asyncio.sleep(seconds)
    act()


# --- how much is under way ----------------------------------------------------------------------


def test_never_more_calls_are_in_flight_than_the_limit_and_all_slots_are_used() -> None:
    world = World(concurrency=7)

    async def main() -> float:
        world.start()
        await world.run(items(70))
        return virtual_time.now_s()

    assert virtual_time.run(main()) == pytest.approx(100, abs=1)
    assert world.peak == 7
    assert len(world.ends) == 70
    assert {decision for _, _, decision in world.records} == {"done"}


def test_the_limit_holds_while_everything_is_retried() -> None:
    def answer(item: str, n: int) -> Answer:
        return None if n > 2 + int(item) % 3 else Unreachable("x")

    world = World(answer, concurrency=3, latency_s=1)

    async def main() -> None:
        world.start()
        await world.run(items(60))

    virtual_time.run(main())
    assert world.peak == 3
    assert len(world.ends) == 60
    assert len(world.calls) == sum(3 + number % 3 for number in range(60))
    world.assert_each_call_is_recorded_once()


def test_a_slot_is_taken_before_an_item_so_a_million_items_are_never_listed() -> None:
    world = World(concurrency=5, latency_s=60)

    async def main() -> None:
        world.start()
        async for end in world.pool.run(world.taking(items(1_000_000))):
            world.ends.append(end)
            assert world.n_taken <= len(world.records) + 5
            if len(world.ends) == 20:
                world.stop.ask("enough")

    virtual_time.run(main())
    assert world.n_taken <= 30
    assert len(world.ends) == world.n_taken


def test_nothing_is_taken_ahead_of_a_consumer_that_does_not_come_back() -> None:
    world = World(concurrency=2, latency_s=1)

    async def main() -> None:
        world.start()
        async for end in world.pool.run(world.taking(items(1_000_000))):
            world.ends.append(end)
            await asyncio.sleep(10_000)
            assert world.n_open <= world.limiter.max_open
            if len(world.ends) == 3:
                break

    virtual_time.run(main())


def test_open_items_are_bounded_while_all_wait_for_a_retry() -> None:
    world = World(lambda _item, _n: RateLimited("busy", wait_s=600), concurrency=4, latency_s=1)
    most_open = 0

    async def main() -> None:
        nonlocal most_open
        world.start()
        run = asyncio.create_task(world.run(items(1_000_000)))
        await asyncio.sleep(590)
        most_open = world.n_open
        assert world.n_under_way == 0
        world.stop.ask("enough")
        await run

    virtual_time.run(main())
    assert most_open == 4 * 4 + 16
    assert len(world.calls) == most_open
    world.assert_each_call_is_recorded_once()


def test_a_waiting_retry_holds_no_slot() -> None:
    def answer(item: str, n: int) -> Answer:
        return RateLimited("busy", wait_s=500) if item == "0" and n == 1 else None

    world = World(answer, concurrency=1, latency_s=10)

    async def main() -> None:
        world.start()
        await world.run(items(12))

    virtual_time.run(main())
    assert [end.item for end in world.ends] == [*map(str, range(1, 12)), "0"]
    second = next(at_s for item, n, at_s in world.calls if (item, n) == ("0", 2))
    assert 510 <= second <= 562


# --- items that are ready only when others have ended -----------------------------------------


def chained(world: World, names: dict[str, str | None]) -> Take:
    """Items by name, each ready once the one beside it has ended."""
    left = dict(names)

    def take() -> Item | None:
        ended = {item for item, _, decision in world.records if decision != "retry"}
        for name, parent in left.items():
            if parent is None or parent in ended:
                del left[name]
                return Item(id=name, model="m", prompt="p")
        return None

    return take


def test_what_is_not_ready_is_taken_when_the_item_it_waits_for_has_ended() -> None:
    world = World(concurrency=3, latency_s=10)

    async def main() -> float:
        world.start()
        await world.run_taking(
            chained(world, {"c": "b", "b": "a", "a": None, "x": None, "y": None, "z": None})
        )
        return virtual_time.now_s()

    assert virtual_time.run(main()) == pytest.approx(30, abs=0.1)
    starts = {item: at_s for item, _, at_s in world.calls}
    assert [round(starts[name]) for name in "abcxyz"] == [0, 10, 20, 0, 0, 10]


def test_a_retry_gets_a_slot_while_all_else_waits_for_its_item() -> None:
    world = World(lambda _item, n: Unreachable("x") if n < 4 else None, concurrency=1)

    async def main() -> None:
        world.start()
        await world.run_taking(chained(world, {"b": "a", "a": None}))

    virtual_time.run(main())
    assert [(item, n) for item, n, _ in world.calls] == [
        (name, n) for name in "ab" for n in range(1, 5)
    ]


def test_what_waits_for_an_item_that_never_comes_does_not_hold_up_the_end() -> None:
    world = World()

    async def main() -> float:
        world.start()
        await world.run_taking(chained(world, {"b": "gone", "a": None}))
        return virtual_time.now_s()

    assert virtual_time.run(main()) == pytest.approx(10, abs=0.1)
    assert [end.item for end in world.ends] == ["a"]


@pytest.mark.parametrize("how", ["stop", "cancel", "defect"])
def test_the_end_of_a_run_does_not_wait_for_what_is_not_ready(how: str) -> None:
    world = World(lambda _item, _n: RateLimited("busy", wait_s=600), concurrency=2)

    async def main() -> float:
        world.start()
        acts = {
            "stop": lambda: world.stop.ask("told to"),
            "cancel": world.pool.cancel,
            "defect": lambda: world.pool._broke(ZeroDivisionError("ours")),
        }
        acting = asyncio.create_task(at(25, acts[how]))
        with pytest.raises(ZeroDivisionError) if how == "defect" else nullcontext():
            await world.run_taking(chained(world, {"b": "a", "a": None}))
        await acting
        return virtual_time.now_s()

    assert virtual_time.run(main()) == pytest.approx(25, abs=0.1)
    assert [item for item, _, _ in world.calls] == ["a"]
    world.assert_each_call_is_recorded_once()


def test_a_skipped_item_is_recorded_as_that_and_tried_once() -> None:
    world = World(lambda _item, _n: SkippedDependency("no picture to build on"))

    async def main() -> None:
        world.start()
        await world.run(items(1))

    virtual_time.run(main())
    assert world.records == [("0", 1, "skipped")]


# --- retries ------------------------------------------------------------------------------------


def test_each_budget_is_used_up_and_then_the_item_is_given_up() -> None:
    errors: dict[str, AttemptError] = {
        "0": Unreachable("x"),
        "1": NoAnswer("x"),
        "2": RateLimited("x"),
        "3": BadRequest("x"),
    }
    world = World(
        lambda item, _n: errors[item], retries=Retries(transport=3, unsure=1, rate_limit=5)
    )

    async def main() -> None:
        world.start()
        await world.run(items(4))

    virtual_time.run(main())
    made = Counter(item for item, _, _ in world.calls)
    assert made == {"0": 4, "1": 2, "2": 6, "3": 1}
    assert all(
        (decision == "failed") == (n == made[item]) and (decision == "retry") == (n < made[item])
        for item, n, decision in world.records
    )


def test_a_retry_never_comes_sooner_than_the_server_told() -> None:
    world = World(lambda _item, n: RateLimited("x", wait_s=90) if n < 5 else None, concurrency=8)

    async def main() -> None:
        world.start()
        await world.run(items(20))

    virtual_time.run(main())
    for number in range(20):
        times = [at_s for item, _, at_s in world.calls if item == str(number)]
        assert len(times) == 5
        assert all(later - earlier >= 100 for earlier, later in pairwise(times))


# --- the end ------------------------------------------------------------------------------------


def test_no_items_end_at_once() -> None:
    world = World()

    async def main() -> float:
        world.start()
        await world.run(items(0))
        return virtual_time.now_s()

    assert virtual_time.run(main()) < 1
    assert world.ends == []


def test_a_stop_ends_waiting_at_once_and_lets_calls_under_way_finish() -> None:
    def answer(item: str, _n: int) -> Answer:
        return RateLimited("busy", wait_s=600) if int(item) < 6 else None

    world = World(answer, concurrency=3, latency_s=10)

    async def main() -> float:
        world.start()
        stopping = asyncio.create_task(at(25, lambda: world.stop.ask("told to")))
        await world.run(items(1000))
        await stopping
        return virtual_time.now_s()

    assert virtual_time.run(main()) == pytest.approx(30, abs=0.1)
    assert world.n_taken == 9
    assert len(world.ends) == 9
    assert Counter(decision for _, _, decision in world.records) == {"retry": 6, "done": 3}
    assert world.stop.reason == "told to"
    world.assert_each_call_is_recorded_once()


def test_an_error_that_stops_the_run_stops_it_for_all() -> None:
    def answer(item: str, _n: int) -> Answer:
        return QuotaExhausted("until tomorrow") if item == "5" else None

    world = World(answer, concurrency=2)

    async def main() -> None:
        world.start()
        await world.run(items(1000))

    virtual_time.run(main())
    assert world.n_taken <= 8
    assert ("5", 1, "stop") in world.records
    assert (world.stop.reason, type(world.stop.cause)) == ("until tomorrow", QuotaExhausted)
    assert len(world.ends) == world.n_taken


@pytest.mark.parametrize("when_s", [0, 0.5, 9.999999, 10, 10.0000005, 15, 20, 20.5, 31, 615])
@pytest.mark.parametrize("record_s", [0, 1])
def test_a_cancel_at_any_moment_records_every_call_exactly_once(
    when_s: float, record_s: float
) -> None:
    def answer(item: str, _n: int) -> Answer:
        return RateLimited("busy", wait_s=600) if int(item) % 2 else None

    world = World(answer, concurrency=3, latency_s=10, record_s=record_s)

    async def main() -> float:
        world.start()
        cancelling = asyncio.create_task(at(when_s, world.pool.cancel))
        await world.run(items(1000))
        await cancelling
        return virtual_time.now_s()

    took_s = virtual_time.run(main())
    assert took_s <= when_s + 2 * record_s + 0.1
    world.assert_each_call_is_recorded_once()
    assert world.n_under_way == 0


def test_a_cancel_before_the_first_step_does_not_hang() -> None:
    world = World()

    async def main() -> None:
        world.start()
        run = asyncio.create_task(world.run(items(10)))
        await asyncio.sleep(0)  # the driver exists, and has not yet taken its first step
        world.pool.cancel()
        await asyncio.wait_for(run, 5)

    virtual_time.run(main())
    assert world.records == []


def test_a_second_cancel_loses_no_record() -> None:
    world = World(concurrency=3, record_s=5)

    async def main() -> None:
        world.start()
        cancels = [asyncio.create_task(at(when, world.pool.cancel)) for when in (12, 13, 14)]
        await world.run(items(100))
        await asyncio.gather(*cancels)

    virtual_time.run(main())
    world.assert_each_call_is_recorded_once()


def test_a_consumer_that_walks_away_leaves_nothing_running() -> None:
    world = World(concurrency=3)

    async def main() -> None:
        world.start()
        ends = world.pool.run(world.taking(items(1000)))
        async for end in ends:
            world.ends.append(end)
            break
        await ends.aclose()  # type: ignore[attr-defined]  # it is a generator
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual_time.run(main())
    world.assert_each_call_is_recorded_once()


def test_a_consumer_that_is_cancelled_leaves_nothing_running() -> None:
    world = World(concurrency=3)

    async def main() -> None:
        world.start()
        run = asyncio.create_task(world.run(items(1000)))
        await asyncio.sleep(15)
        run.cancel()
        with suppress(asyncio.CancelledError):
            await run
        assert run.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual_time.run(main())
    world.assert_each_call_is_recorded_once()


# --- defects ------------------------------------------------------------------------------------


def test_a_defect_lets_the_others_finish_and_is_raised() -> None:
    def answer(item: str, _n: int) -> Answer:
        return ZeroDivisionError("ours") if item == "4" else None

    world = World(answer, concurrency=3)

    async def main() -> None:
        world.start()
        with pytest.raises(ZeroDivisionError, match="ours"):
            await world.run(items(1000))

    virtual_time.run(main())
    assert {end.item for end in world.ends} == {"0", "1", "2", "3", "5"} | (
        {end.item for end in world.ends} & {"6"}
    )
    assert {decision for _, _, decision in world.records} == {"done"}
    assert world.n_under_way == 0


def test_a_record_that_fails_is_a_defect_too() -> None:
    world = World(concurrency=2)

    async def main() -> None:
        world.start()

        async def record(called: Called, decision: Decision, why: str | None) -> Called:
            if called.item == "3":
                raise StoreError("disk full")
            return await world.record(called, decision, why)

        world.pool._journey = replace(world.pool._journey, record=record)
        with pytest.raises(StoreError):
            await world.run(items(1000))

    virtual_time.run(main())
    assert world.n_taken <= 6


def test_a_defect_after_a_stop_is_raised_all_the_same() -> None:
    def answer(item: str, _n: int) -> Answer:
        return StoreError("disk full") if item == "1" else QuotaExhausted("until tomorrow")

    world = World(answer, concurrency=2)

    async def main() -> None:
        world.start()
        with pytest.raises(StoreError):
            await world.run(items(1000))

    virtual_time.run(main())
    assert world.stop.reason == "until tomorrow"


def test_items_that_cannot_be_read_on_end_the_run_and_lose_no_call_under_way() -> None:
    def broken() -> Iterator[Item]:
        yield from items(5)
        raise StoreError("the job file went away")

    world = World(concurrency=3)

    async def main() -> None:
        world.start()
        with pytest.raises(StoreError):
            await world.run(broken())

    virtual_time.run(main())
    assert [decision for _, _, decision in world.records] == ["done"] * 5
    assert len(world.ends) == 5


# --- the parts ----------------------------------------------------------------------------------


def test_bookkeeping_runs_to_its_end_however_often_its_caller_is_cancelled() -> None:
    done = False

    async def work() -> str:
        nonlocal done
        await asyncio.sleep(10)
        done = True
        return "kept"

    async def main() -> str:
        task = asyncio.create_task(to_the_end(work()))
        for _ in range(5):
            await asyncio.sleep(1)
            task.cancel()
        return await task

    assert virtual_time.run(main()) == "kept"
    assert done


def test_the_first_reason_to_stop_stands() -> None:
    async def main() -> Stop:
        stop = Stop()
        stop.ask("first")
        stop.ask("second", ValueError())
        assert await stop.cuts_short(asyncio.sleep(1000))
        assert virtual_time.now_s() < 1
        return stop

    stop = virtual_time.run(main())
    assert (stop.reason, stop.cause) == ("first", None)


def test_a_wait_that_nothing_cuts_short_takes_its_time() -> None:
    async def main() -> tuple[bool, float]:
        cut = await Stop().cuts_short(asyncio.sleep(1000))
        return cut, virtual_time.now_s()

    cut, took_s = virtual_time.run(main())
    assert not cut
    assert took_s == pytest.approx(1000, abs=0.01)


def test_a_wait_that_breaks_is_no_wait_that_ended() -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await Stop().cuts_short(broken())

    asyncio.run(main())
