"""`kill -9` at one request to an object store after the other, and the run that goes on from there.

The server in between kills the process when its n-th request comes: before it is passed on, or when
it was done and its answer is not there yet.
"""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import crashes, ledgers, servers
from tests.commands import batchgen, started
from tests.objects import Between, Fault, ObjectStore, OneBucket, Request, environment_of, mirror_on
from tests.objects import object_store as running_store
from tests.runs import KEY, write_job
from tests.servers import FaultServer

pytestmark = pytest.mark.reliability

IDS = ["hero", "late", "plain", "same-1", "same-2", "talk"]
ITEMS: list[Any] = [
    "hero",
    {"id": "late", "prompt": "late", "references": ["item:hero"]},
    "plain",
    {"id": "same-1", "prompt": "same"},
    {"id": "same-2", "prompt": "same"},
    {"id": "talk", "turns": [{"prompt": "talk one"}, {"prompt": "talk two"}]},
]
PROMPTS = Counter(["hero", "late", "plain", "same", "talk one", "talk two"])
N_CHECKED = 12


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with running_store() as store:
        yield store


class Killer:
    """Kills a process at its n-th request to the store, counted without the claim's."""

    def __init__(self, n: int, *, is_done: bool) -> None:
        self.n, self.is_done, self.pid = n, is_done, 0
        self.seen: list[str] = []

    def __call__(self, request: Request) -> Fault | None:
        if request.path.endswith("/.lock"):
            return None
        self.seen.append(f"{request.method} {request.path}")
        if len(self.seen) != self.n or not self.pid:
            return None
        if not self.is_done:
            os.kill(self.pid, signal.SIGKILL)
            return "reset"
        return "killed"

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def lived(folder: Path, bucket: OneBucket, killer: Killer) -> list[str]:
    """Run until it is killed, then to the end on the same machine; hold what must hold."""
    job = write_job(folder / "job.jsonl", ITEMS, limits={"concurrency": 3})
    machine = folder / "machine"
    with (
        FaultServer(servers.draws) as server,
        Between(bucket.store, killer, when_done=killer.kill) as between,
    ):
        to = ("-o", f"{bucket.address}/x", "--base-url", server.url, "--progress", "none")
        env = {**environment_of(machine, between.url), "COMETAPI_KEY": KEY}
        with started("run", job, *to, **env) as first:
            killer.pid = first.process.pid
            first.end()
        killer.pid = 0
        before = Counter(server.requests)
        mirror = mirror_on(machine, bucket, "x/job")
        kept = crashes.kept(mirror) if mirror.exists() else set()
        bucket.delete("x/job/.lock")  # or the next run would watch it for a while
        again = batchgen("run", job, *to, **env)
        assert again.code == 0, again.err
        asked = server.requests - before
        for item, turn in kept:
            prompt = {"same-1": "same", "same-2": "same"}.get(item, item)
            assert not asked[f"talk {('', 'one', 'two')[turn]}" if item == "talk" else prompt]
        assert batchgen("verify", f"{bucket.address}/x/job", **env).code == 0
        extra = server.requests - PROMPTS
    there = bucket.download("x/job", folder / "there")
    (there / ".parts").mkdir()
    ledgers.check_directory(there, ended=False)
    assert sorted(ledgers.pictures(there)) == IDS
    maybe = [line for line in ledgers.attempts(there) if line["billed"] == "maybe"]
    assert extra.total() <= len(maybe), f"{extra} were paid twice, and {len(maybe)} are listed"
    assert not [name for name in bucket.names("x/job") if ".jsonl.0" in name]
    return killer.seen


@pytest.mark.timeout(300)
def test_wherever_a_run_is_killed_nothing_is_lost_and_nothing_is_paid_twice_in_silence(
    store: ObjectStore, tmp_path: Path
) -> None:
    counted = tmp_path / "whole"
    counted.mkdir()
    n_requests = len(lived(counted, store.bucket(), Killer(0, is_done=False))) // 2
    assert n_requests > 3 * len(IDS)
    points = [1 + n * (n_requests - 1) // (N_CHECKED - 1) for n in range(N_CHECKED)]
    for number, n in enumerate(points):
        folder = tmp_path / f"at-{n}"
        folder.mkdir()
        lived(folder, store.bucket(), Killer(n, is_done=number % 2 == 0))
