"""`batchgen verify`: all kinds of damage are found, and `run` makes exactly what is wrong again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import pytest

from batchgen.model import Item, content_key
from tests import commands, ledgers, servers
from tests.commands import Done, EmulatorProcess, batchgen, started, until
from tests.ledgers import strict
from tests.runs import KEY, write_job
from tests.servers import FaultServer, png

pytestmark = pytest.mark.reliability

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Json: TypeAlias = dict[str, Any]
Damage: TypeAlias = "Callable[[Path], object]"

HTML = b"<!doctype html><title>502</title>"
# For root, no file is unreadable as long as it may pass over permissions (capabilities 1 and 2).
WITHOUT_PRIVILEGE = """\
import ctypes, os, sys
if os.geteuid() == 0:
    for capability in (1, 2):
        assert ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) == 0
os.execv(sys.argv[1], [sys.argv[1], "-m", "batchgen", *sys.argv[2:]])
"""

MEASURED = """\
import resource, subprocess, sys
code = subprocess.run([sys.argv[1], "-m", "batchgen", *sys.argv[2:]]).returncode
print("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


class Server(FaultServer):
    """Each answer brings a picture that there was not before."""

    def __init__(self) -> None:
        super().__init__(servers.draws)
        self._before: Counter[str] = Counter()

    def asked(self) -> dict[str, int]:
        """How often each prompt was asked for since this was called last."""
        now = Counter(self.requests)
        before, self._before = self._before, now
        return dict(now - before)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def run(job: Path, server: Server, *flags: str) -> Done:
    where = ("-o", job.parent / "output", "--base-url", server.url)
    return batchgen("run", job, *where, *flags, "--json", COMETAPI_KEY=KEY)


def made(job: Path, server: Server) -> Path:
    """The directory of a job that was run to its end."""
    done = run(job, server)
    assert done.code == 0, done.err
    assert verified(job.parent / "output/job") == {}
    return job.parent / "output/job"


def verified(directory: Path) -> dict[str, str]:
    """What is wrong, by path."""
    done = batchgen("verify", directory, "--json")
    told = strict(done.out)
    assert set(told) == {"checked", "wrong", "warnings", "unsettled", "orphans"}
    for one in told["wrong"]:
        assert set(one) == {"item", "path", "problem", "expected", "found"}
        assert [line for line in done.err.splitlines() if line.startswith(f"{one['path']} (")]
    assert done.code == (4 if told["wrong"] else 0), done.err
    assert (directory / "broken.jsonl").exists() == bool(told["wrong"])
    return {one["path"]: one["problem"] for one in told["wrong"]}


def told_besides(directory: Path) -> dict[str, str]:
    """What is warned of, by path."""
    done = batchgen("verify", directory, "--json")
    return {one["path"]: one["problem"] for one in done.json["warnings"]}


# --- damage ---------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    """Change one bit in the middle; size and time stay as they were."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(before.st_size // 2)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link_to(target: str) -> Damage:
    def link(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return link


# Each with what it is told as, and whether what lies there then is kept from being overwritten.
DAMAGE: dict[str, tuple[Damage, str, bool]] = {
    "gone": (lambda path: path.unlink(), "missing", False),
    "cut": (cut, "size", True),
    "grown": (grow, "size", True),
    "empty": (lambda path: path.write_bytes(b""), "size", False),
    "page": (lambda path: path.write_bytes(HTML), "size", True),
    "page-of-its-size": (
        lambda path: path.write_bytes(HTML.ljust(path.stat().st_size)),
        "sha256",
        True,
    ),
    "flipped": (flip, "sha256", True),
    "other": (lambda path: path.write_bytes(png("something else")), "sha256", True),
    "directory": (make_directory, "no_file", True),
    "fifo": (make_fifo, "no_file", True),
    "dangling": (link_to("nowhere.png"), "missing", False),
    "looping": (link_to("looping.png"), "missing", False),
    "device": (link_to("/dev/zero"), "no_file", False),
    "linked": (link_to("whole.png"), "sha256", False),
}


def test_all_kinds_of_damage_are_named_and_exactly_those_pictures_are_made_again(
    server: Server, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.jsonl", [*DAMAGE, "whole"])
    directory = made(job, server)
    server.asked()
    images = directory / "images"
    for name, (do, _, _) in DAMAGE.items():
        do(images / f"{name}.png")
    expected = {f"images/{name}.png": problem for name, (_, problem, _) in DAMAGE.items()}
    assert verified(directory) == expected
    done = batchgen("verify", directory)
    assert (done.code, done.out) == (4, "")
    assert done.last_line == (
        f"1 of {len(DAMAGE) + 1} pictures as recorded, 3 missing, {len(DAMAGE) - 3} changed "
        "→ run the job again to make them"
    )
    again = run(job, server)
    assert again.code == 0, again.err
    assert server.asked() == dict.fromkeys(DAMAGE, 1)
    assert verified(directory) == {}
    ledgers.check_directory(directory)
    kept = {path.name for path in (directory / "quarantine/images").iterdir()}
    assert kept == {f"{name}.1.png" for name, (_, _, is_kept) in DAMAGE.items() if is_kept}
    assert (directory / "quarantine/images/other.1.png").read_bytes() == png("something else")
    assert again.err.count("another picture lay at") == len(kept)
    assert run(job, server).code == 0
    assert server.asked() == {}


def test_a_link_to_the_picture_will_do(server: Server, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a"])
    directory = made(job, server)
    moved = shutil.move(directory / "images/a.png", tmp_path / "moved.png")
    (directory / "images/a.png").symlink_to(moved)
    assert verified(directory) == {}


def test_a_picture_that_cannot_be_read_is_told_and_not_made_again(
    server: Server, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a", "b"])
    directory = made(job, server)
    (directory / "images/a.png").chmod(0)
    (directory / "images/b.png").unlink()
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PRIVILEGE, sys.executable, "verify", str(directory)],
        env=commands.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 12, done.stderr
    assert "images/a.png (a): it cannot be read: Permission denied\n" in done.stderr
    assert "0 of 2 pictures as recorded, 1 not readable, 1 missing" in done.stderr
    told = ledgers.lines(directory / "broken.jsonl")
    assert [line["path"] for line in told] == ["images/b.png"]
    server.asked()
    assert run(job, server).code == 0
    assert server.asked() == {"b": 1}


def test_bytes_as_they_came_that_cannot_be_decoded_are_made_again(
    server: Server, tmp_path: Path
) -> None:
    whole = bytearray(png("a"))
    at = whole.index(b"IDAT") + 40
    whole[at : at + 400] = bytes(400)  # its chunks are where they should be
    spoiled = servers.whole(servers.document(servers.image_part(bytes(whole))))
    server.script = lambda one: spoiled if one.prompt == "a" else servers.draws(one)
    job = write_job(tmp_path / "job.jsonl", ["a", "b"])
    assert run(job, server).code == 0
    directory = tmp_path / "output/job"
    assert verified(directory) == {"images/a.png": "undecodable"}
    server.script = servers.draws
    server.asked()
    assert run(job, server).code == 0
    assert server.asked() == {"a": 1}
    assert verified(directory) == {}


# --- what follows from it -------------------------------------------------------------------------


def test_a_picture_that_was_put_back_is_not_made_again(server: Server, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a", "b"])
    directory = made(job, server)
    server.asked()
    backup = tmp_path / "backup.png"
    shutil.copy2(directory / "images/a.png", backup)
    flip(directory / "images/a.png")
    assert verified(directory) == {"images/a.png": "sha256"}
    shutil.copy2(backup, directory / "images/a.png")  # with its time, as backups do
    assert run(job, server).code == 0
    assert server.asked() == {}
    assert verified(directory) == {}


def test_a_finding_counts_once_though_nobody_takes_it_away(server: Server, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a"])
    directory = made(job, server)
    flip(directory / "images/a.png")
    assert verified(directory) == {"images/a.png": "sha256"}
    server.asked()
    server.script = lambda _: servers.whole(servers.document(servers.image_part(png("a 1"))))
    for _ in range(3):  # the very picture that it was
        assert run(job, server).code == 0
        assert (directory / "broken.jsonl").exists()
    assert server.asked() == {"a": 1}


def test_without_verify_a_run_still_goes_by_size_alone(server: Server, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a"])
    directory = made(job, server)
    flip(directory / "images/a.png")
    server.asked()
    assert run(job, server).code == 0
    assert server.asked() == {}


def test_what_builds_on_a_changed_picture_waits_for_the_new_one_and_is_made_from_it(
    server: Server, tmp_path: Path
) -> None:
    items: list[str | Json] = [
        "parent",
        {"id": "child", "prompt": "child", "references": ["item:parent"]},
        "other",
    ]
    job = write_job(tmp_path / "job.jsonl", items)
    directory = made(job, server)
    flip(directory / "images/parent.png")
    assert verified(directory) == {"images/parent.png": "sha256"}
    server.asked()
    run(job, server, "--only", "child")  # it waits for a parent that is not part of the run
    assert server.asked() == {}
    assert run(job, server).code == 0
    assert server.asked() == {"parent": 1, "child": 1}
    assert verified(directory) == {}
    flip(directory / "images/child.png")
    assert verified(directory) == {"images/child.png": "sha256"}
    assert run(job, server).code == 0
    assert server.asked() == {"child": 1}
    ledgers.check_directory(directory)


def test_copies_conversations_and_names_of_their_own_are_items_like_any_other(
    server: Server, tmp_path: Path
) -> None:
    items: list[str | Json] = [
        {"id": "copy", "prompt": "copy", "count": 3},
        {"id": "talk", "turns": [{"prompt": "one"}, {"prompt": "two"}, {"prompt": "three"}]},
        {"id": "raw", "request": {"contents": [{"parts": [{"text": "raw"}]}]}},
    ]
    head: Json = {"output": {"name": "of {model}/{id}"}}
    job = write_job(tmp_path / "job.jsonl", items, **head)
    directory = made(job, server)
    server.asked()
    folder = "images/of gemini-3-pro-image"
    for name in ("copy#2", "talk", "raw"):
        flip(directory / f"{folder}/{name}.png")
    found = {f"{folder}/{name}.png": "sha256" for name in ("copy#2", "talk", "raw")}
    assert verified(directory) == found
    assert run(job, server).code == 0
    assert server.asked() == {"copy": 1, "three": 1, "raw": 1}
    assert verified(directory) == {}
    kept = directory / f"quarantine/{folder}"
    assert len(list(kept.iterdir())) == 3


def test_what_else_was_kept_is_warned_of_and_never_made_again(
    tmp_path: Path, emulated: EmulatorProcess
) -> None:
    drafts = "[[DRAFTS=3]]"
    items: list[str | Json] = [
        {"id": "drawn", "prompt": f"drawn {drafts}", "include_thoughts": True},
        {"id": "talk", "turns": [{"prompt": "first"}, {"prompt": "second"}]},
    ]
    keeping = {"keep_drafts": True, "keep_thoughts": True}
    small = {"model": "gemini-3.1-flash-image", "image_size": "512"}
    job = write_job(tmp_path / "job.jsonl", items, defaults=small, output=keeping)
    to = ("--provider", "emulator", "--base-url", emulated.url, "-o", tmp_path)
    assert batchgen("run", job, *to).code == 0
    directory = tmp_path / "job"
    assert (verified(directory), told_besides(directory)) == ({}, {})
    n_sent = emulated.n_requests
    (directory / "drafts/drawn.1.1.png").unlink()
    flip(directory / "drafts/drawn.1.2.png")
    cut(directory / "thoughts/drawn.1.1.png")
    flip(directory / "turns/talk.1.png")
    (directory / "turns/talk.1.json").unlink()
    (directory / "turns/talk.2.json").write_bytes(b"{}")
    assert verified(directory) == {}
    assert told_besides(directory) == {
        "drafts/drawn.1.1.png": "missing",
        "drafts/drawn.1.2.png": "sha256",
        "thoughts/drawn.1.1.png": "size",
        "turns/talk.1.png": "sha256",
        "turns/talk.1.json": "missing",
        "turns/talk.2.json": "undecodable",
    }
    done = batchgen("verify", directory)
    assert done.err.count("warning: ") == 6
    assert done.last_line == "2 of 2 pictures as recorded"
    assert batchgen("run", job, *to).code == 0
    assert emulated.n_requests == n_sent


def test_files_that_belong_to_no_item_are_counted_and_do_no_harm(
    server: Server, tmp_path: Path
) -> None:
    server.script = lambda one: (
        servers.refuses(400) if one.prompt == "refused" else servers.draws(one)
    )
    job = write_job(tmp_path / "job.jsonl", ["a", "b", "refused"])
    assert run(job, server).code == 4
    directory = tmp_path / "output/job"
    (directory / "images/mine").mkdir()
    for name in ("mine/x.png", "y.txt", ".DS_Store", "refused.png"):
        (directory / "images" / name).write_bytes(b"x")
    write_job(job, ["a", "refused"])
    assert run(job, server).code == 4
    done = batchgen("verify", directory)
    assert done.code == 0, done.err
    assert done.last_line == (
        "1 of 1 pictures as recorded; 3 files under images/ belong to no item of the job"
    )
    assert (directory / "images/mine/x.png").read_bytes() == b"x"


def test_work_of_somebodys_own_is_kept_also_without_verify(server: Server, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a", "b"])
    directory = made(job, server)
    for n, name in enumerate(("first", "second"), 1):
        (directory / "images/a.png").write_bytes(png(name, 32))
        assert run(job, server, *(["--force"] if n == 2 else [])).code == 0
        assert (directory / f"quarantine/images/a.{n}.png").read_bytes() == png(name, 32)
    assert run(job, server, "--force").code == 0
    kept = [path.name for path in (directory / "quarantine/images").iterdir()]
    assert sorted(kept) == ["a.1.png", "a.2.png"]
    (line,) = [one for one in ledgers.attempts(directory) if "a.2.png" in one.get("note", "")]
    assert line["item"] == "a"


# --- the command ----------------------------------------------------------------------------------


def test_a_directory_without_a_run_is_said_to_be_one(tmp_path: Path) -> None:
    for where in (tmp_path, tmp_path / "nowhere"):
        done = batchgen("verify", where)
        assert (done.code, done.out) == (2, "")
        assert str(where) in done.err


def test_a_job_of_which_nothing_is_done_has_nothing_wrong(server: Server, tmp_path: Path) -> None:
    server.script = lambda _: servers.refuses(400)
    assert run(write_job(tmp_path / "job.jsonl", ["a"]), server).code == 4
    done = batchgen("verify", tmp_path / "output/job")
    assert (done.code, done.last_line) == (0, "0 of 0 pictures as recorded")


def test_findings_that_the_disk_does_not_take_are_told_all_the_same(
    server: Server, tmp_path: Path
) -> None:
    directory = made(write_job(tmp_path / "job.jsonl", ["a"]), server)
    (directory / "broken.jsonl").mkdir()
    assert batchgen("verify", directory).code == 12  # nothing wrong, and no file to take away
    (directory / "images/a.png").unlink()
    done = batchgen("verify", directory, "--json")
    assert done.code == 12
    assert "images/a.png (a): it is missing" in done.err
    assert done.json["wrong"][0]["path"] == "images/a.png"
    assert not list(directory.glob(".*.draft"))


def test_verify_works_beside_a_run_and_calls_nothing_wrong_that_is_being_made(
    server: Server, tmp_path: Path
) -> None:
    ids = [f"item-{n}" for n in range(40)]
    job = write_job(tmp_path / "job.jsonl", ids, limits={"concurrency": 4})
    directory = made(job, server)
    where = ("-o", tmp_path / "output", "--base-url", server.url, "--progress", "none")
    looks = 0
    for _ in range(2):
        with started("run", job, *where, "--force", COMETAPI_KEY=KEY) as running:
            while running.process.poll() is None:
                done = batchgen("verify", directory, "--json")
                assert done.json["wrong"] == [], done.err
                assert done.json["checked"] == len(ids)
                assert done.code == (4 if done.json["unsettled"] else 0)
                looks += 1
            assert running.end().code == 0
    assert looks
    assert verified(directory) == {}
    assert server.asked() == dict.fromkeys(ids, 3)


def test_a_picture_whose_call_was_cut_off_by_a_kill_is_left_to_the_next_run(
    server: Server, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a"])
    directory = made(job, server)
    opened = threading.Event()
    server.script = lambda one: servers.waits_for(opened, servers.draws(one))
    where = ("-o", tmp_path / "output", "--base-url", server.url)
    with started("run", job, *where, "--force", COMETAPI_KEY=KEY) as running:
        until(lambda: server.requests["a"] == 2, "the second request")
        assert verified(directory) == {}
        (directory / "images/a.png").unlink()
        done = batchgen("verify", directory, "--json")
        assert (done.code, done.json["wrong"], done.json["unsettled"]) == (4, [], 1)
        assert not (directory / "broken.jsonl").exists()
        running.signal(signal.SIGKILL)
        running.end()
    opened.set()
    server.script = servers.draws
    assert run(job, server).code == 0
    assert verified(directory) == {}


def many(directory: Path, folder: Path, n_items: int) -> Path:
    """A directory of so many done items, after the pattern of the one item of another."""
    (segment,) = ledgers.segments(directory)
    head, _, attempt, end = segment
    (folder / "ledger").mkdir(parents=True)
    (folder / "images").mkdir()
    with (
        (folder / f"ledger/{head['run_id']}.jsonl").open("wb") as ledger,
        (folder / "items.jsonl").open("wb") as items,
    ):
        ledger.write(msgspec.json.encode(head) + b"\n")
        for n in range(n_items):
            item = Item(id=f"item-{n}", model=attempt["model"], prompt=f"prompt {n}")
            item = msgspec.structs.replace(item, key=content_key(item))
            data = png(f"picture {n}")
            final = {
                **attempt["images"][0],
                "path": f"images/item-{n}.png",
                "sha256": hashlib.sha256(data).hexdigest(),
                "bytes": len(data),
            }
            line = {**attempt, "item": item.id, "key": item.key, "images": [final]}
            (folder / final["path"]).write_bytes(data)
            items.write(msgspec.json.encode(item) + b"\n")
            ledger.write(msgspec.json.encode(line) + b"\n")
        ledger.write(msgspec.json.encode(end) + b"\n")
    return folder


@pytest.mark.slow
def test_ten_thousand_pictures_take_little_time_and_memory(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    n_items = 10_000
    pattern = made(write_job(tmp_path / "job.jsonl", ["a"]), server)
    directory = many(pattern, tmp_path / "many", n_items)
    flip(directory / "images/item-77.png")
    (directory / "images/item-9999.png").unlink()
    before_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, sys.executable, "verify", str(directory), "--json"],
        env=commands.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    took_s = time.monotonic() - before_s
    told = json.loads(done.stdout)
    assert told["checked"] == n_items
    assert [one["path"] for one in told["wrong"]] == [
        "images/item-77.png",
        "images/item-9999.png",
    ]
    peak_mib = int(done.stderr.rsplit("peak ", 1)[1]) / 1024
    with capsys.disabled():
        print(f"\n{n_items:,} pictures verified in {took_s:.1f} s, at most {peak_mib:.0f} MiB")  # noqa: T201
    assert peak_mib < 200


def test_ctrl_c_ends_it_at_once_and_writes_nothing(server: Server, tmp_path: Path) -> None:
    pattern = made(write_job(tmp_path / "job.jsonl", ["a"]), server)
    directory = many(pattern, tmp_path / "many", 1)
    picture = directory / "images/item-0.png"
    n_bytes = 64 << 30
    os.truncate(picture, n_bytes)  # takes no room, and minutes to read
    (segment,) = (directory / "ledger").iterdir()
    head, attempt, end = ledgers.lines(segment)
    attempt["images"][0]["bytes"] = n_bytes
    segment.write_text("".join(json.dumps(line) + "\n" for line in (head, attempt, end)), "utf-8")
    with started("verify", directory) as looking:
        until(lambda: is_reading(looking.process.pid, picture), "the picture being read")
        began_s = time.monotonic()
        looking.signal(signal.SIGINT)
        done = looking.end()
    assert (done.code, done.last_line) == (130, "stopped by sigint; nothing was written"), done.err
    assert time.monotonic() - began_s < 5
    assert not (directory / "broken.jsonl").exists()


def is_reading(pid: int, path: Path) -> bool:
    """Whether a process has a file open."""
    opened = Path(f"/proc/{pid}/fd").iterdir()
    with suppress(FileNotFoundError):
        return any(one.exists() and one.samefile(path) for one in opened)
    return False
