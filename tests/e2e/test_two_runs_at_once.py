"""Two runs on one directory: one goes on, the other is refused; a killed one is in nobody's way."""

import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import ledgers, servers
from tests.commands import DEADLINE_S, Done, batchgen, environment, started, until
from tests.runs import KEY, write_job
from tests.servers import Answer, Asked, FaultServer

IDS = ["a", "b", "c"]


class UntilReleased:
    """Answers nothing before it is told to."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def __call__(self, asked: Asked) -> Answer:
        return servers.waits_for(self.released, servers.draws(asked))


def command(folder: Path, server: FaultServer, key: str) -> subprocess.Popen[bytes]:
    """A run whose requests are told by its key."""
    to = ("-o", str(folder), "--base-url", server.url, "--progress", "none")
    return subprocess.Popen(
        [sys.executable, "-m", "batchgen", "run", str(folder / "job.jsonl"), *to],
        env=environment(COMETAPI_KEY=key),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def end(run: subprocess.Popen[bytes]) -> Done:
    out, err = run.communicate(timeout=DEADLINE_S)
    return Done(run.returncode, out.decode(), err.decode())


def check_a_pair(folder: Path) -> None:
    """Start two runs at the same moment: one makes everything, the other sends nothing."""
    folder.mkdir()
    write_job(folder / "job.jsonl", IDS)
    script = UntilReleased()
    with FaultServer(script) as server:
        keys = ("a-key-of-the-first-run", "a-key-of-the-second-run")
        runs = [command(folder, server, key) for key in keys]
        until(lambda: any(run.poll() is not None for run in runs), "one of them ends")
        until(lambda: server.n_requests > 0, "the other one sends")
        [refused] = [run for run in runs if run.poll() is not None]
        [other] = [run for run in runs if run is not refused]
        script.released.set()
        told, done = end(refused), end(other)
        senders = {asked.headers["x-goog-api-key"] for asked in server.log}
        assert senders == {keys[runs.index(other)]}
        assert server.requests == Counter(IDS)
    assert (told.code, done.code) == (11, 0), told.err + done.err
    assert told.out == ""
    [segment] = ledgers.segments(folder / "job")
    assert f"held by another run ({segment[0]['run_id']}, process {other.pid} on " in told.err
    ledgers.check_directory(folder / "job")
    assert not list((folder / "job").glob(".items.*"))


def check_a_stale_lock(folder: Path) -> None:
    """Kill a run that holds the directory; the next one goes on at once."""
    folder.mkdir()
    job = write_job(folder / "job.jsonl", IDS)
    directory, script = folder / "job", UntilReleased()
    with FaultServer(script) as server:
        to = ("-o", folder, "--base-url", server.url, "--progress", "none")
        with started("run", job, *to, COMETAPI_KEY=KEY) as killed:
            until(lambda: server.n_requests > 0, "a request under way")
            killed.signal(signal.SIGKILL)
            assert killed.end().code == -signal.SIGKILL
        assert f'"pid": {killed.process.pid}' in (directory / ".lock").read_text()
        n_before = server.n_requests
        script.released.set()
        done = batchgen("run", job, *to, COMETAPI_KEY=KEY)
        assert done.code == 0, done.err
        assert server.n_requests == n_before + len(IDS)
    ledgers.check_directory(directory, ended=False)


@pytest.mark.reliability
@pytest.mark.timeout(180)
@pytest.mark.parametrize("share", range(2))
def test_of_two_runs_at_once_one_goes_on_and_the_other_says_who_holds_the_directory(
    share: int, tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    for n in range(5):
        check_a_pair(tmp_path / f"{share}-{n}")
    tried("P8", 5, "pairs of runs")


@pytest.mark.reliability
@pytest.mark.timeout(180)
@pytest.mark.parametrize("share", range(2))
def test_the_lock_of_a_killed_run_does_not_block_the_next(
    share: int, tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    for n in range(5):
        check_a_stale_lock(tmp_path / f"{share}-{n}")
    tried("P8", 5, "stale locks")


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_fifty_pairs_of_runs_and_fifty_stale_locks(
    tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    for n in range(50):
        check_a_pair(tmp_path / f"pair-{n}")
        check_a_stale_lock(tmp_path / f"stale-{n}")
    tried("P8", 50, "pairs of runs")
    tried("P8", 50, "stale locks")
