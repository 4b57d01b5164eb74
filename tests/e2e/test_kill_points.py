"""`kill -9` at one system call after the other, and the run that finishes the rest.

strace kills the command as it enters a call. It counts the calls of each thread by itself, so it
is used in two ways: from the start of the command, for what its main thread does before anything
is sent, and from the moment when request number `nth` is at the server, for what all threads do
from then on. Where there is no strace, `test_kills_of_its_own.py` proves the same.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from tests import crashes
from tests.commands import DEADLINE_S, environment, until
from tests.crashes import Service
from tests.runs import KEY
from tests.servers import Answer, Asked, FaultServer

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(300)]

# What changes something outside of the process, or lets it know that something was changed.
CALLS = (
    *("write", "pwrite64", "writev", "fsync", "fdatasync", "rename", "renameat2", "unlink"),
    *("openat", "ftruncate", "sendto", "sendmsg", "recvfrom", "recvmsg"),
)
# As far as they are counted from a request on, and how many of each are worth a kill of their own.
N_OF_A_REQUEST = {
    "write": 4,
    "fsync": 2,
    "fdatasync": 3,
    "rename": 3,
    "unlink": 4,
    "openat": 7,
    "sendto": 5,
    "recvfrom": 4,
}
N_REQUESTS = len(crashes.CALLS) + 1


@pytest.fixture(scope="module", autouse=True)
def strace() -> None:
    """Where there is none, say so: it is the reason that pytest shows at its end."""
    if (why := crashes.why_no_strace()) is not None:
        pytest.skip(f"NOT TRIED: no kill at system calls: {why} (apt-get install strace)")


def killing(call: str, n: int) -> tuple[str, ...]:
    """Have strace kill whoever makes a call for the n-th time."""
    return (
        *crashes.STRACE,
        "-o",
        os.devnull,
        "-e",
        f"trace={call}",
        "-e",
        f"inject={call}:signal=KILL:when={n}",
    )


def command(job: Path, server: FaultServer) -> list[str]:
    to = ("-o", str(job.parent / "output"), "--base-url", server.url, "--progress", "none")
    return [sys.executable, "-m", "batchgen", "run", str(job), *to]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(os.environ) - set(environment()):
        monkeypatch.delenv(name)
    monkeypatch.setenv("COMETAPI_KEY", KEY)


# --- from the start -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def first_calls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[int]]:
    """Which of the main thread's calls, by their number, touch the job's directory or a server."""
    folder = tmp_path_factory.mktemp("counted")
    job, log = crashes.write_mixed_job(folder), folder / "log"
    with FaultServer(Service()) as server:
        traced = (*crashes.STRACE, "-yy", "-o", str(log), "-e", f"trace={','.join(CALLS)}")
        for _ in range(2):  # the first time bytecode is written besides
            shutil.rmtree(folder / "output", ignore_errors=True)
            ran = subprocess.Popen(
                [*traced, *command(job, server)],
                env=environment(COMETAPI_KEY=KEY),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            assert ran.wait(DEADLINE_S) == 0
    lines = log.read_text(errors="replace").splitlines()
    main = lines[0].split()[0]
    counted, touching = dict.fromkeys(CALLS, 0), {call: [0] for call in CALLS}
    for line in lines:
        thread, _, told = line.partition(" ")
        if thread != main or (made := re.match(r"\s*(\w+)\(", told)) is None:
            continue
        counted[made[1]] += 1
        if f"{folder}/output" in told or "<TCP:" in told:
            touching[made[1]].append(counted[made[1]])
    return {call: numbers[1:] for call, numbers in touching.items() if numbers[1:]}


def killed_from_the_start(folder: Path, call: str, numbers: list[int]) -> int:
    """Kill a run at each of these calls, and finish it; return how often it was killed."""
    n_killed = 0
    for n in numbers:
        job, service = crashes.write_mixed_job(_made(folder / f"{call}-{n}")), Service()
        with FaultServer(service) as server:
            ran = subprocess.run(
                [*killing(call, n), *command(job, server)],
                env=environment(COMETAPI_KEY=KEY),
                capture_output=True,
                timeout=DEADLINE_S,
                check=False,
            )
            assert ran.returncode in {0, -signal.SIGKILL}, ran.stderr.decode()
            n_killed += ran.returncode != 0
            crashes.finish(job, server, service)
    return n_killed


@pytest.mark.parametrize("share", range(2))
def test_a_run_killed_before_its_first_request_and_after_is_finished_by_the_next(
    share: int,
    tmp_path: Path,
    first_calls: dict[str, list[int]],
    tried: Callable[[str, int, str], None],
) -> None:
    n_killed = 0
    for call, numbers in first_calls.items():
        chosen = _spread(numbers, 4)[share::2]
        n_killed += killed_from_the_start(tmp_path, call, chosen)
    tried("P1", n_killed, "kill points")


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_run_killed_at_any_call_of_its_main_thread_is_finished_by_the_next(
    tmp_path: Path, first_calls: dict[str, list[int]], tried: Callable[[str, int, str], None]
) -> None:
    n_killed = 0
    for call, numbers in first_calls.items():
        n_killed += killed_from_the_start(tmp_path, call, _spread(numbers, 60))
    tried("P1", n_killed, "kill points")


def _spread(numbers: list[int], n: int) -> list[int]:
    """At most n of them, evenly."""
    if len(numbers) <= n:
        return numbers
    return [numbers[round(at * (len(numbers) - 1) / (n - 1))] for at in range(n)]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


# --- from a request on --------------------------------------------------------------------------


class Gate:
    """A service that holds request number `nth`, of all, until it is told to go on."""

    def __init__(self, service: Service, nth: int) -> None:
        self._service = service
        self._left = nth
        self._lock = threading.Lock()
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self, asked: Asked) -> Answer:
        answer = self._service(asked)
        with self._lock:
            self._left -= 1
            is_held = self._left == 0
        if is_held:
            self.reached.set()
            assert self.opened.wait(DEADLINE_S)
        return answer


@contextmanager
def attached(pid: int, call: str, n: int) -> Iterator[None]:
    """Have a process that is there already killed at its n-th call from now on."""
    with subprocess.Popen([*killing(call, n), "-p", str(pid)], stderr=subprocess.DEVNULL) as strace:
        until(lambda: strace.poll() is not None or _is_traced(pid), f"strace attached to {pid}")
        yield


def _is_traced(pid: int) -> bool:
    """Whether all threads of a process are traced."""
    told = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return not any("TracerPid:\t0\n" in status for status in told)


def killed_from_a_request_on(folder: Path, call: str, n: int, nth: int) -> bool:
    """Kill a run and finish it; whether it came as far as that."""
    job, service = crashes.write_mixed_job(_made(folder / f"{call}-{n}-{nth}")), Service()
    gate = Gate(service, nth)
    with FaultServer(gate) as server:
        with subprocess.Popen(
            command(job, server),
            env=environment(COMETAPI_KEY=KEY),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as run:
            assert gate.reached.wait(DEADLINE_S)
            with attached(run.pid, call, n):
                gate.opened.set()
                code = run.wait(DEADLINE_S)
        assert code in {0, -signal.SIGKILL}
        crashes.finish(job, server, service)
    return code != 0


@pytest.mark.parametrize("nth", [1, 3, N_REQUESTS - 1])
@pytest.mark.parametrize("call", N_OF_A_REQUEST)
def test_a_run_killed_while_answers_come_loses_none_of_them(
    call: str, nth: int, tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    numbers = range(1, N_OF_A_REQUEST[call] + 1)
    killed = [killed_from_a_request_on(tmp_path, call, n, nth) for n in numbers]
    assert any(killed)
    tried("P1", sum(killed), "kill points")


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("call", N_OF_A_REQUEST)
def test_a_run_killed_at_any_call_while_answers_come_loses_none_of_them(
    call: str, tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    n_killed = 0
    for nth in range(1, N_REQUESTS + 1):
        for n in count(1):
            # Of the names that might be in the way, hundreds are removed for each answer.
            if n > 30 or not killed_from_a_request_on(tmp_path, call, n, nth):
                break
            n_killed += 1
    tried("P1", n_killed, "kill points")
