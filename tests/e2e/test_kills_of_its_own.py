"""A run that kills itself at one thing it does after the other, and the run that finishes it.

The same as `test_kill_points.py` does from outside, on any system: `tests/dying.py` counts what
Python does to the files of the run and to its connections. Unlike from outside, a write may end
in its middle, and what is counted goes through all threads.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests import crashes, ledgers
from tests.commands import DEADLINE_S, ROOT, Done, environment
from tests.crashes import Service
from tests.runs import KEY
from tests.servers import FaultServer

pytestmark = pytest.mark.reliability


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(os.environ) - set(environment()):
        monkeypatch.delenv(name)
    monkeypatch.setenv("COMETAPI_KEY", KEY)


def dying(job: Path, server: FaultServer, n: int) -> Done:
    """Run until it does its n-th thing; to the end if that never comes."""
    folder = job.parent
    script = (ROOT / "tests/dying.py", folder / "counts", folder / "output", n)
    to = ("-o", folder / "output", "--base-url", server.url, "--progress", "none")
    done = subprocess.run(
        [sys.executable, *map(str, script), "run", str(job), *map(str, to)],
        env=environment(COMETAPI_KEY=KEY),
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def counted(job: Path, server: FaultServer) -> list[str]:
    """What a run does that is not killed, in order."""
    done = dying(job, server, 0)
    assert done.code == 0, done.err
    return (job.parent / "counts").read_text().split("\n")


@pytest.fixture(scope="module")
def deeds(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the first run of the job does, in one of its orders."""
    with FaultServer(Service()) as server:
        return counted(crashes.write_mixed_job(tmp_path_factory.mktemp("counted")), server)


def killed(folder: Path, n: int) -> bool:
    """Kill a run at its n-th deed, and finish it; whether it came as far as that."""
    folder.mkdir()
    job, service = crashes.write_mixed_job(folder), Service()
    with FaultServer(service) as server:
        done = dying(job, server, n)
        assert done.code in {0, -signal.SIGKILL}, done.err
        crashes.finish(job, server, service)
    return done.code != 0


def all_killed(folder: Path, numbers: Iterable[int]) -> int:
    """Kill a run at each of these deeds; return how often it came as far as that."""
    return sum([killed(folder / str(n), n) for n in numbers])


def spread(n_deeds: int, n: int) -> list[int]:
    """n numbers from 1 to almost the last, evenly: how much a run does is not always the same."""
    return sorted({1 + at * int(0.95 * n_deeds) // n for at in range(n)})


@pytest.mark.parametrize("share", range(3))
def test_a_run_that_is_killed_anywhere_is_finished_by_the_next(
    share: int, tmp_path: Path, deeds: list[str], tried: Callable[[str, int, str], None]
) -> None:
    n_killed = all_killed(tmp_path, spread(len(deeds), 12)[share::3])
    assert n_killed >= 3
    tried("P1", n_killed, "kill points")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("share", range(10))
def test_a_run_that_is_killed_at_a_hundred_points_is_finished_by_the_next(
    share: int, tmp_path: Path, deeds: list[str], tried: Callable[[str, int, str], None]
) -> None:
    if crashes.why_no_strace() is None:
        pytest.skip("strace does it from outside: test_kill_points.py")
    n_killed = all_killed(tmp_path, spread(len(deeds), 110)[share::10])
    tried("P1", n_killed, "kill points")


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_run_that_is_killed_at_every_point_is_finished_by_the_next(
    tmp_path: Path, deeds: list[str], tried: Callable[[str, int, str], None]
) -> None:
    n_killed = all_killed(tmp_path, range(1, len(deeds) + 1))
    assert n_killed >= 0.9 * len(deeds)
    tried("P1", n_killed, "kill points")


# --- killed again while it finishes -------------------------------------------------------------


@pytest.fixture(scope="module")
def half_done(tmp_path_factory: pytest.TempPathFactory, deeds: list[str]) -> Path:
    """The folder of a run that was killed with a receipt, and something under way besides."""
    # When the directory of a picture is made durable, its receipt is there.
    for n in [at for at, deed in enumerate(deeds, 1) if deed == "fsync"][3:]:
        folder = tmp_path_factory.mktemp("half") / "done"
        folder.mkdir()
        job = crashes.write_mixed_job(folder)
        with FaultServer(Service()) as server:
            assert dying(job, server, n).code == -signal.SIGKILL
        directory = folder / "output/job"
        [segment] = (directory / "ledger").iterdir()
        lines = crashes.whole_lines(segment)
        n_open = sum(one["event"] == "sent" for one in lines) - sum(map(ledgers.is_attempt, lines))
        if list((directory / ".parts").glob("*.json")) and n_open > 1:
            return folder
    raise AssertionError("no run was killed with a receipt and a request under way")


def killed_again(half_done: Path, folder: Path, n: int) -> bool:
    """Kill the run that finishes another one, and finish that."""
    shutil.copytree(half_done, folder)
    job, directory = folder / "job.jsonl", folder / "output/job"
    whole, service = crashes.kept(directory), Service(refuses=frozenset())
    with FaultServer(service) as server:
        done = dying(job, server, n)
        assert done.code in {0, -signal.SIGKILL}, done.err
        # What the first run asked for is not in these counts: one more of each is none too many.
        for words, call in crashes.CALLS.items():
            service.n_drawn[words] += call in whole
            service.n_asked[words] += call in whole
        crashes.finish(job, server, service)
    assert all(
        service.n_asked[words] == 1 for words, call in crashes.CALLS.items() if call in whole
    )
    return done.code != 0


def deeds_of_the_second(half_done: Path, folder: Path) -> int:
    """How much the run does that finishes another one."""
    shutil.copytree(half_done, folder)
    with FaultServer(Service(refuses=frozenset())) as server:
        return len(counted(folder / "job.jsonl", server))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("share", range(4))
def test_a_run_that_finishes_another_one_may_be_killed_as_well(
    share: int, half_done: Path, tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    # What it finishes comes first, so the first third of what it does is tried closely.
    n_deeds = deeds_of_the_second(half_done, tmp_path / "counted")
    numbers = [*range(1, n_deeds // 3, 4), *range(n_deeds // 3, n_deeds, 16)][share::4]
    n_killed = sum([killed_again(half_done, tmp_path / str(n), n) for n in numbers])
    assert n_killed > 0
    tried("P1", n_killed, "kill points")


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_run_that_finishes_another_one_may_be_killed_anywhere(
    half_done: Path, tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    n_deeds = deeds_of_the_second(half_done, tmp_path / "counted")
    numbers = range(1, n_deeds + 1)
    n_killed = sum([killed_again(half_done, tmp_path / str(n), n) for n in numbers])
    assert n_killed >= 0.9 * n_deeds
    tried("P1", n_killed, "kill points")
