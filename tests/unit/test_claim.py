"""The claim of a place in a store, on a store in memory and a clock that jumps."""

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from obstore.exceptions import AlreadyExistsError, GenericError, PreconditionError
from obstore.store import MemoryStore

from batchgen.clock import Clock
from batchgen.errors import OutputHeld, StoreError, UsageError
from batchgen.mirror.claim import NAME, RENEW_S, UNSURE_S, WATCH_S, Claim
from batchgen.objects import ObjectAddress
from batchgen.objects.bucket import Bucket, StoreAway


@dataclass
class Time:
    """A clock whose waits are over when a test says so, or at once."""

    passed_s: float = 0.0
    waits_s: list[float] = field(default_factory=list)
    during: Any = None

    def clock(self, ahead_s: float = 0.0) -> Clock:
        def now() -> Any:
            return datetime.now(UTC) + timedelta(seconds=self.passed_s + ahead_s)

        return Clock(now=now, monotonic_s=lambda: self.passed_s, sleep=self._sleep)

    async def _sleep(self, wait_s: float) -> None:
        self.waits_s.append(wait_s)
        if wait_s == RENEW_S and self.during is None:
            await asyncio.Event().wait()  # until the claim is let go
        self.passed_s += wait_s
        if self.during is not None:
            await self.during(wait_s)
        await asyncio.sleep(0)


class Flaky:
    """A client of the library whose writes fail as a script says; they may be done all the same."""

    def __init__(self, store: Any, faults: list[str]) -> None:
        self._store, self.faults = store, faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, *args: Any, **more: Any) -> Any:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "away":
            raise GenericError("error sending request")
        told = self._store.put(*args, **more)
        if fault == "timeout":
            raise GenericError("timed out")
        if fault == "repeated":  # its answer was lost, and the second try met the first
            is_new = more.get("mode") == "create"
            raise AlreadyExistsError("x") if is_new else PreconditionError("x")
        return told


def bucket_of(store: Any) -> Bucket:
    return Bucket(ObjectAddress("s3", "bucket", "x"), store, store)


def claim(store: Any, time: Time, name: str = "one", *, ahead_s: float = 0.0) -> Claim:
    lost: list[str] = []
    made = Claim(bucket_of(store), name, time.clock(ahead_s), lost.append)
    made.lost = lost  # type: ignore[attr-defined]
    return made


def says(store: Any) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(bytes(store.get(NAME).bytes()))
    return told


async def test_a_place_is_held_by_one_and_free_again_when_that_lets_go() -> None:
    store, time = MemoryStore(), Time()
    async with claim(store, time) as held:
        held.check()
        assert says(store)["run_id"] == "one"
        with pytest.raises(OutputHeld, match=r"s3://bucket/x is held by .* \(one, process"):
            await claim(store, time, "two").__aenter__()
    async with claim(store, time, "two"):
        assert says(store)["run_id"] == "two"
    assert time.waits_s.count(WATCH_S) == 0


async def test_a_stale_claim_is_watched_and_taken_over_if_nothing_moves() -> None:
    store, time = MemoryStore(), Time()
    async with AsyncExitStack() as never_let_go:
        dead = claim(store, time)
        await never_let_go.enter_async_context(dead)
        time.passed_s += 301
        assert not dead.is_taken_over
        async with claim(store, time, "two") as taken:
            assert taken.is_taken_over
            assert WATCH_S in time.waits_s
            assert says(store)["run_id"] == "two"
            with pytest.raises(StoreError, match="is not held any more"):
                dead.check()
        dead._is_lost = True


async def test_whoever_renews_while_he_is_watched_keeps_it_whatever_the_clocks_say() -> None:
    """The second machine's clock is ten minutes ahead: to it, every claim is stale."""
    store, time = MemoryStore(), Time()
    first = claim(store, time)
    async with first:
        await asyncio.sleep(0.01)  # its task waits by now

        async def renew(wait_s: float) -> None:
            if wait_s == WATCH_S:
                await first._put()

        time.during = renew
        with pytest.raises(OutputHeld, match="held by another run"):
            await claim(store, time, "two", ahead_s=600).__aenter__()
        first.check()
        time.during = None


@pytest.mark.parametrize("fault", ["timeout", "repeated", "away"])
async def test_a_write_whose_answer_is_lost_is_told_by_what_lies_there(fault: str) -> None:
    store, time = MemoryStore(), Time()
    flaky = Flaky(store, [fault])
    async with claim(flaky, time) as held:
        flaky.faults = [fault, fault]
        await held._put()
        held.check()
        assert says(store)["n"] >= 2
    with pytest.raises(FileNotFoundError):
        store.get(NAME)


async def test_a_store_that_is_away_gives_no_claim() -> None:
    with pytest.raises(StoreAway):
        await claim(Flaky(MemoryStore(), ["away"] * 9), Time()).__aenter__()


async def test_a_store_that_takes_every_write_keeps_nobody_out_and_is_refused() -> None:
    class TakesAll(Flaky):
        def put(self, path: str, data: bytes, **_: Any) -> Any:
            return self._store.put(path, data, use_multipart=False)

    with pytest.raises(UsageError, match="lets two runs write at once"):
        await claim(TakesAll(MemoryStore(), []), Time()).__aenter__()


async def test_who_cannot_renew_stops_before_anybody_may_think_that_he_is_gone() -> None:
    store, time = MemoryStore(), Time()
    flaky = Flaky(store, [])
    held = claim(flaky, time)
    began_s = 0.0

    async def away(_wait_s: float) -> None:
        flaky.faults = ["away"] * 9

    time.during = away
    async with held:
        for _ in range(1000):
            await asyncio.sleep(0.001)
            if held.lost:  # type: ignore[attr-defined]
                break
        [why] = held.lost  # type: ignore[attr-defined]
        assert "the store is away" in why
        assert UNSURE_S <= time.passed_s - began_s <= UNSURE_S + RENEW_S < 300
        with pytest.raises(StoreError):
            held.check()


async def test_a_machine_that_slept_does_not_go_on_as_if_nothing_had_happened() -> None:
    store, time = MemoryStore(), Time()
    held = claim(store, time)
    async with held:
        held.check()
        asleep = held._clock
        held._clock = Clock(
            now=lambda: asleep.now() + timedelta(minutes=10), monotonic_s=asleep.monotonic_s
        )
        with pytest.raises(StoreError, match="is not held any more"):
            held.check()
        assert held.lost  # type: ignore[attr-defined]


async def test_what_another_one_took_is_lost_at_the_next_renewal() -> None:
    store, time = MemoryStore(), Time()
    held = claim(store, time)

    async def taken(wait_s: float) -> None:
        if wait_s == RENEW_S and time.waits_s.count(RENEW_S) == 1:
            store.put(NAME, b"{}")

    time.during = taken
    async with held:
        for _ in range(1000):
            await asyncio.sleep(0.001)
            if held.lost:  # type: ignore[attr-defined]
                break
        assert held.lost == ["s3://bucket/x was taken by another run"]  # type: ignore[attr-defined]
    assert bytes(store.get(NAME).bytes()) == b"{}", "what is another's is not deleted"


async def test_renewals_at_the_same_moment_are_no_strangers_to_each_other() -> None:
    store, time = MemoryStore(), Time()
    async with claim(store, time) as held:
        await asyncio.gather(*(held.confirm() for _ in range(20)))
        held.check()
        assert says(store)["n"] == 22  # and one that made sure that others are kept out
        assert held.lost == []  # type: ignore[attr-defined]
