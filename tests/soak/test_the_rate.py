"""Rates and outages over real time, counted by the server: `make soak`."""

import signal
import threading
import time
from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import ledgers, servers
from tests.commands import batchgen_within, emulator, started
from tests.runs import KEY, write_job
from tests.servers import Answer, Asked, FaultServer, refuses

Tried = Callable[[str, int, str], None]
RPM = 600
N_ITEMS = 1500
KILLED_AFTER_S = (20.0, 7.0, 40.0)
BUSY = {"error": {"code": 503, "status": "UNAVAILABLE", "message": "The model is overloaded."}}


def fullest(times: list[float], span_s: float) -> int:
    return max(bisect_left(times, at + span_s) - n for n, at in enumerate(times))


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_no_minute_at_the_server_is_too_full_the_first_and_those_after_a_kill_included(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tried: Tried
) -> None:
    ids = [f"item-{n:04}" for n in range(N_ITEMS)]
    job = write_job(tmp_path / "job.jsonl", ids, limits={"concurrency": 32, "rpm": RPM})
    with emulator("--latency", "0-1") as emulated:
        where = ("-o", tmp_path / "out", "--provider", "emulator", "--base-url", emulated.url)
        for after_s in KILLED_AFTER_S:
            with started("run", job, *where, "--progress", "none") as run:
                time.sleep(after_s)  # the moment is the point, nothing waits for it
                run.signal(signal.SIGKILL)
                run.end()
        done = batchgen_within(400, "run", job, *where, "--progress", "none")
        assert done.code == 0, done.err
        times = sorted(emulated.counts()["started_at"])
    used = fullest(times, 60)
    with capsys.disabled():
        print(f"\n{len(times)} requests, at most {used} in a minute of {RPM}")  # noqa: T201
    assert used <= RPM
    assert used >= 0.95 * RPM
    tried("P38", len(times), "requests")


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_thousand_items_survive_a_minute_without_the_service(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tried: Tried
) -> None:
    ids = [f"item-{n:04}" for n in range(1000)]
    job = write_job(tmp_path / "job.jsonl", ids, limits={"concurrency": 16})
    began_s = time.monotonic()
    away_s: list[float] = []
    back_s: list[float] = []

    def script(asked: Asked) -> Answer:
        age_s = time.monotonic() - began_s
        threading.Event().wait(0.2)  # an answer takes its time, or the run is over before
        if 5 <= age_s < 65:
            away_s.append(age_s)
            return refuses(503, BUSY)
        if age_s >= 65:
            back_s.append(age_s)
        return servers.draws(asked)

    with FaultServer(script) as server:
        where = ("-o", tmp_path / "out", "--base-url", server.url, "--progress", "none")
        done = batchgen_within(400, "run", job, *where, COMETAPI_KEY=KEY)
    assert done.code == 0, done.err
    with capsys.disabled():
        print(f"\n{len(away_s)} requests in the outage, back after {back_s[0] - 65:.1f} s")  # noqa: T201
    assert len(away_s) <= 16 + 35
    assert server.n_requests == 1000 + len(away_s)
    assert back_s[0] - 65 <= 64  # one pause at most
    ledgers.check_directory(tmp_path / "out/job")
    tried("P39", len(ids), "items in an outage")
