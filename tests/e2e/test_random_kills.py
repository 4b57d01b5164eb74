"""`kill -9` at random moments of a run whose service fails now and then, over and over.

Meanwhile another process looks at every picture that it can see, about every two milliseconds.
"""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import crashes, ledgers, servers
from tests.commands import (
    DEADLINE_S,
    Started,
    batchgen_within,
    environment,
    started,
    until,
)
from tests.runs import KEY, write_job
from tests.servers import Answer, Asked, End, FaultServer, http

CONCURRENCY = 8
SEED = 20261121
_OVERLOADED = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}


@dataclass
class Service:
    """Draws after a moment; one request in twenty is refused, not answered, or half answered.

    Attributes:
        n_drawn: Requests that may be paid, by item: all but those that were refused.
        n_faults: Requests that it failed on purpose.
    """

    rng: random.Random = field(default_factory=lambda: random.Random(SEED))
    n_drawn: Counter[str] = field(default_factory=Counter)
    n_faults: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, asked: Asked) -> Answer:
        with self._lock:
            chance, moment_s = self.rng.random(), self.rng.uniform(0, 0.1)
            self.n_faults += chance < 0.05
            if chance < 0.02:
                return servers.refuses(503, _OVERLOADED)
            self.n_drawn[asked.prompt] += 1
        if chance < 0.03:
            # Who closes at once has not read the request: that is sent again within its call.
            threading.Event().wait(1.2)
            return servers.BROKEN
        threading.Event().wait(moment_s)
        whole = http(200, json.dumps(servers.picture_of(asked)).encode())
        if chance < 0.05:
            return servers.sends(whole[: len(whole) // 2], end=End.BROKEN)
        return servers.sends(*crashes.cut(whole))


@contextmanager
def watched(directory: Path) -> Iterator[dict[str, Any]]:
    """Have another process look at the pictures; what it saw is there at the end."""
    seen: dict[str, Any] = {}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.watcher", str(directory)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as watcher:
        try:
            yield seen
        finally:
            told, _ = watcher.communicate(timeout=DEADLINE_S)
        seen.update(json.loads(told))


def killed_often(folder: Path, *, n_kills: int, n_items: int) -> tuple[Path, Service]:
    """Kill a run so many times, finish it, and hold what must hold after each kill and at the end.

    A life lasts for some requests and a moment, so that most kills meet answers on their way.
    """
    ids = [f"item-{n:04}" for n in range(n_items)]
    limits = {"concurrency": CONCURRENCY}
    job = write_job(folder / "job.jsonl", ids, limits=limits)
    directory, service, rng = folder / "job", Service(), random.Random(SEED)
    with FaultServer(service) as server:
        where = ("-o", folder, "--base-url", server.url, "--progress", "none")
        kept: dict[str, int] = {}
        for _ in range(n_kills):
            n_before, enough = server.n_requests, rng.randint(0, 9)
            moment_s = rng.uniform(0, 0.1)
            with started("run", job, *where, COMETAPI_KEY=KEY) as run:
                _until_asked(server, n_before + enough, run)
                time.sleep(moment_s)  # the moment is the point, nothing waits for it
                assert run.process.poll() is None, "there is not enough to do for so many kills"
                run.signal(signal.SIGKILL)
                run.end()
            kept |= {item: server.requests[item] for item, _ in crashes.kept(directory)} | kept
        _finish(job, where)
        asked_again = {item for item, n in kept.items() if server.requests[item] != n}
    assert not asked_again
    _check(directory, service, server.requests, ids)
    return directory, service


def _until_asked(server: FaultServer, n: int, run: Started) -> None:
    """Until the server was asked so often, or nobody asks it any more."""
    until(lambda: server.n_requests >= n or run.process.poll() is not None, f"{n} requests")


def _finish(job: Path, where: tuple[Any, ...]) -> None:
    """Run to the end; what failed for a fault that came twice is tried again."""
    codes = [4]
    while codes[-1] == 4 and len(codes) < 5:
        codes.append(batchgen_within(600, "run", job, *where, COMETAPI_KEY=KEY).code)
    assert codes[-1] == 0, codes


def _check(directory: Path, service: Service, n_asked: Counter[str], ids: list[str]) -> None:
    attempts = ledgers.attempts(directory)
    made = Counter(line["item"] for line in attempts if line["outcome"] == "image")
    assert made == dict.fromkeys(ids, 1)
    maybe = Counter(line["item"] for line in attempts if line["billed"] == "maybe")
    for item in ids:
        assert 0 <= service.n_drawn[item] - 1 <= maybe[item], item
    for item, path in ledgers.pictures(directory).items():
        nths = range(1, n_asked[item] + 1)
        assert path.read_bytes() in {servers.png(f"{item} {nth}") for nth in nths}
    ledgers.check_directory(directory, ended=False)
    crashes.check_listed(directory)


@pytest.mark.reliability
@pytest.mark.timeout(300)
def test_random_kills_lose_nothing_and_every_possible_double_payment_is_listed(
    tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    n_kills = 22
    with watched(tmp_path / "job") as seen:
        directory, service = killed_often(tmp_path, n_kills=n_kills, n_items=300)
    assert service.n_faults >= 5
    assert seen["partial"] == []
    assert any(line["outcome"] == "interrupted" for line in ledgers.attempts(directory))
    tried("P2", n_kills, "random kills")
    tried("P3", n_kills, "kills")
    tried("P4", seen["looks"], "looks")


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_hundreds_of_random_kills_lose_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tried: Callable[[str, int, str], None]
) -> None:
    n_kills, n_items = 500, 8000
    began_s = time.monotonic()
    with watched(tmp_path / "job") as seen:
        directory, service = killed_often(tmp_path, n_kills=n_kills, n_items=n_items)
    attempts = ledgers.attempts(directory)
    n_interrupted = sum(line["outcome"] == "interrupted" for line in attempts)
    n_recovered = sum(line["recovered"] for line in attempts)
    with capsys.disabled():
        print(  # noqa: T201 - how much was tried is the result
            f"\n{n_kills} kills in {time.monotonic() - began_s:.0f} s, "
            f"{service.n_drawn.total() - n_items} requests sent twice, {n_interrupted} calls "
            f"interrupted, {n_recovered} answers finished from disk, {seen['looks']} looks"
        )
    assert seen["partial"] == []
    assert n_recovered > 0
    tried("P2", n_kills, "random kills")
    tried("P3", n_kills, "kills")
    tried("P4", seen["looks"], "looks")


# --- one large answer ---------------------------------------------------------------------------

LARGE_BYTES = 64 << 20


def large_png() -> bytes:
    """A picture of 64 MiB, whose bytes are in chunks that no reader needs."""
    small = servers.png("large")
    head, rest = small[:33], small[33:]  # signature and IHDR, then the picture and its end
    filler = crashes.png_chunk(b"prVt", bytes(1 << 20))
    return head + filler * (LARGE_BYTES >> 20) + rest


@pytest.mark.reliability
@pytest.mark.timeout(180)
def test_a_large_picture_that_drips_in_is_not_seen_before_it_is_whole(
    tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    # The first request goes alone.
    ids = ["first", "large", *(f"small-{n:02}" for n in range(30))]
    job = write_job(tmp_path / "job.jsonl", ids, limits={"concurrency": 2})
    data = large_png()
    body = http(200, json.dumps(servers.document(servers.image_part(data))).encode())
    step = len(body) // 100
    pieces = [body[at : at + step] for at in range(0, len(body), step)]
    half_way = threading.Event()

    def drips(connection: Any) -> End:
        for n, piece in enumerate(pieces):
            connection.sendall(piece)
            threading.Event().wait(0.03)
            if n == len(pieces) // 2:
                half_way.set()
        return End.CLOSED

    directory = tmp_path / "job"
    draws = servers.draws
    with (
        FaultServer(lambda asked: drips if asked.prompt == "large" else draws(asked)) as server,
        watched(directory) as seen,
    ):
        where = ("-o", tmp_path, "--base-url", server.url, "--progress", "none")
        with started("run", job, *where, COMETAPI_KEY=KEY) as run:
            until(half_way.is_set, "half of the large answer")
            run.signal(signal.SIGKILL)
            run.end()
        assert not (directory / "images/large.png").exists()
        done = batchgen_within(60, "run", job, *where, COMETAPI_KEY=KEY)
        assert done.code == 0, done.err
        until(lambda: (directory / "images/large.png").stat().st_size == len(data), "the picture")
    assert seen["partial"] == []
    assert (directory / "images/large.png").read_bytes() == data
    ledgers.check_directory(directory, ended=False)
    tried("P4", seen["looks"], "looks")
