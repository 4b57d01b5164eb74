"""Thumbnails made by processes: each picture once, whatever becomes of the processes."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from batchgen.clock import Clock
from batchgen.report.thumbnails import (
    Made,
    Source,
    Worker,
    make_thumbnails,
    remove_unused,
    thumbnail_path,
    thumbnails_there,
)
from tests.commands import environment, until
from tests.disks import needs_small_disks, small_disk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def png(shade: int, px: int = 40) -> bytes:
    buffer = BytesIO()
    Image.new("L", (px, px), shade).save(buffer, "PNG")
    return buffer.getvalue()


def write(root: Path, name: str, data: bytes) -> Source:
    path = root / "images" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return Source(hashlib.sha256(data).hexdigest(), path)


def pictures(root: Path, n: int) -> list[Source]:
    return [write(root, f"{shade}.png", png(shade)) for shade in range(n)]


def is_whole(root: Path, source: Source) -> bool:
    with Image.open(thumbnail_path(root, source.sha256)) as image:
        image.load()
        return image.format == "WEBP"


def names(root: Path) -> set[str]:
    return {path.name for path in (root / "thumbnails").iterdir()}


def named(*sources: Source) -> set[str]:
    return {f"{one.sha256}.webp" for one in sources}


def children(pid: int | None = None) -> set[int]:
    """The workers that this process, or another, has started and not let go of."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("NOT TRIED: this system does not tell who started whom")
    return {one for one, parent in processes() if parent == (pid or os.getpid())}


def is_running(pid: int) -> bool:
    """Whether a process has not ended yet, with all that it had open."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except OSError:
        return False
    # Its command line goes away first, then its files; only then is it a zombie.
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def processes() -> Iterator[tuple[int, int]]:
    """The workers that there are, each with its parent; of what has ended nothing is told."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"thumbnails/draw.py" in (path / "cmdline").read_bytes():
                parent = (path / "stat").read_text("utf-8").rpartition(")")[2].split()[1]
                yield int(path.name), int(parent)


class Stopwatch:
    """A clock that stands still but between two moments: a process may start as late as it will."""

    def __init__(self) -> None:
        self._stood_s = 0.0
        self._began_s: float | None = None
        self.clock = Clock(monotonic_s=self.now_s)

    def begin(self) -> None:
        self._began_s = time.monotonic()

    def end(self) -> None:
        self._stood_s, self._began_s = self.now_s(), None

    def now_s(self) -> float:
        return self._stood_s + (0.0 if self._began_s is None else time.monotonic() - self._began_s)


# --- many at once -------------------------------------------------------------------------------


def test_each_picture_is_made_once_and_found_the_next_time(tmp_path: Path) -> None:
    sources = pictures(tmp_path, 5)
    told: list[Made] = []
    twins = [*sources, *reversed(sources)]
    assert make_thumbnails(tmp_path, twins, n_workers=2, on_progress=told.append) == Made(n_made=5)
    assert [one.n_made for one in told] == [1, 2, 3, 4, 5]
    assert all(is_whole(tmp_path, one) for one in sources)
    assert names(tmp_path) == named(*sources)
    assert thumbnails_there(tmp_path) == {bytes.fromhex(one.sha256) for one in sources}
    more = [*sources, write(tmp_path, "new.png", png(99))]
    assert make_thumbnails(tmp_path, more) == Made(n_made=1, n_cached=5)
    assert not children()


def test_where_there_is_nothing_to_make_nothing_is_started_and_no_folder_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere")
    assert make_thumbnails(tmp_path, []) == Made()
    assert not (tmp_path / "thumbnails").exists()
    assert thumbnails_there(tmp_path) == set()
    assert remove_unused(tmp_path, lambda _: False) == 0


def test_what_is_no_picture_as_it_was_recorded_has_none(tmp_path: Path) -> None:
    good = pictures(tmp_path, 1)[0]
    os.mkfifo(tmp_path / "fifo")
    bad = [
        Source("a" * 64, good.path),
        Source("b" * 64, tmp_path / "missing.png"),
        Source("c" * 64, tmp_path / "fifo"),
        Source("d" * 64, tmp_path),
        write(tmp_path, "cut.png", png(7)[:-30]),
        write(tmp_path, "words.png", b"words"),
        Source(good.sha256.upper() + "\n", good.path),
        Source("../" * 21 + "x", good.path),
        Source("", good.path),
        Source("a" * 63 + "\u0661", good.path),
    ]
    made = make_thumbnails(tmp_path, [*bad, good], n_workers=1)
    assert made == Made(n_made=1, n_failed=len(bad))
    assert names(tmp_path) == named(good)


@pytest.mark.parametrize("sha256", ["", "a" * 63, "A" * 64, "a" * 64 + "\n", "../" * 21 + "x"])
def test_what_is_no_digest_is_no_part_of_a_path(tmp_path: Path, sha256: str) -> None:
    with pytest.raises(ValueError, match="no SHA-256"):
        thumbnail_path(tmp_path, sha256)


@pytest.mark.skipif(sys.platform != "linux", reason="names must be Unicode there")
def test_a_name_may_hold_any_bytes_there_are(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b'job "\n\xff\\u0041 \xc3\xa4')
    root.mkdir()
    source = write(root, os.fsdecode(b"a\nb\r\xfe'.png"), png(1))
    assert make_thumbnails(root, [source]) == Made(n_made=1)
    assert is_whole(root, source)


def test_paths_count_from_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (source,) = pictures(Path(), 1)
    assert make_thumbnails(Path(), [source]) == Made(n_made=1)
    assert is_whole(tmp_path, source)
    worker = Worker()
    try:
        assert worker.answer_within(30) == "ready"
        monkeypatch.chdir(tmp_path / "thumbnails")
        worker.give(replace(source, path=Path("../images/0.png")), Path("a.webp"))
        assert worker.answer_within(30) == "made"
    finally:
        worker.end()


def test_no_more_pictures_are_taken_than_there_are_workers_to_make_them(tmp_path: Path) -> None:
    sources, ahead = pictures(tmp_path, 12), []
    n_taken = n_done = 0

    def one_by_one() -> Iterator[Source]:
        nonlocal n_taken
        for source in sources:
            ahead.append(n_taken - n_done)
            n_taken += 1
            yield source

    def done(made: Made) -> None:
        nonlocal n_done
        n_done = made.n_made

    make_thumbnails(tmp_path, one_by_one(), n_workers=2, on_progress=done)
    assert n_done == 12
    assert max(ahead) <= 2


def test_when_the_time_is_over_the_rest_is_left(tmp_path: Path) -> None:
    sources, now_s = pictures(tmp_path, 6), 0.0

    def slowly() -> Iterator[Source]:
        nonlocal now_s
        for n, source in enumerate(sources):
            now_s = 10.0 * n
            yield source

    clock = Clock(monotonic_s=lambda: now_s)
    made = make_thumbnails(tmp_path, slowly(), longest_s=25, clock=clock, n_workers=1)
    assert made == Made(n_made=3, n_left=3)
    assert names(tmp_path) == named(*sources[:3])
    assert make_thumbnails(tmp_path, sources, longest_s=0) == Made(n_cached=3, n_left=3)


# --- processes that die, hang, or do not start --------------------------------------------------


def with_each_worker(sources: Iterable[Source], number: signal.Signals) -> Iterator[Source]:
    """The sources; while the second is being made, or right after, the worker gets a signal."""
    for n, source in enumerate(sources):
        if n == 2:
            until(children, "a worker")
            for pid in children():
                os.kill(pid, number)
        yield source


def test_a_process_that_is_killed_costs_one_picture_at_most(tmp_path: Path) -> None:
    sources = pictures(tmp_path, 5)
    killed = with_each_worker(sources, signal.SIGKILL)
    made = make_thumbnails(tmp_path, killed, n_workers=1)
    assert made in {Made(n_made=5), Made(n_made=4, n_failed=1)}


def test_a_process_that_is_killed_at_work_costs_one_picture(tmp_path: Path) -> None:
    sources, pids = pictures(tmp_path, 6), []

    def killed_at_work() -> Iterator[Source]:
        yield from sources[:2]
        (pid,) = children()
        os.kill(pid, signal.SIGSTOP)  # it takes the third picture, and makes nothing of it
        pids.append(pid)
        timer.start()
        yield from sources[2:]

    timer = threading.Timer(0.2, lambda: os.kill(pids[0], signal.SIGKILL))
    made = make_thumbnails(tmp_path, killed_at_work(), n_workers=1)
    timer.join()
    assert made.n_made + made.n_failed == 6
    assert made.n_failed == 1
    assert not children()


def test_a_process_that_hangs_costs_one_picture_and_is_replaced(tmp_path: Path) -> None:
    watch = Stopwatch()

    def hanging() -> Iterator[Source]:
        for n, source in enumerate(with_each_worker(pictures(tmp_path, 6), signal.SIGSTOP)):
            if n == 2:
                watch.begin()
            yield source

    def told(made: Made) -> None:
        if made.n_failed:
            watch.end()

    made = make_thumbnails(
        tmp_path, hanging(), n_workers=1, patience_s=0.3, clock=watch.clock, on_progress=told
    )
    assert made == Made(n_made=5, n_failed=1)
    assert not children()


def test_when_the_time_is_over_nobody_waits_for_a_process_that_hangs(tmp_path: Path) -> None:
    watch, told = Stopwatch(), [Made()]

    def hanging() -> Iterator[Source]:
        for n, source in enumerate(with_each_worker(pictures(tmp_path, 6), signal.SIGSTOP)):
            if n == 2:
                watch.begin()
            yield source
            assert told[-1].n_failed == 0

    made = make_thumbnails(
        tmp_path,
        hanging(),
        n_workers=1,
        longest_s=0.1,
        patience_s=1,
        clock=watch.clock,
        on_progress=told.append,
    )
    assert made in {Made(n_made=1, n_failed=1, n_left=4), Made(n_made=2, n_failed=1, n_left=3)}


@pytest.mark.parametrize("program", ["/nowhere/python", "/bin/false", "/bin/true", ""])
def test_where_no_process_starts_all_pictures_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr(sys, "executable", program)
    made = make_thumbnails(tmp_path, pictures(tmp_path, 5), n_workers=2)
    assert made.n_left == 5
    assert made.problem is not None


def test_a_frozen_program_is_not_started_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert make_thumbnails(tmp_path, pictures(tmp_path, 1)).n_left == 1


def test_what_the_caller_raises_ends_all_processes(tmp_path: Path) -> None:
    sources = pictures(tmp_path, 3)

    def then_stop(_: Made) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_thumbnails(tmp_path, sources, n_workers=2, on_progress=then_stop)
    assert not children()


HOSTILE = "import os; os.write(1, b'hostile\\n'); os._exit(3)\n"


def test_no_module_that_lies_about_is_taken_for_one_of_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json.py", "PIL/__init__.py", "sitecustomize.py", "usercustomize.py", "io.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(HOSTILE, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f":{tmp_path}")
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "json.py"))
    assert make_thumbnails(tmp_path, pictures(tmp_path, 1)) == Made(n_made=1)


SCRIPT = """
import sys
from pathlib import Path
from batchgen.report.thumbnails import Source, make_thumbnails
print("begun", flush=True)
root, sha256, path = sys.argv[1:]
source = Source(sha256, Path(path))
print(make_thumbnails(Path(root), [source], n_workers=1).n_made)
"""
WAITING = """
import signal, sys, time
from pathlib import Path
from batchgen.report.thumbnails import Source, make_thumbnails
root, sha256, path = sys.argv[1:]
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, where a shell began it with &
def sources():
    yield Source(sha256, Path(path))
    yield Source("0" * 64, Path(path))
    print("waiting", flush=True)
    time.sleep(100)
make_thumbnails(Path(root), sources(), n_workers=2)
"""


def test_a_script_without_a_main_guard_is_run_once(tmp_path: Path) -> None:
    (source,) = pictures(tmp_path, 1)
    (tmp_path / "script.py").write_text(SCRIPT, "utf-8")
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py", tmp_path, source.sha256, source.path],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.split() == ["begun", "1"]


@contextmanager
def waiting_script(root: Path) -> Iterator[tuple[subprocess.Popen[str], set[int]]]:
    """A script in the middle of its pictures, in a group of its own, and its workers."""
    (source,) = pictures(root, 1)
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, root, source.sha256, source.path],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        yield process, children(process.pid)
    finally:
        process.kill()
        process.communicate()


def test_processes_end_when_whoever_started_them_is_killed(tmp_path: Path) -> None:
    with waiting_script(tmp_path) as (process, workers):
        assert workers
        process.kill()
        process.wait()
        until(lambda: not any(map(is_running, workers)), "the workers end")


def test_ctrl_c_ends_whoever_makes_thumbnails_and_its_processes_at_once(tmp_path: Path) -> None:
    with waiting_script(tmp_path) as (process, workers):
        assert workers
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=10)
        assert not any(map(is_running, workers))
        assert told.count("Traceback") == 1
        assert told.endswith("KeyboardInterrupt\n")


def test_a_process_gives_way_to_others_and_gets_no_ctrl_c(tmp_path: Path) -> None:
    worker = Worker(niceness=7)
    try:
        assert worker.answer_within(30) == "ready"
        ours = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, worker.pid) == min(19, ours + 7)
        assert os.getpgid(worker.pid) != os.getpgid(0)
        worker.give(pictures(tmp_path, 1)[0], tmp_path / "nowhere" / "a.webp")
        assert worker.answer_within(30) == "unwritten"
    finally:
        worker.end()


HANGING = """
import sys, time
from batchgen.report.thumbnails import draw
sys.argv[1:] = ["", "0"]
draw.LIFE_S = 1
draw.read_recorded = lambda path, sha256: time.sleep(100)
draw.main()
"""


def test_a_process_that_hangs_ends_though_nobody_is_left_to_end_it() -> None:
    job = '{"sha256": "", "source": "", "target": ""}\n'
    done = subprocess.run(
        [sys.executable, "-c", HANGING],
        input=job,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == -signal.SIGALRM
    assert done.stdout == "ready\n"


# --- the folder ---------------------------------------------------------------------------------


def test_nothing_is_written_removed_or_counted_behind_a_link(tmp_path: Path) -> None:
    root, away = tmp_path / "job", tmp_path / "away"
    root.mkdir()
    away.mkdir()
    (away / f"{'a' * 64}.webp").write_bytes(b"somebody's")
    (away / ".x.draft").write_bytes(b"somebody's")
    (root / "thumbnails").symlink_to(away)
    made = make_thumbnails(root, pictures(root, 2))
    assert made.n_left == 2
    assert "is a link" in str(made.problem)
    assert remove_unused(root, lambda _: False) == 0
    assert thumbnails_there(root) == set()
    assert sorted(path.name for path in away.iterdir()) == [".x.draft", f"{'a' * 64}.webp"]


def test_a_file_in_place_of_the_folder_is_let_be(tmp_path: Path) -> None:
    (tmp_path / "thumbnails").write_bytes(b"notes")
    made = make_thumbnails(tmp_path, pictures(tmp_path, 2))
    assert made.n_left == 2
    assert "thumbnails" in str(made.problem)
    assert (tmp_path / "thumbnails").read_bytes() == b"notes"


def test_what_is_no_whole_file_is_made_anew(tmp_path: Path) -> None:
    empty, link, fifo, folder = sources = pictures(tmp_path, 4)
    (tmp_path / "thumbnails").mkdir()
    private = tmp_path / "private"
    private.write_bytes(b"private")
    thumbnail_path(tmp_path, empty.sha256).touch()
    thumbnail_path(tmp_path, link.sha256).symlink_to(private)
    os.mkfifo(thumbnail_path(tmp_path, fifo.sha256))
    thumbnail_path(tmp_path, folder.sha256).mkdir()
    assert thumbnails_there(tmp_path) == set()
    assert make_thumbnails(tmp_path, sources, n_workers=1) == Made(n_made=3, n_failed=1)
    assert all(is_whole(tmp_path, one) for one in sources[:3])
    assert private.read_bytes() == b"private"
    assert names(tmp_path) == named(*sources)


def test_drafts_that_were_left_are_removed_and_one_being_written_is_not(tmp_path: Path) -> None:
    from batchgen.store.replace import replaced  # noqa: PLC0415

    (source,) = pictures(tmp_path, 1)
    (tmp_path / "thumbnails").mkdir()
    (tmp_path / "thumbnails" / f".{'a' * 64}.webp.0badcafe.draft").write_bytes(b"left")
    with replaced(tmp_path / "thumbnails" / "other") as file:
        file.write(b"being written")
        make_thumbnails(tmp_path, [source])
        assert len(names(tmp_path)) == 2
    assert names(tmp_path) == {"other", *named(source)}


def test_two_reports_at_once_do_each_other_no_harm(tmp_path: Path) -> None:
    sources = pictures(tmp_path, 12)
    results: list[Made] = []
    threads = [
        threading.Thread(
            target=lambda: results.append(make_thumbnails(tmp_path, sources, n_workers=2))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.n_made + one.n_cached for one in results] == [12, 12]
    assert names(tmp_path) == named(*sources)
    assert all(is_whole(tmp_path, one) for one in sources)


@needs_small_disks
def test_a_full_disk_has_no_thumbnails_and_no_error(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        sources = pictures(disk.path, 5)
        (disk.path / "thumbnails").mkdir()
        disk.fill()
        made = make_thumbnails(disk.path, sources, n_workers=1)
        assert made.n_left == 5
        assert made.problem is not None
        assert names(disk.path) == set()
        disk.make_room(1 << 20)
        assert make_thumbnails(disk.path, sources) == Made(n_made=5)
        disk.make_read_only()
        new = [Source("a" * 64, disk.path / "images" / "0.png")]
        assert remove_unused(disk.path, lambda _: False) == 0
        assert make_thumbnails(disk.path, [*new, *sources]).n_cached == 5


def test_only_thumbnails_that_nobody_wants_are_removed(tmp_path: Path) -> None:
    kept, gone = pictures(tmp_path, 2)
    make_thumbnails(tmp_path, [kept, gone])
    foreign = [
        "notes.txt",
        f"{'A' * 64}.webp",
        f"{'a' * 64}.png",
        f"{'a' * 64}.webp.bak",
        ".hidden",
    ]
    for name in foreign:
        (tmp_path / "thumbnails" / name).write_bytes(b"mine")
    (tmp_path / "thumbnails" / f"{'b' * 64}.webp").mkdir()
    assert remove_unused(tmp_path, {bytes.fromhex(kept.sha256)}.__contains__) == 1
    assert names(tmp_path) == {*foreign, f"{'b' * 64}.webp", *named(kept)}
