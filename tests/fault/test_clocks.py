"""Clocks that go wrong: a run after a run on one, and a jump in the middle of a run."""

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from batchgen import Redo, Runner
from batchgen.clock import Clock
from batchgen.store.layout import follow, new_run_id
from tests import ledgers, servers
from tests.runs import QuickTime, Ran, run_job, write_job
from tests.servers import Answer, Asked, FaultServer, refuses

HOURS = {"ahead": 2.0, "behind": -2.0, "a day ahead": 24.0, "a day behind": -24.0}
EVERYTHING = Redo(failed=frozenset())
MOMENT = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
Tried = Callable[[str, int, str], None]


class OddTime(QuickTime):
    """A clock whose wall somebody sets; what goes by is told by one that nobody can set."""

    def __init__(self, hours: float = 0.0) -> None:
        super().__init__()
        self.hours_off = hours

    def now(self) -> datetime:
        return super().now() + timedelta(hours=self.hours_off)


@pytest.fixture(params=HOURS.values(), ids=list(HOURS))
def hours(request: pytest.FixtureRequest) -> float:
    """How far a clock is off."""
    return float(request.param)


# --- one run after another ------------------------------------------------------------------------


async def test_the_run_that_came_last_is_the_last_one_wherever_the_clock_stood(
    hours: float, job: Path, tried: Tried
) -> None:
    with FaultServer(servers.once(refuses(400))) as server:

        async def run(hours_off: float, **options: Any) -> Ran:
            return await run_job(job, server, quick=OddTime(hours_off), **options)

        first = await run(hours)
        second = await run(0, redo=EVERYTHING)
        third = await run(hours)
        fourth = await run(-hours)
    runs = [first, second, third, fourth]
    assert [ran.exit_code for ran in runs] == [4, 0, 0, 0]
    assert server.requests == {"cat": 2}
    names = [ran.summary.run_id for ran in runs]
    assert names == sorted(set(names))
    assert all(ledgers.RUN_ID.fullmatch(name) for name in names)
    assert first.summary.diff is None
    assert second.summary.diff is not None
    assert second.summary.diff.fixed == ["cat"]
    assert (third.summary.items.reused, fourth.summary.items.reused) == (1, 1)
    tried("P14", 1, "clocks")


async def test_what_a_killed_run_left_is_found_once_after_its_clock_was_set_right(
    hours: float, job: Path
) -> None:
    with FaultServer(servers.draws) as server:
        killed = await run_job(job, server, quick=OddTime(hours))
        [segment] = (killed.directory / "ledger").glob("*.jsonl")
        begun = segment.read_bytes().splitlines(keepends=True)[:2]
        segment.write_bytes(b"".join(begun))
        (killed.directory / "images/cat.png").unlink()
        found = await run_job(job, server, quick=OddTime(), whole=False)
        again = await run_job(job, server, quick=OddTime(), whole=False)
        assert server.requests == {"cat": 2}
    assert found.told == again.told
    assert found.told == [("interrupted", "retry", "maybe"), ("image", "done", "yes")]
    ledgers.check_directory(job.parent / "output/job", ended=False)


def test_a_run_is_named_after_all_that_were_there_before_it(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    ledger.mkdir()
    names = [new_run_id(MOMENT)]
    for minutes in (60, 30, -90, 10, 60, 90):
        (ledger / f"{names[-1]}.jsonl").touch()
        names.append(follow(new_run_id(MOMENT + timedelta(minutes=minutes)), ledger))
    assert names == sorted(set(names))
    assert names[1].startswith("20261121T040000Z-")
    assert names[-1].startswith("20261121T043000Z-")


@pytest.mark.parametrize(
    ("newest", "next_one"),
    [
        ("20261121T030000Z-000fffff", "20261121T030000Z-001"),
        ("20261121T030000Z-ffe00000", "20261121T030000Z-fff"),
        ("20261231T235959Z-fff00000", "20270101T000000Z-000"),
    ],
)
def test_the_name_after_a_name_is_the_next_that_there_can_be(
    newest: str, next_one: str, tmp_path: Path
) -> None:
    for name in (f"{newest}.jsonl", "20991121T030000Z-00000000.torn", "notes.jsonl", "z.jsonl"):
        (tmp_path / name).touch()
    found = follow(new_run_id(MOMENT - timedelta(days=1)), tmp_path)
    assert found.startswith(next_one)
    assert ledgers.RUN_ID.fullmatch(found)


def test_every_share_of_a_second_is_followed_by_the_next(tmp_path: Path) -> None:
    for share in range(0, 4095, 7):
        newest = tmp_path / f"20261121T030000Z-{share:03x}fffff.jsonl"
        newest.touch()
        assert follow(new_run_id(MOMENT), tmp_path)[:20] == f"20261121T030000Z-{share + 1:03x}"
        newest.unlink()


async def test_a_clock_that_is_set_back_gives_neither_money_nor_requests_of_a_day_twice(
    tmp_path: Path,
) -> None:
    ids = [f"item-{n}" for n in range(10)]
    limits = {"concurrency": 1}
    with FaultServer(servers.draws) as server:
        capped = write_job(
            tmp_path / "job.jsonl", ids, limits=limits, budget={"max_cost_usd_per_day": 0.7}
        )
        first = await run_job(capped, server, quick=OddTime(24), limit=3, whole=False)
        second = await run_job(capped, server, quick=OddTime())
        assert (first.exit_code, second.exit_code, server.n_requests) == (0, 8, 5)

        server.requests.clear()
        few = write_job(tmp_path / "few.jsonl", ids, name="few", limits={**limits, "rpd": 5})
        first = await run_job(few, server, quick=OddTime(24), limit=3, whole=False)
        second = await run_job(few, server, quick=OddTime())
        assert (first.exit_code, second.exit_code, server.n_requests) == (0, 7, 5)


# --- a jump in the middle -------------------------------------------------------------------------


class FastTime:
    """A clock on which time goes by faster, with a wall that somebody sets."""

    def __init__(self, times: int, hours_off: float = 0.0) -> None:
        self.hours_off = hours_off
        self._times = times
        self._began_s = time.monotonic()
        self._began_at = datetime.now(UTC)

    def monotonic_s(self) -> float:
        return self._times * (time.monotonic() - self._began_s)

    def now(self) -> datetime:
        return self._began_at + timedelta(seconds=self.monotonic_s(), hours=self.hours_off)

    def clock(self) -> Clock:
        return Clock(
            now=self.now,
            monotonic_s=self.monotonic_s,
            sleep=lambda wait_s: asyncio.sleep(wait_s / self._times),
        )


@pytest.mark.parametrize(
    ("off_h", "jump_h"), [(0, 2), (0, -2), (2, 0), (-2, 0), (-24, 48)], ids=str
)
async def test_a_wrong_wall_clock_changes_no_wait(
    off_h: float, jump_h: float, tmp_path: Path, tried: Tried
) -> None:
    """The service's own clock is right; the wall clock here jumps with the first request."""
    ids = ["told seconds", "told a date"]
    job = write_job(tmp_path / "job.jsonl", ids, limits={"concurrency": 1})
    fast = FastTime(20, off_h)
    came: list[tuple[str, float]] = []

    def script(asked: Asked) -> Answer:
        if not came:
            fast.hours_off += jump_h
        came.append((f"{asked.prompt} {asked.nth}", fast.monotonic_s()))
        if asked.nth > 1:
            return servers.draws(asked)
        if asked.prompt == "told seconds":
            return refuses(429, retry_after="10")
        dates = (MOMENT, MOMENT + timedelta(seconds=20))
        date, until = (format_datetime(date, usegmt=True) for date in dates)
        return refuses(429, date=date, retry_after=until)

    with FaultServer(script) as server:
        async with Runner(
            job, output=tmp_path, base_url=server.url, clock=fast.clock(), max_duration="1h"
        ) as runner:
            async for _ in runner.results():
                pass
    assert runner.summary.exit_code == 0
    assert len(came) == 4
    # The pause is shared: nobody comes before it is over. A tenth and a second are added at most to
    # what was told; the rest is this machine's.
    after_s = {asked: next_s - at_s for (asked, at_s), (_, next_s) in pairwise(came)}
    assert 10 <= after_s["told seconds 1"] <= 12 + 10
    assert 20 <= after_s["told a date 1"] <= 23 + 10
    tried("P14", 1, "clocks")


@pytest.mark.parametrize("hours", [2, -2, 0])
@pytest.mark.parametrize("bound", ["max_duration", "deadline"])
async def test_a_clock_that_is_set_brings_a_deadline_nearer_and_no_other_end(
    bound: str, hours: float, tmp_path: Path, tried: Tried
) -> None:
    job = write_job(tmp_path / "job.jsonl", list("abcdefgh"), limits={"concurrency": 1})
    fast = FastTime(120)

    def script(asked: Asked) -> Answer:
        fast.hours_off = hours
        threading.Event().wait(0.15)  # an answer takes its time, or the run is over before
        return servers.draws(asked)

    in_an_hour = (datetime.now().astimezone() + timedelta(hours=1)).strftime("%H:%M")
    options: Any = {bound: "1h" if bound == "max_duration" else in_an_hour}
    with FaultServer(script) as server:
        async with Runner(
            job, output=tmp_path, base_url=server.url, clock=fast.clock(), **options
        ) as runner:
            async for _ in runner.results():
                pass
    is_over = bound == "deadline" and hours > 0
    assert runner.summary.exit_code == (10 if is_over else 0)
    assert (server.n_requests < 8) == is_over
    ledgers.check_directory(runner.directory)
    tried("P14", 1, "clocks")
