"""A disk that cannot make a file durable: a failure, never a success, and nothing is paid twice."""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from batchgen import Runner, Summary
from batchgen.errors import StoreError
from batchgen.executors.local import run_local
from tests import ledgers, servers
from tests.commands import batchgen, environment
from tests.runs import KEY, QuickTime, write_job
from tests.servers import FaultServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Tried = Callable[[str, int, str], None]

IDS = ["a", "b", "c", "d", "e", "f", "g"]
NEEDS_STRACE = pytest.mark.skipif(
    shutil.which("strace") is None, reason="NOT TRIED: there is no strace to make a sync fail"
)

pytestmark = pytest.mark.reliability


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return write_job(tmp_path / "job.jsonl", IDS, limits={"concurrency": 2})


class FailingDisk:
    """Fails at the n-th sync, as Linux does: what was written is lost, and the next sync is well.

    It knows of each file whether its bytes are durable: those that a sync has failed for are not,
    until they are written again and synced. Directories can only be synced.
    """

    def __init__(self, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self._left = n
        self._lock = threading.Lock()
        self._lost: dict[int, int] = {}  # so many bytes of a file, by inode
        self._failed_descriptors: set[int] = set()
        self.durable: set[int] = set()
        self.failed: list[os.stat_result] = []
        self.again: list[int] = []
        self._close, self._pwrite = os.close, os.pwrite
        monkeypatch.setattr(os, "fsync", self.sync)
        monkeypatch.setattr(os, "fdatasync", self.sync)
        monkeypatch.setattr(os, "pwrite", self.pwrite)
        monkeypatch.setattr(os, "close", self.close)

    def sync(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        with self._lock:
            if descriptor in self._failed_descriptors:
                self.again.append(descriptor)
            self._left -= 1
            if self._left == 0:
                self.failed.append(found)
                self._failed_descriptors.add(descriptor)
                self.durable.discard(found.st_ino)
                if stat.S_ISREG(found.st_mode):
                    self._lost[found.st_ino] = found.st_size
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            if self._lost.get(found.st_ino, 0) <= 0:
                self.durable.add(found.st_ino)

    def pwrite(self, descriptor: int, data: Any, at_byte: int) -> int:
        n_bytes = self._pwrite(descriptor, data, at_byte)
        inode = os.fstat(descriptor).st_ino
        if inode in self._lost:
            self._lost[inode] -= n_bytes
        return n_bytes

    def close(self, descriptor: int) -> None:
        self._failed_descriptors.discard(descriptor)
        self._close(descriptor)

    def is_durable(self, path: Path) -> bool:
        return path.stat().st_ino in self.durable


def run(job: Path, server: FaultServer) -> Summary | None:
    """A run to its end; None if it sent nothing because of the disk."""
    runner = Runner(
        job,
        output=job.parent / "output",
        base_url=server.url,
        clock=QuickTime().clock(),
        rng=random.Random(1),
    )
    try:
        return run_local(runner)
    except StoreError:
        assert runner.written_summary is None
        return None


def done_pictures(directory: Path) -> list[Path]:
    done = [a for a in ledgers.attempts(directory) if a["decision"] == "done"]
    return [directory / image["path"] for a in done for image in a["images"]]


@pytest.mark.parametrize("n", range(1, 25))
def test_a_sync_that_fails_is_never_taken_for_good_and_costs_no_request(
    n: int, job: Path, tried: Tried, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FailingDisk(n, monkeypatch)
    directory = job.parent / "output/job"
    with FaultServer(servers.draws) as server:
        failed = run(job, server)
        assert len(disk.failed) == 1
        assert failed is None or failed.exit_code == 12
        assert failed is None or "Input/output error" in str(failed.stop_reason)
        assert all(map(disk.is_durable, done_pictures(directory)))
        rest = run(job, server)
        assert rest is not None
        assert rest.exit_code == 0
        assert not disk.again
    assert server.requests == dict.fromkeys(IDS, 1)
    assert len(done_pictures(directory)) == len(IDS)
    assert all(map(disk.is_durable, done_pictures(directory)))
    assert all(map(disk.is_durable, (directory / "ledger").glob("*.jsonl")))
    ledgers.check_directory(directory, ended=False)
    tried("P6", 1, "failing syncs")


def test_those_positions_are_of_ledgers_pictures_and_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: set[str] = set()
    for n in range(1, 12):
        job = write_job(tmp_path / "job.jsonl", IDS[:2], limits={"concurrency": 1})
        with monkeypatch.context() as patched, FaultServer(servers.draws) as server:
            disk = FailingDisk(n, patched)
            run(job, server)
            [failed] = disk.failed
        paths = [tmp_path / "output/job", *(tmp_path / "output/job").rglob("*")]
        [path] = [path for path in paths if path.stat().st_ino == failed.st_ino]
        kinds.add("directory" if path.is_dir() else path.suffix)
        shutil.rmtree(tmp_path / "output")
    assert kinds == {"directory", ".jsonl", ".part"}


@NEEDS_STRACE
@pytest.mark.parametrize("call", ["fsync", "fdatasync"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_command_ends_with_12_when_the_system_says_so_and_the_next_one_makes_the_rest(
    n: int, call: str, job: Path, tried: Tried
) -> None:
    output = job.parent / "output"
    with FaultServer(servers.draws) as server:
        where = ["-o", str(output), "--base-url", server.url]
        strace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}"]
        strace += ["-e", f"inject={call}:error=EIO:when={n}"]
        failed = subprocess.run(
            [*strace, sys.executable, "-m", "batchgen", "run", str(job), *where],
            env=environment(COMETAPI_KEY=KEY),
            capture_output=True,
            timeout=60,
            check=False,
        )
        if b"ptrace" in failed.stderr:
            pytest.skip("NOT TRIED: strace may not trace here")
        told = failed.stderr.decode()
        assert failed.returncode == 12, told
        assert "Input/output error" in told
        assert "Traceback" not in told
        done = batchgen("run", job, *where, COMETAPI_KEY=KEY)
        assert done.code == 0, done.err
    assert server.requests == dict.fromkeys(IDS, 1)
    ledgers.check_directory(output / "job", ended=False)
    tried("P6", 1, "failing syncs")
