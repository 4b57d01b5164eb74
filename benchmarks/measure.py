"""One run measured: a contender's process against the server's, and a look at what it wrote."""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from threading import Event
from typing import Final

from benchmarks.reply import png
from benchmarks.work import Task, Work, dumps

RUN_TIMEOUT_S: Final = 300.0
TRAFFIC_TIMEOUT_S: Final = 300.0
VIEWED_TIMEOUT_S: Final = 400.0
_LOOK_EACH_S: Final = 0.02
# They check the pictures themselves, and throw them away.
KEEP_NOTHING: Final = frozenset({"bare_aiohttp"})


class RunFailedError(Exception):
    """A contender did not do its work; the message says what it did instead."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """How a run fared with a server that has a limit.

    Attributes:
        used: The share of what the server allowed, over the last 80 % of the requests.
        refused: The share of all requests that it refused.
    """

    used: float
    refused: float


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of one run; those of its traffic where the server had a limit.

    Attributes:
        extras: What else was measured, by the names of the scenario's columns.
    """

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    traffic: Traffic | None = None
    extras: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Median:
    """The medians of a contender's runs, and how far its rates lie apart."""

    wall_s: float
    cpu_s: float
    peak_rss_bytes: float
    per_s: float
    least_per_s: float
    most_per_s: float
    traffic: Traffic | None = None
    extras: Mapping[str, float] = field(default_factory=dict)


def median_of(runs: Sequence[Measured], n: int) -> Median:
    """Take each median by itself; `n` is the number of calls or items of one run."""
    wall_s = median(run.wall_s for run in runs)
    return Median(
        wall_s=wall_s,
        cpu_s=median(run.cpu_s for run in runs),
        peak_rss_bytes=median(run.peak_rss_bytes for run in runs),
        per_s=n / wall_s,
        least_per_s=n / max(run.wall_s for run in runs),
        most_per_s=n / min(run.wall_s for run in runs),
        traffic=_median_traffic([run.traffic for run in runs if run.traffic is not None]),
        extras={key: median(run.extras[key] for run in runs) for key in runs[0].extras},
    )


def _median_traffic(runs: Sequence[Traffic]) -> Traffic | None:
    if not runs:
        return None
    return Traffic(median(run.used for run in runs), median(run.refused for run in runs))


@dataclass(frozen=True, slots=True)
class RunningServer:
    """The server of one run."""

    base_url: str

    def counts(self) -> dict[str, float]:
        """What it has seen so far."""
        with urllib.request.urlopen(f"{self.base_url}/counts", timeout=10) as answer:
            counts: dict[str, float] = json.load(answer)
            return counts

    def release(self) -> None:
        """Let it answer those that wait."""
        urllib.request.urlopen(f"{self.base_url}/release", timeout=10).close()


@contextmanager
def running_server(module: str, *arguments: str) -> Iterator[RunningServer]:
    """Start a server process; it ends with the block, or with this process."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise AssertionError(command)
        yield RunningServer(f"http://127.0.0.1:{int(process.stdout.readline())}")
        process.stdin.close()


def measure(contender: str, work: Work, image_bytes: int, server: RunningServer) -> Measured:
    """Run a contender in a fresh process, check what it wrote, and clear it away.

    Raises:
        RunFailedError: It failed, took too long, sent too many requests, or did not write the
            images.
    """
    measured = _checked(contender, work, image_bytes, RUN_TIMEOUT_S)
    _check_requests(work, server)
    return measured


def measure_waiting(
    contender: str, work: Work, image_bytes: int, server: RunningServer
) -> Measured:
    """The same, with a look at the part files while all requests wait for the server.

    Raises:
        RunFailedError: As above; or they never all waited.
    """
    parts = Path(work.directory, "output", "bench", ".parts")
    ended = Event()
    with ThreadPoolExecutor(1) as executor:
        looking = executor.submit(parts_while_all_wait, parts, work.concurrency, server, ended)
        try:
            measured = _checked(contender, work, image_bytes, RUN_TIMEOUT_S)
        finally:
            ended.set()
        n_parts = looking.result()
    _check_requests(work, server)
    return replace(measured, extras={"n_parts": n_parts})


def parts_while_all_wait(parts: Path, n_waiting: int, server: RunningServer, ended: Event) -> int:
    """Wait until the server has so many to answer, count the part files, and let it answer.

    Raises:
        RunFailedError: The run ended before.
    """
    while server.counts()["waiting"] < n_waiting:
        if ended.wait(_LOOK_EACH_S):
            raise RunFailedError(f"there were never {n_waiting} requests that waited")
    n_parts = sum(path.is_file() for path in parts.rglob("*.part"))
    server.release()
    return n_parts


def _check_requests(work: Work, server: RunningServer) -> None:
    if (n_sent := server.counts()["requests"]) != work.n:
        raise RunFailedError(f"sent {n_sent} requests instead of {work.n}")


def measure_traffic(
    contender: str, work: Work, image_bytes: int, server: RunningServer
) -> Measured:
    """The same against a server that refuses what is beyond its limit.

    Raises:
        RunFailedError: It failed, took too long, had more images made than it needed, or did not
            write them.
    """
    measured = _checked(contender, work, image_bytes, TRAFFIC_TIMEOUT_S)
    counts = server.counts()
    if counts["taken"] != work.n:
        raise RunFailedError(f"had {counts['taken']} images made instead of {work.n}")
    refused = counts["refused"] / (counts["refused"] + counts["taken"])
    return replace(measured, traffic=Traffic(counts["used"], refused))


def measure_viewed(contender: str, work: Work, server: RunningServer) -> Measured:
    """The same where each picture is another one.

    Raises:
        RunFailedError: It failed, took too long, sent too many requests, or did not write the
            images; or whoever looked did not see them all.
    """
    directory = Path(work.directory)
    directory.mkdir()
    try:
        measured = run(contender, work, VIEWED_TIMEOUT_S)
        n_images = len({path.read_bytes()[-64:] for path in directory.rglob("images/*.png")})
    finally:
        shutil.rmtree(directory)
    if (n_sent := server.counts()["requests"]) != work.n or n_images != work.n:
        raise RunFailedError(f"{n_images} images of {n_sent} requests instead of {work.n}")
    return measured


def _checked(contender: str, work: Work, image_bytes: int, timeout_s: float) -> Measured:
    directory = Path(work.directory)
    directory.mkdir()
    try:
        measured = run(contender, work, timeout_s)
        _check_images(directory, 0 if contender in KEEP_NOTHING else work.n, image_bytes)
    finally:
        shutil.rmtree(directory)
    return measured


def run(contender: str, task: Task, timeout_s: float = RUN_TIMEOUT_S) -> Measured:
    """Run a contender in a fresh process.

    Raises:
        RunFailedError: It failed, or took too long.
    """
    command = [sys.executable, "-m", "benchmarks.contend", contender]
    try:
        done = subprocess.run(
            command,
            input=dumps(task),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RunFailedError(f"not done within {timeout_s:.0f} s") from None
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise RunFailedError(f"exit status {done.returncode}: {last}")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def environment() -> dict[str, str]:
    """Ours without proxies: all traffic stays on loopback.

    Byte code is kept, as everybody's is that was installed: a checkout's own would be compiled anew
    at each start where somebody has switched that off.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and name != "PYTHONDONTWRITEBYTECODE"
    }


def _check_images(directory: Path, n: int, image_bytes: int) -> None:
    """All images are there in full length; one of them is compared byte by byte."""
    images = sorted(directory.rglob("*.png"))
    n_whole = sum(path.stat().st_size == image_bytes for path in images)
    if (len(images), n_whole) != (n, n):
        raise RunFailedError(f"{n_whole} whole images of {len(images)} instead of {n}")
    if images and images[-1].read_bytes() != png(image_bytes):
        raise RunFailedError(f"{images[-1].name} is not the image that was sent")
