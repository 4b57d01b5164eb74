"""A disk that is slow: it holds up the pictures, and neither the network nor the clock of a run."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchgen import Runner
from batchgen.events import Event, RunBegan
from tests import ledgers, servers
from tests.runs import QuickTime, write_job
from tests.servers import FaultServer

if TYPE_CHECKING:
    from collections.abc import Callable

    Tried = Callable[[str, int, str], None]

pytestmark = pytest.mark.reliability

N_ITEMS = 40
IDS = [f"item-{n:02}" for n in range(N_ITEMS)]
SYNC_S = 0.15
# Of the machine, which has other things to do; a sync on the loop would be seen every time.
MAX_LAG_S = 0.1
WATCHED = ("fsync", "fdatasync", "write", "pwrite", "ftruncate", "unlink", "replace", "mkdir")


class Loop:
    """Looks every 5 ms how late it is, and how long the lookup of a host takes."""

    def __init__(self) -> None:
        self.lags_s: list[float] = []
        self.lookups_s: list[float] = []

    async def probe(self) -> None:
        while True:
            began_s = time.monotonic()
            await asyncio.sleep(0.005)
            self.lags_s.append(time.monotonic() - began_s - 0.005)

    async def probe_lookups(self) -> None:
        while True:
            began_s = time.monotonic()
            await asyncio.get_running_loop().getaddrinfo("localhost", 80)
            self.lookups_s.append(time.monotonic() - began_s)
            await asyncio.sleep(0.02)

    def p99_s(self) -> float:
        return sorted(self.lags_s)[len(self.lags_s) * 99 // 100]


def slow(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Make each sync slow, and count them."""
    n_syncs: Counter[str] = Counter()

    def sync(real: Any, descriptor: int) -> None:
        n_syncs["syncs"] += 1
        time.sleep(SYNC_S)
        real(descriptor)

    for name in ("fsync", "fdatasync"):
        if (real := getattr(os, name, None)) is not None:
            monkeypatch.setattr(os, name, partial(sync, real))
    return n_syncs


async def test_slow_syncs_hold_up_neither_the_loop_nor_a_request(
    tmp_path: Path, tried: Tried, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = write_job(
        tmp_path / "job.jsonl",
        IDS,
        limits={"concurrency": 16},
        timeouts={"connect": 1, "idle": 1, "attempt": 2},
    )
    n_syncs = slow(monkeypatch)
    loop = Loop()
    with FaultServer(servers.draws) as server:
        # A name, so that looking it up has to wait for no sync either.
        url = server.url.replace("127.0.0.1", "localhost")
        output = tmp_path / "output"
        async with Runner(job, output=output, base_url=url, clock=QuickTime().clock()) as runner:
            probes = [asyncio.create_task(one) for one in (loop.probe(), loop.probe_lookups())]
            statuses = [result.status async for result in runner.results()]
            for probe in probes:
                probe.cancel()
        assert server.requests == dict.fromkeys(IDS, 1)
    assert Counter(statuses) == {"done": N_ITEMS}
    assert {a["outcome"] for a in ledgers.attempts(runner.directory)} == {"image"}
    assert n_syncs["syncs"] > 2 * N_ITEMS
    assert loop.p99_s() < MAX_LAG_S, sorted(loop.lags_s)[-20:]
    # Two may be late for other reasons.
    assert sorted(loop.lookups_s)[-3] < SYNC_S, sorted(loop.lookups_s)[-20:]
    ledgers.check_directory(runner.directory)
    tried("P7", N_ITEMS, "slow items")


class Watched:
    """What each thread does to files under a directory, from the first request to the last."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._directory = str(directory)
        self.by_thread: dict[int, Counter[str]] = {}
        self.is_on = False
        for name in WATCHED:
            real = getattr(os, name, None)
            if real is not None:
                monkeypatch.setattr(os, name, partial(self._call, name, real))
        sys.addaudithook(self._opened)  # there is no way to take it off again

    def _call(self, name: str, real: Any, where: Any, *more: Any, **known: Any) -> Any:
        if self.is_on and (isinstance(where, int) or self._is_mine(where)):
            self._count(name)
        return real(where, *more, **known)

    def _opened(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.is_on and event == "open" and self._is_mine(arguments[0]):
            self._count("open" if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) else "read")

    def _is_mine(self, path: object) -> bool:
        return isinstance(path, str | Path) and str(path).startswith(self._directory)

    def _count(self, name: str) -> None:
        self.by_thread.setdefault(threading.get_ident(), Counter())[name] += 1


async def test_no_thread_but_those_of_the_disk_syncs_writes_or_removes_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = {"id": "talk", "turns": [{"prompt": "a hat"}, {"prompt": "a red one"}]}
    odd = {"id": "odd", "prompt": "odd"}
    job = write_job(tmp_path / "job.jsonl", [*IDS[:10], turns, odd], limits={"concurrency": 4})
    output = tmp_path / "output"
    watched = Watched(output, monkeypatch)
    cut = servers.sends(servers.http(200, b'{"candidates": [', length=500), end=servers.End.CLOSED)

    def watch(event: Event) -> None:
        if isinstance(event, RunBegan):
            watched.is_on = True

    def script(asked: servers.Asked) -> servers.Answer:
        return cut if asked.prompt == "odd" and asked.nth == 1 else servers.draws(asked)

    with FaultServer(script) as server:
        runner = Runner(
            job, output=output, base_url=server.url, clock=QuickTime().clock(), on_event=watch
        )
        async with runner:
            statuses = [result.status async for result in runner.results()]
            watched.is_on = False
    assert Counter(statuses)["done"] == 12
    ours = watched.by_thread.pop(threading.get_ident(), Counter())
    assert not set(ours) - {"read"}, ours
    others = sum(watched.by_thread.values(), Counter())
    assert set(others) >= {"fsync", "fdatasync", "write", "unlink", "replace", "open"}
