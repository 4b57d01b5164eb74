"""Places that cannot be written, and too few open files: told before anything is sent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import ledgers, servers
from tests.commands import Done, environment
from tests.disks import needs_small_disks, small_disk
from tests.runs import KEY, write_job
from tests.servers import FaultServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Tried = Callable[[str, int, str], None]

pytestmark = pytest.mark.reliability

MIB = 1 << 20
NEEDS_ANOTHER_USER = pytest.mark.skipif(
    os.geteuid() == 0 and shutil.which("setpriv") is None,
    reason="NOT TRIED: for root no permission counts, and there is no setpriv to be somebody else",
)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return write_job(tmp_path / "job.jsonl", ["a", "b", "c"])


def run(job: Path, server: FaultServer, output: Path, *flags: str, by: Sequence[str] = ()) -> Done:
    """The command, started by other words."""
    words = [sys.executable, "-m", "batchgen", "run", str(job), "-o", str(output)]
    done = subprocess.run(
        [*by, *words, "--base-url", server.url, *flags],
        env=environment(COMETAPI_KEY=KEY),
        capture_output=True,
        timeout=40,
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def check_told(done: Done, server: FaultServer, code: int, *words: str) -> None:
    """It ended with this code before anything was sent, and said these words and little else."""
    assert done.code == code, done.err
    for word in words:
        assert word in done.err
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) <= 4, done.err
    assert server.n_connections == 0


def test_so_many_at_once_that_files_do_not_suffice(job: Path, tried: Tried, tmp_path: Path) -> None:
    with FaultServer(servers.draws) as server:
        limited = ["bash", "-c", 'ulimit -n 64; exec "$@"', "bash"]
        done = run(job, server, tmp_path / "output", "--concurrency", "128", by=limited)
        check_told(done, server, 2, "concurrency 128 needs more open files", "ulimit -n")
        assert not (tmp_path / "output/job").exists()
    tried("P16", 1, "places")


@needs_small_disks
def test_a_disk_that_can_only_be_read(job: Path, tried: Tried, tmp_path: Path) -> None:
    with FaultServer(servers.draws) as server, small_disk(tmp_path / "disk", MIB, "ro") as disk:
        done = run(job, server, disk.path)
        check_told(done, server, 12, f"{disk.path}/job", "Read-only file system")
    tried("P16", 1, "places")


@needs_small_disks
def test_a_job_whose_directory_can_only_be_read_by_now(
    job: Path, tried: Tried, tmp_path: Path
) -> None:
    with FaultServer(servers.draws) as server, small_disk(tmp_path / "disk", 64 * MIB) as disk:
        assert run(job, server, disk.path, "--limit", "1").code == 0
        disk.make_read_only()
        server.n_connections = 0
        done = run(job, server, disk.path)
        check_told(done, server, 12, f"{disk.path}/job", "Read-only file system")
        assert server.n_requests == 1
    tried("P16", 1, "places")


@pytest.mark.parametrize(
    ("place", "code"),
    [("output", 2), ("output/job", 12), ("output/job/.parts", 12), ("output/job/ledger", 12)],
)
def test_a_file_that_stands_where_a_directory_belongs(
    place: str, code: int, job: Path, tried: Tried, tmp_path: Path
) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text("a file")
    with FaultServer(servers.draws) as server:
        done = run(job, server, tmp_path / "output")
        check_told(done, server, code, str(tmp_path / place))
        assert (tmp_path / place).read_text() == "a file"
    tried("P16", 1, "places")


def test_a_parent_that_leads_nowhere(job: Path, tried: Tried, tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "unmounted" / "disk")
    with FaultServer(servers.draws) as server:
        done = run(job, server, tmp_path / "gone")
        check_told(done, server, 12, str(tmp_path / "gone"))
    tried("P16", 1, "places")


def test_a_parent_that_is_missing_is_made(job: Path, tried: Tried, tmp_path: Path) -> None:
    with FaultServer(servers.draws) as server:
        done = run(job, server, tmp_path / "a/new/place")
        assert done.code == 0, done.err
    ledgers.check_directory(tmp_path / "a/new/place/job")
    tried("P16", 1, "places")


@NEEDS_ANOTHER_USER
@pytest.mark.parametrize("place", ["output", "output/job", "output/job/ledger"])
def test_a_place_where_others_may_write_and_we_may_not(
    place: str, tried: Tried, open_to_all: Path
) -> None:
    job = write_job(open_to_all / "job.jsonl", ["a", "b", "c"])
    locked = open_to_all / place
    locked.mkdir(parents=True)
    (locked / "kept").write_text("by somebody else")
    for path in [*locked.parents, locked]:
        if path.is_relative_to(open_to_all / "output"):
            path.chmod(0o555 if path == locked else 0o777)
    by: list[str] = []
    if os.geteuid() == 0:
        by = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]
    with FaultServer(servers.draws) as server:
        if by and not can_start(by):
            pytest.skip("NOT TRIED: another user may not read this checkout")
        done = run(job, server, open_to_all / "output", by=by)
        check_told(done, server, 12, str(locked), "Permission denied")
    tried("P16", 1, "places")
    locked.chmod(0o755)


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A directory which another user can come to, as it cannot to those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


def can_start(by: Sequence[str]) -> bool:
    words = [*by, sys.executable, "-m", "batchgen", "--version"]
    return (
        subprocess.run(words, env=environment(), capture_output=True, check=False).returncode == 0
    )
