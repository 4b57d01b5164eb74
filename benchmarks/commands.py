"""One run of the command itself, as a process: to its end, or to its first request."""

import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Final

from benchmarks.contend import max_rss_bytes, peak_rss_bytes_of
from benchmarks.measure import Measured, RunFailedError, RunningServer, environment
from benchmarks.work import API_KEY

_TIMEOUT_S: Final = 900.0
_LOOK_EACH_S: Final = 0.02
_INTERRUPTED: Final = 130
_CHECKOUT: Final = Path(__file__).resolve().parents[1]


def command() -> list[str]:
    """How the command is called: by its script, if it is installed."""
    script = Path(sys.executable).with_name("batchgen")
    return [str(script)] if script.exists() else [sys.executable, "-m", "batchgen"]


@dataclass(slots=True)
class _Process:
    """A process that is watched: it cannot tell its own peak once it is gone."""

    popen: "subprocess.Popen[bytes]"
    began_s: float
    _peak_bytes: int = 0
    ended: Event = field(default_factory=Event)

    def watch(self) -> None:
        """Look at the peak until it ends."""
        while not self.ended.wait(_LOOK_EACH_S):
            self._peak_bytes = max(self._peak_bytes, peak_rss_bytes_of(self.popen.pid))

    @property
    def peak_bytes(self) -> int:
        """The peak that was seen last; where none can be, that of all processes so far."""
        return self._peak_bytes or max_rss_bytes(resource.RUSAGE_CHILDREN)


@contextmanager
def _started(arguments: Sequence[str], said: Path) -> Iterator[_Process]:
    """Start the command with what it says in a file; it does not outlive the block."""
    with said.open("wb") as file:
        began_s = time.monotonic()
        popen = subprocess.Popen(
            [*command(), *arguments], stdout=file, stderr=file, env=_environment()
        )
        process = _Process(popen, began_s)
        watching = Thread(target=process.watch)
        watching.start()
        try:
            yield process
        finally:
            process.ended.set()
            watching.join()
            popen.kill()
            popen.wait()


def _run_arguments(job: Path, output: Path, server: RunningServer) -> list[str]:
    arguments = ["run", str(job), "--output", str(output), "--base-url", server.base_url]
    return [*arguments, "--no-thumbnails", "--progress", "none", "--yes"]


def measure_beginning(
    job: Path, directory: Path, server: RunningServer, goes_on_s: float
) -> Measured:
    """Run a job until some time after its first request has come; then a Ctrl-C.

    Wall and CPU seconds are those of the whole process, with the end that the Ctrl-C made.

    Raises:
        RunFailedError: No request came, or the command did not end as one that was interrupted.
    """
    cpu_began_s = _children_cpu_s()
    said = directory / "said.txt"
    with _started(_run_arguments(job, directory / "output", server), said) as process:
        while server.counts()["requests"] == 0:
            _check_running(process, said)
            time.sleep(_LOOK_EACH_S)
        time.sleep(goes_on_s)
        process.popen.send_signal(signal.SIGINT)
        _expect(process, _INTERRUPTED, said)
        wall_s = time.monotonic() - process.began_s
    counts = server.counts()
    shutil.rmtree(directory / "output")
    extras = {
        "first_request_s": counts["first_s"] - process.began_s,
        "requests": counts["requests"],
    }
    cpu_s = _children_cpu_s() - cpu_began_s
    return Measured(wall_s, cpu_s, process.peak_bytes, extras=extras)


def measure_finished(job: Path, output: Path, server: RunningServer) -> Measured:
    """Run a job of which all is done, from the start of the process to its end.

    Raises:
        RunFailedError: It sent something, or did not take all of it for done.
    """
    cpu_began_s = _children_cpu_s()
    said = output.with_name("said.txt")
    with _started(_run_arguments(job, output, server), said) as process:
        _expect(process, 0, said)
        wall_s = time.monotonic() - process.began_s
    if n_sent := server.counts()["requests"]:
        raise RunFailedError(f"sent {n_sent:.0f} requests for what is done")
    return Measured(wall_s, _children_cpu_s() - cpu_began_s, process.peak_bytes)


def measure_start(option: str, *, is_first: bool) -> Measured:
    """Start `batchgen OPTION` and `python -c pass`, the one or the other first.

    Memory is not looked at: there is no time to.
    """
    calls = {
        "ours": [*command(), option],
        "bare": [sys.executable, "-c", "pass"],
    }
    taken_s = {name: _call_s(calls[name]) for name in sorted(calls, reverse=is_first)}
    extras = {
        "pass_ms": 1000 * taken_s["bare"][0],
        "beyond_ms": 1000 * (taken_s["ours"][0] - taken_s["bare"][0]),
    }
    return Measured(*taken_s["ours"], peak_rss_bytes=0, extras=extras)


def _call_s(arguments: Sequence[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a command."""
    cpu_began_s, began_s = _children_cpu_s(), time.perf_counter()
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, env=_environment())
    return time.perf_counter() - began_s, _children_cpu_s() - cpu_began_s


def _environment() -> dict[str, str]:
    """With this checkout before any other that is installed, and a key that opens nothing."""
    return environment() | {"PYTHONPATH": str(_CHECKOUT), "COMETAPI_KEY": API_KEY}


def _children_cpu_s() -> float:
    """User and system time of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _check_running(process: _Process, said: Path) -> None:
    if process.popen.poll() is not None:
        raise RunFailedError(f"ended before its first request: {_last_words(said)}")
    if time.monotonic() - process.began_s > _TIMEOUT_S:
        raise RunFailedError(f"no request within {_TIMEOUT_S:.0f} s")


def _expect(process: _Process, status: int, said: Path) -> None:
    try:
        found = process.popen.wait(_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise RunFailedError(f"not done within {_TIMEOUT_S:.0f} s") from None
    if found != status:
        raise RunFailedError(f"exit status {found} instead of {status}: {_last_words(said)}")


def _last_words(said: Path) -> str:
    return said.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
