"""The command on a wall clock that is wrong, or that somebody sets while it runs: libfaketime."""

import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from tests import ledgers, servers
from tests.commands import Done, batchgen, started, until
from tests.runs import KEY, write_job
from tests.servers import Answer, Asked, FaultServer, refuses

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
pytestmark = [
    pytest.mark.reliability,
    pytest.mark.skipif(
        not LIBRARIES,
        reason="no libfaketime: on Debian, apt-get install faketime; "
        "tests/fault/test_clocks.py holds the same with a clock of its own",
    ),
]
# When a machine is busy, a process may be so much late.
LATE_S = 2.5
Tried = Callable[[str, int, str], None]


class WallClock:
    """The wall clock of a process, by a file that is looked at all the time."""

    def __init__(self, place: Path, hours: float = 0) -> None:
        self._file = place / "clock"
        self.jump_to(hours)

    def jump_to(self, hours: float) -> None:
        self._say(f"{hours:+g}h")

    def stand_at(self, clock_time: str) -> None:
        """Show that time of that place, and no other until somebody says so."""
        self._say(f"2026-11-21 {clock_time}")

    def _say(self, when: str) -> None:
        draft = self._file.with_suffix(".draft")
        draft.write_text(f"{when}\n")
        draft.replace(self._file)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # its newer name
            "NO_FAKE_STAT": "1",
        }


def run(job: Path, server: FaultServer, *flags: str, **env: str) -> Done:
    where = ("-o", job.parent, "--base-url", server.url, "--progress", "none")
    return batchgen("run", job, *where, *flags, COMETAPI_KEY=KEY, **env)


def hours_off(stamp: str) -> float:
    """How far a stamp of the ledger is from this machine's clock."""
    return (datetime.fromisoformat(stamp) - datetime.now(UTC)).total_seconds() / 3600


@pytest.mark.parametrize(("begin_h", "end_h"), [(2, 2), (-2, -2), (0, 2), (0, -2)], ids=str)
def test_waits_and_paces_are_the_same_on_any_wall_clock(
    begin_h: float, end_h: float, tmp_path: Path, tried: Tried
) -> None:
    ids = ["told seconds", "told a date", "c", "d", "e"]
    limits = {"concurrency": 1, "rpm": 60}
    job = write_job(tmp_path / "job.jsonl", ids, limits=limits, budget={"max_duration": "1h"})
    wall = WallClock(tmp_path, begin_h)
    came: list[tuple[str, float]] = []

    def script(asked: Asked) -> Answer:
        came.append((f"{asked.prompt} {asked.nth}", time.monotonic()))
        wall.jump_to(end_h)
        if asked.nth > 1 or not asked.prompt.startswith("told"):
            return servers.draws(asked)
        if asked.prompt == "told seconds":
            return refuses(429, retry_after="2")
        now = datetime.now(UTC).replace(microsecond=0)
        date, until_ = (format_datetime(now + timedelta(seconds=s), usegmt=True) for s in (0, 3))
        return refuses(429, date=date, retry_after=until_)

    with FaultServer(script) as server:
        done = run(job, server, **wall.environment)
    assert done.code == 0, done.err
    assert len(came) == 7
    waits_s = {asked: next_s - at_s for (asked, at_s), (_, next_s) in pairwise(came)}
    assert 2 <= waits_s.pop("told seconds 1") <= 2 * 1.1 + 1 + LATE_S
    assert 3 <= waits_s.pop("told a date 1") <= 3 * 1.1 + 1 + LATE_S
    # What arrives late is followed the sooner by what is in time: only together they show a pace.
    paced_s = sorted(waits_s.values())
    assert sum(paced_s) >= len(paced_s) - 0.5
    assert paced_s[-1] <= 1.1 + LATE_S
    ledgers.check_directory(tmp_path / "job")
    [segment] = ledgers.segments(tmp_path / "job")
    assert hours_off(segment[0]["at"]) == pytest.approx(begin_h, abs=0.1)
    assert hours_off(segment[-1]["at"]) == pytest.approx(end_h, abs=0.1)
    tried("P14", 1, "clocks")


def test_a_deadline_of_the_clocks_here_ends_the_night_and_the_next_makes_the_rest(
    tmp_path: Path, tried: Tried
) -> None:
    ids = [f"item-{n}" for n in range(4)]
    job = write_job(tmp_path / "job.jsonl", ids, limits={"concurrency": 1})
    wall = WallClock(tmp_path)
    env = {**wall.environment, "TZ": "CET-1CEST,M3.5.0,M10.5.0/3"}
    stopping = threading.Event()

    def script(asked: Asked) -> Answer:
        wall.stand_at("06:30:01")
        return servers.waits_for(stopping, servers.draws(asked))

    with FaultServer(script) as server:
        wall.stand_at("06:29:59")
        where = ("-o", tmp_path, "--base-url", server.url, "--deadline", "06:30")
        with started("run", job, *where, COMETAPI_KEY=KEY, **env) as night:
            assert night.process.stderr is not None
            lines = iter(night.process.stderr.readline, b"")
            assert any(b"the time is over" in line for line in lines)
            stopping.set()
            assert (night.end().code, server.n_requests) == (10, 1)
        wall.stand_at("06:31:00")  # the next 06:30 is tomorrow's
        done = run(job, server, "--deadline", "06:30", **env)
        assert (done.code, server.requests) == (0, dict.fromkeys(ids, 1)), done.err
    ledgers.check_directory(tmp_path / "job")
    tried("P14", 1, "clocks")


def test_runs_on_clocks_that_are_set_between_them_know_which_was_the_last(
    tmp_path: Path, tried: Tried
) -> None:
    ids = [f"item-{n}" for n in range(6)]
    job = write_job(tmp_path / "job.jsonl", ids, limits={"concurrency": 1})
    wall = WallClock(tmp_path)
    directory = tmp_path / "job"
    where = ("-o", tmp_path, "--progress", "none")

    def script(asked: Asked) -> Answer:
        if asked.prompt == "item-5" and asked.nth == 1:
            return refuses(400)
        is_first_of_its = asked.nth == 1 and asked.prompt in {"item-1", "item-3"}
        return servers.stalls() if is_first_of_its else servers.draws(asked)

    with FaultServer(script) as server:
        for hours, stuck in ((2.0, "item-1"), (0.0, "item-3")):
            wall.jump_to(hours)
            env = {"COMETAPI_KEY": KEY, **wall.environment}
            with started("run", job, *where, "--base-url", server.url, **env) as killed:
                until(partial(server.requests.__getitem__, stuck), f"the request for {stuck}")
                killed.signal(signal.SIGKILL)
                killed.end()
        wall.jump_to(-2)
        assert run(job, server, **wall.environment).code == 4
        wall.jump_to(-24)
        assert run(job, server, "--retry-failed", **wall.environment).code == 0
        assert run(job, server).code == 0
        assert server.n_requests == len(ids) + 3
    ledgers.check_directory(directory, ended=False)
    told = [(line["item"], line["outcome"]) for line in ledgers.attempts(directory)]
    assert sorted(item for item, outcome in told if outcome == "image") == ids
    assert [item for item, outcome in told if outcome == "interrupted"] == ["item-1", "item-3"]
    summary = ledgers.summary(directory)
    assert summary["items"]["reused"] == len(ids)
    assert len(ledgers.segments(directory)) == 5
    tried("P14", 1, "clocks")
