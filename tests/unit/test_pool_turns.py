"""Items that need several calls, one after the other, in virtual time."""

import asyncio
import random
from dataclasses import dataclass, field

import pytest

from batchgen.errors import AttemptError, BadRequest, Unreachable
from batchgen.limits import Concurrency, Limiter, Limits
from batchgen.model import Decision, Item
from batchgen.pool import Journey, Pool
from batchgen.retry import Retries
from batchgen.stop import Stop
from tests import virtual_time


@dataclass(frozen=True)
class Called:
    item: str
    turn: int
    n: int
    error: AttemptError | None


@dataclass
class World:
    """A service that is told how many turns each item has and what fails, and a pool."""

    turns: dict[str, int]
    fails: dict[tuple[str, int, int], AttemptError] = field(default_factory=dict)
    retries: Retries = field(default_factory=Retries)
    stop_after: tuple[str, int] | None = None
    done: dict[str, int] = field(default_factory=dict)
    calls: list[tuple[str, int, int]] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    ends: list[Called] = field(default_factory=list)
    n_under_way: int = 0
    peak: int = 0

    async def attempt(self, item: Item, n: int) -> Called:
        turn = self.done.get(item.id, 0) + 1
        self.calls.append((item.id, turn, n))
        self.n_under_way += 1
        self.peak = max(self.peak, self.n_under_way)
        await asyncio.sleep(10)
        self.n_under_way -= 1
        return Called(item.id, turn, n, self.fails.get((item.id, turn, n)))

    async def record(self, called: Called, decision: Decision, _why: str | None) -> Called:
        self.decisions.append(decision)
        if decision == "done":
            self.done[called.item] = called.turn
        if self.stop_after == (called.item, called.turn):
            self.stop.ask("enough")
        return called

    def goes_on(self, called: Called) -> bool:
        return called.turn < self.turns[called.item]

    async def main(self) -> float:
        self.stop = Stop()
        self.limiter = Limiter(
            Limits(concurrency=Concurrency.at_most(2)), clock=virtual_time.clock()
        )
        pool: Pool[Called, Called] = Pool(
            Journey(self.attempt, self.record, self.goes_on),
            limiter=self.limiter,
            retries=self.retries,
            stop=self.stop,
            clock=virtual_time.clock(),
            rng=random.Random(1),
        )
        items = iter([Item(id=name, model="m", prompt="p") for name in self.turns])
        async for end in pool.run(lambda: next(items, None)):
            self.ends.append(end)
        return virtual_time.now_s()


def test_the_turns_of_an_item_are_made_one_after_the_other_and_it_ends_once() -> None:
    world = World({"a": 3, "b": 1, "c": 2})
    assert virtual_time.run(world.main()) == pytest.approx(30, abs=1)
    assert [call for call in world.calls if call[0] == "a"] == [("a", n, 1) for n in (1, 2, 3)]
    assert sorted((end.item, end.turn) for end in world.ends) == [("a", 3), ("b", 1), ("c", 2)]
    assert world.peak == 2
    assert world.decisions == ["done"] * 6
    assert world.limiter.n_in_flight == 0


def test_each_turn_has_retries_and_numbers_of_its_own() -> None:
    gone = Unreachable("gone")
    fails: dict[tuple[str, int, int], AttemptError] = {
        ("a", turn, n): gone for turn in (1, 2) for n in (1, 2)
    }
    world = World({"a": 2}, fails, Retries(transport=2))
    virtual_time.run(world.main())
    assert world.calls == [("a", turn, n) for turn in (1, 2) for n in (1, 2, 3)]
    assert world.decisions == ["retry", "retry", "done"] * 2


def test_a_turn_that_is_given_up_ends_its_item() -> None:
    world = World({"a": 3}, {("a", 2, 1): BadRequest("no")})
    virtual_time.run(world.main())
    assert world.calls == [("a", 1, 1), ("a", 2, 1)]
    assert world.decisions == ["done", "failed"]
    assert [end.turn for end in world.ends] == [2]


def test_a_run_that_stops_begins_no_other_turn() -> None:
    world = World({"a": 3}, stop_after=("a", 1))
    virtual_time.run(world.main())
    assert world.calls == [("a", 1, 1)]
    assert [end.turn for end in world.ends] == [1]
    assert world.limiter.n_in_flight == 0
