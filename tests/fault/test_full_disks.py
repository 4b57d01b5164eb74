"""A disk that is full, or gets full in the middle of a run: nothing that was paid is lost."""

from __future__ import annotations

import errno
import json
import os
import random
import threading
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from batchgen import Runner, Summary
from batchgen.errors import StoreError
from batchgen.executors.local import run_local
from batchgen.report.rebuild import rebuild
from batchgen.report.thumbnails import Made
from batchgen.store import room
from tests import ledgers, servers
from tests.commands import batchgen
from tests.disks import SmallDisk, needs_small_disks, small_disk
from tests.runs import KEY, QuickTime, write_job
from tests.servers import Answer, Asked, End, FaultServer, document, http, image_part, png

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable

    from batchgen.report.thumbnails import Source

    Tried = Callable[[str, int, str], None]

MIB = 1 << 20
N_ITEMS = 12
CONCURRENCY = 4
IDS = [f"item-{n:02}" for n in range(N_ITEMS)]

pytestmark = pytest.mark.reliability


@pytest.fixture(scope="module")
def answer() -> bytes:
    """An answer of the usual size: a picture of 1.2 MB."""
    body = document(image_part(png("as large as they come", 640)))
    return http(200, json.dumps(body).encode())


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return write_job(tmp_path / "job.jsonl", IDS, limits={"concurrency": CONCURRENCY})


def run(job: Path, server: FaultServer, output: Path) -> Summary | None:
    """A run to its end; None if it sent nothing because of the disk."""
    runner = Runner(
        job, output=output, base_url=server.url, clock=QuickTime().clock(), rng=random.Random(1)
    )
    try:
        return run_local(runner)
    except StoreError:
        assert runner.written_summary is None
        return None


def done_in(directory: Path) -> Counter[str]:
    """The items that got a picture, in all runs."""
    return Counter(a["item"] for a in ledgers.attempts(directory) if a["decision"] == "done")


# --- a disk that its own pictures fill ----------------------------------------------------------


@needs_small_disks
@pytest.mark.parametrize("size_bytes", [n * MIB for n in range(5, 15)])
def test_a_disk_that_gets_full_takes_every_picture_that_was_asked_for(
    size_bytes: int, answer: bytes, job: Path, tried: Tried, tmp_path: Path
) -> None:
    with (
        small_disk(tmp_path / "disk", size_bytes) as disk,
        FaultServer(lambda _: servers.sends(answer)) as server,
    ):
        directory = disk.path / "job"
        full = run(job, server, disk.path)
        assert full is not None
        assert full.exit_code == 12
        assert full.items.pending > 0
        assert "no room for another answer" in str(full.stop_reason)
        ledgers.check_directory(directory)
        assert server.requests == done_in(directory)
        disk.make_room(64 * MIB)
        rest = run(job, server, disk.path)
        assert rest is not None
        assert rest.exit_code == 0
        assert server.requests == done_in(directory) == dict.fromkeys(IDS, 1)
        ledgers.check_directory(directory)
    tried("P5", 1, "full disks")


@needs_small_disks
def test_a_full_disk_is_told_by_the_command_before_anything_is_sent(
    job: Path, tmp_path: Path
) -> None:
    with (
        small_disk(tmp_path / "disk", 2 * MIB) as disk,
        FaultServer(servers.draws) as server,
    ):
        full = batchgen("run", job, "-o", disk.path, "--base-url", server.url, COMETAPI_KEY=KEY)
        assert full.code == 12
        assert "no room for another answer: it may need" in full.err
        assert f"{disk.path}/job" in full.err
        assert "Traceback" not in full.err
        assert server.n_connections == 0
        disk.make_room(64 * MIB)
        done = batchgen("run", job, "-o", disk.path, "--base-url", server.url, COMETAPI_KEY=KEY)
        assert done.code == 0, done.err
    assert server.requests == dict.fromkeys(IDS, 1)


# --- a disk that another program fills ----------------------------------------------------------


class Filler:
    """Fills the disk when request k has come: before its answer, in the middle of it, or on and on.

    "on and on" takes whatever becomes free from then on.
    """

    def __init__(self, disk: SmallDisk, answer: bytes, k: int, when: str) -> None:
        self._disk, self._answer, self._k, self._when = disk, answer, k, when
        self._n = 0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._filling = threading.Thread(target=self._go_on)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._filling.ident is not None:
            self._filling.join()

    def __call__(self, _: Asked) -> Answer:
        with self._lock:
            self._n += 1
            is_time = self._n == self._k
        return self._fills if is_time else servers.sends(self._answer)

    def _fills(self, connection: socket.socket) -> End:
        at_byte = len(self._answer) // 2 if self._when == "half way" else 0
        connection.sendall(self._answer[:at_byte])
        if at_byte:  # until some of it may have been written
            threading.Event().wait(0.05)
        self._disk.fill()
        if self._when == "on and on":
            self._filling.start()
        connection.sendall(self._answer[at_byte:])
        return End.WHOLE

    def _go_on(self) -> None:
        while not self._over.wait(0.002):
            self._disk.fill()


@needs_small_disks
@pytest.mark.parametrize("when", ["asked", "half way", "on and on"])
@pytest.mark.parametrize("k", range(1, N_ITEMS + 1))
def test_what_is_under_way_has_its_room_when_another_program_fills_the_disk(
    k: int, when: str, answer: bytes, job: Path, tried: Tried, tmp_path: Path
) -> None:
    with (
        small_disk(tmp_path / "disk", 48 * MIB) as disk,
        Filler(disk, answer, k, when) as filler,
        FaultServer(filler) as server,
    ):
        full = run(job, server, disk.path)
        assert full is not None
        directory = disk.path / "job"
        # What earlier answers have left over may do for all the rest, and for the page besides.
        is_whole = not full.items.pending and (directory / "report.html").exists()
        assert full.exit_code == (0 if is_whole else 12) or when == "on and on"
        filler.__exit__()
        disk.make_room(64 * MIB)
        rest = run(job, server, disk.path)
        assert rest is not None
        assert rest.exit_code == 0
        assert (directory / "report.html").exists()
        assert server.requests == done_in(directory) == dict.fromkeys(IDS, 1)
        ledgers.check_directory(directory, ended=False)
    tried("P5", 1, "full disks")


@needs_small_disks
def test_a_disk_that_has_no_room_for_thumbnails_keeps_the_page_that_there_is(
    answer: bytes, job: Path, tmp_path: Path
) -> None:
    with (
        small_disk(tmp_path / "disk", 48 * MIB) as disk,
        FaultServer(lambda _: servers.sends(answer)) as server,
    ):
        run(job, server, disk.path)
        directory = disk.path / "job"
        before = (directory / "report.html").read_bytes()

        def fills_the_disk(sources: Iterable[Source]) -> Made:
            n_left = len(list(sources))
            disk.fill()
            return Made(n_left=n_left, problem="no room")

        assert rebuild(directory, thumbnails=fills_the_disk).items.done == N_ITEMS
        assert len((directory / "report.html").read_bytes()) == len(before)


# --- a disk that refuses from one write on, whatever was set aside ------------------------------


class RefusingDisk:
    """From write k on, files under a directory take nothing more; `is_mended` ends it."""

    def __init__(self, directory: Path, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self._directory = str(directory)
        self._left = k
        self._mine: set[int] = set()
        self._lock = threading.Lock()
        self.under_way: list[bytes] = []
        self.is_mended = False
        self.n_refused = 0
        self.on_first: Callable[[], None] = lambda: None
        self._open, self._write, self._close = os.open, os.write, os.close
        self._path_open = Path.open
        monkeypatch.setattr(os, "open", self.open)
        monkeypatch.setattr(os, "write", self.write)
        monkeypatch.setattr(os, "close", self.close)
        monkeypatch.setattr(
            Path, "open", lambda path, mode="r", *a, **k: self.path_open(path, mode, *a, **k)
        )

    def open(self, path: Any, flags: int, *more: Any, **known: Any) -> int:
        descriptor = self._open(path, flags, *more, **known)
        if str(path).startswith(self._directory):
            self._mine.add(descriptor)
        return descriptor

    def close(self, descriptor: int) -> None:
        self._mine.discard(descriptor)
        self._close(descriptor)

    def write(self, descriptor: int, data: Any) -> int:
        if descriptor not in self._mine:
            return self._write(descriptor, data)
        self._count(1)
        self.under_way.append(written := bytes(data))
        try:
            return self._write(descriptor, data)
        finally:
            self.under_way.remove(written)

    def path_open(self, path: Path, mode: str, *more: Any, **known: Any) -> Any:
        if str(path).startswith(self._directory) and set(mode) & set("xwa"):
            self._count(0)  # what is written to it comes out of a buffer
        return self._path_open(path, mode, *more, **known)

    def _count(self, n: int) -> None:
        with self._lock:
            self._left -= n
            if self.is_mended or self._left > 0:
                return
            self.n_refused += 1
            if self.n_refused == 1:
                self.on_first()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("k", range(1, 41))
def test_a_disk_that_refuses_a_write_costs_no_picture_that_is_not_listed(
    k: int,
    answer: bytes,
    job: Path,
    tried: Tried,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    directory = tmp_path / "output/job"
    disk = RefusingDisk(directory / "", k, monkeypatch)
    announced_by_then: list[int] = []
    with FaultServer(lambda _: servers.sends(answer)) as server:
        disk.on_first = lambda: announced_by_then.append(
            n_announced(directory) + sum(map(n_sent, disk.under_way))
        )
        full = run(job, server, tmp_path / "output")
        assert disk.n_refused
        assert full is None or full.exit_code == 12
        # Those under way were announced by then, or in a write that was going on beside it; one
        # such may have been about to begin.
        assert server.n_requests <= announced_by_then[0] + 1
        n_before = server.n_requests
        disk.is_mended = True
        rest = run(job, server, tmp_path / "output")
        assert rest is not None
        assert rest.exit_code == 0
    again = Counter({item: n - 1 for item, n in server.requests.items() if n > 1})
    told = [a for a in ledgers.attempts(directory) if a["outcome"] == "interrupted"]
    assert again <= Counter(a["item"] for a in told)
    assert {(a["billed"], a["decision"]) for a in told} <= {("maybe", "retry")}
    assert rest.maybe_billed.count == len(told) <= n_before + 1
    assert done_in(directory) == dict.fromkeys(IDS, 1)
    ledgers.check_directory(directory, ended=False)
    tried("P5", 1, "full disks")


def n_announced(directory: Path) -> int:
    """How many requests were announced durably."""
    return sum(n_sent(path.read_bytes()) for path in (directory / "ledger").glob("*.jsonl"))


def n_sent(written: bytes) -> int:
    return written.count(b'"event":"sent"')


@needs_small_disks
@pytest.mark.parametrize("errors", [errno.EOPNOTSUPP])
def test_where_no_room_can_be_kept_a_full_disk_is_seen_all_the_same(
    errors: int, answer: bytes, job: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused(*_: int) -> None:
        raise OSError(errors, os.strerror(errors))

    monkeypatch.setattr(room, "_allocate", refused)
    with (
        small_disk(tmp_path / "disk", 10 * MIB) as disk,
        FaultServer(lambda _: servers.sends(answer)) as server,
    ):
        full = run(job, server, disk.path)
        assert full is not None
        assert full.exit_code == 12
        assert server.requests == done_in(disk.path / "job")
        disk.make_room(64 * MIB)
        rest = run(job, server, disk.path)
        assert rest is not None
        assert rest.exit_code == 0
        assert server.requests == dict.fromkeys(IDS, 1)


@needs_small_disks
def test_a_picture_that_is_larger_than_its_room_is_listed_and_no_other_is_lost(
    answer: bytes, tmp_path: Path
) -> None:
    """10 MB where 1K was asked for, on a disk that another program has filled."""
    body = document(image_part(png("larger than they come", 1800)))
    large = http(200, json.dumps(body).encode())
    first, odd, *_ = ids = IDS[:4]
    job = write_job(tmp_path / "job.jsonl", ids, limits={"concurrency": 3})
    together = threading.Barrier(3)

    def script(asked: Asked) -> Answer:
        if asked.prompt == first or rest_goes_on.is_set():  # the first request goes alone
            return servers.sends(answer)
        return partial(answered, large if asked.prompt == odd else answer)

    def answered(body: bytes, connection: socket.socket) -> End:
        if together.wait(20) == 0:
            disk.fill()
        together.wait(20)
        connection.sendall(body)
        return End.WHOLE

    rest_goes_on = threading.Event()
    with small_disk(tmp_path / "disk", 24 * MIB) as disk, FaultServer(script) as server:
        full = run(job, server, disk.path)
        assert full is not None
        assert full.exit_code == 12
        assert server.requests == dict.fromkeys(ids, 1)
        rest_goes_on.set()
        disk.make_room(64 * MIB)
        rest = run(job, server, disk.path)
        assert rest is not None
        assert rest.exit_code == 0
        assert server.requests == {**dict.fromkeys(ids, 1), odd: 2}
        lost = [a for a in ledgers.attempts(disk.path / "job") if a["outcome"] == "interrupted"]
        assert [(a["item"], a["billed"]) for a in lost] == [(odd, "maybe")]
        ledgers.check_directory(disk.path / "job", ended=False)
