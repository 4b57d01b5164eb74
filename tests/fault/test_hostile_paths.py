"""Paths in a job that lead where nothing is to be read: not one byte of it reaches the service."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import batchgen
from batchgen.errors import JobError
from batchgen.manifest import open_manifest
from batchgen.references import ReferenceLibrary
from tests import commands, servers
from tests.runs import KEY, run_job, write_job
from tests.servers import FaultServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.reliability
Tell = Any
SECRET = "-----BEGIN OPENSSH PRIVATE KEY----- b3BlbnNzaC1rZXk"
PICTURE = servers.png("a picture of somebody else")
MAGIC = {
    "png": b"\x89PNG\r\n\x1a\n",
    "jpg": b"\xff\xd8\xff",
    "webp": b"RIFF\x20\0\0\0WEBP",
    "heic": b"\0\0\0\x18ftyp",
}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home with secrets, and beside it the folder of a job that was handed over."""
    home, job = tmp_path / "home", tmp_path / "home/handed/job"
    (home / ".ssh").mkdir(parents=True)
    job.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    for name in (".ssh/id_rsa", ".env", "notes.txt", "named.png", "table.csv", "rows.jsonl"):
        (home / name).write_text(SECRET)
    (home / "table.csv").write_text(f"word\n{SECRET}\n")
    (home / "rows.jsonl").write_text(json.dumps({"word": SECRET}) + "\n")
    (home / "private.png").write_bytes(PICTURE)
    (home / "pictures").mkdir()
    (home / "pictures/private.png").write_bytes(PICTURE)
    for link, target in {
        "out.png": "../../private.png",
        "out-of-all.png": "/proc/self/environ",
        "key.png": "../../.ssh/id_rsa",
        "key.txt": "../../.ssh/id_rsa",
        "full.png": str(home / "private.png"),
        "chain.png": "chain2.png",
        "chain2.png": "../../private.png",
        "folder": "../../pictures",
        "up": "..",
        "rows.csv": "../../table.csv",
        "rows.jsonl": "../../rows.jsonl",
        "zero.png": "/dev/zero",
        "loop.png": "loop.png",
        "dangling.png": "../../not-there.png",
        "environ.txt": "/proc/self/environ",
    }.items():
        (job / link).symlink_to(target)
    (job / "sub").mkdir()
    (job / "sub/deep.png").symlink_to("../../../private.png")
    os.mkfifo(job / "pipe.png")
    os.mkfifo(job / "pipe.csv")
    (job / "dir.png").mkdir()
    (job / "empty.png").touch()
    (job / "text.png").write_text(SECRET)
    (job / "drawn.svg").write_text(f"<svg><text>{SECRET}</text></svg>")
    (job / "moved.gif").write_bytes(b"GIF89a" + SECRET.encode())
    for ending, magic in MAGIC.items():
        (job / f"polyglot.{ending}").write_bytes(magic + SECRET.encode())
    with (job / "sparse.png").open("wb") as file:
        file.truncate(5 << 30)
    with (job / "endless.png").open("wb") as file:  # a digest of it would take hours
        file.write(PICTURE)
        file.truncate(1 << 40)
    monkeypatch.chdir(job)  # the path of a socket is short
    listening = socket.socket(socket.AF_UNIX)
    listening.bind("socket.png")
    yield job
    listening.close()


# As references. What is written in full or with `..` is no link; there the bytes decide.
PATHS = [
    *("/proc/self/environ", "/proc/self/mem", "/proc/self/cmdline", "/proc/self/fd/0", "/proc/1"),
    *("/dev/zero", "/dev/stdin", "/dev/random", "/dev/null", "/dev/fd/0", "/sys/kernel/notes"),
    *("~/.ssh/id_rsa", "$HOME/.ssh/id_rsa", "../../.ssh/id_rsa", "../../.env", "../../named.png"),
    *("HOME/.ssh/id_rsa", "HOME/named.png", "/etc/passwd", "/etc/shadow", "/", ".", "..", "up"),
    *(
        "file:///etc/passwd",
        "file://HOME/private.png",
        "FILE:/etc/passwd",
        "data:,x",
        "//etc/passwd",
    ),
    *("out.png", "out-of-all.png", "key.png", "full.png", "chain.png", "folder/private.png"),
    *("sub/deep.png", "sub/../out.png", "up/../../private.png", "zero.png", "loop.png"),
    *("dangling.png", "pipe.png", "dir.png", "empty.png", "text.png", "drawn.svg", "moved.gif"),
    *(
        "sparse.png",
        "endless.png",
        "socket.png",
        *(f"polyglot.{ending}" for ending in MAGIC),
        "missing.png",
    ),
    *("a\0.png", "x" * 300, "x/" * 3000, "\U0010ffff.png", "-rf", "*.png", "|cat /etc/passwd"),
]
TEXTS = [
    *(
        "/proc/self/environ",
        "/proc/self/cmdline",
        "/proc/version",
        "/sys/kernel/notes",
        "/dev/zero",
    ),
    *("/dev/stdin", "/dev/null", "environ.txt", "key.txt", "pipe.png", "dir.png", "loop.png"),
    *("chain.png", "socket.png", "dangling.png", "~/.ssh/id_rsa", "file:///etc/passwd", "a\0b"),
]
TABLES = [
    *("rows.csv", "rows.jsonl", "pipe.csv", "/proc/self/environ", "/proc/net/unix", "dir.png"),
    *("/dev/zero", "/dev/stdin", "file:///etc/passwd", "environ.txt", "socket.png"),
]


@contextmanager
def nothing_is_sent(*secrets: bytes) -> Iterator[FaultServer]:
    """A server that must not get to see any of these."""
    with FaultServer(servers.draws) as server:
        yield server
        for asked in server.log:
            assert not [one for one in secrets if one in asked.body]


async def said_of(job: Path, item: dict[str, Any], home: Path) -> str:
    """What is said of a job whose only item this is; that it does not wait is checked."""
    with nothing_is_sent(SECRET.encode()) as server:
        with pytest.raises(JobError) as refused:
            async with asyncio.timeout(20):
                await run_job(write_job(job / "job.jsonl", [item]), server)
        assert server.n_connections == 0
    said = str(refused.value)
    assert said.startswith(f"{job}/job.jsonl:2:")
    assert SECRET[:20] not in said
    assert not (job / "output/job").exists()
    return said.replace(str(home), "HOME")


@pytest.mark.parametrize("path", PATHS)
async def test_what_is_no_image_is_no_reference(path: str, world: Path, tried: Tell) -> None:
    home = world.parents[1]
    written = path.replace("HOME", str(home))
    item = {"id": "a", "prompt": "p", "references": [written]}
    said = await said_of(world, item, home)
    assert "items[a].references" in said
    tried("P32", 1, "hostile paths")


@pytest.mark.parametrize("path", TEXTS)
async def test_what_is_no_text_of_the_job_is_no_prompt(path: str, world: Path, tried: Tell) -> None:
    home = world.parents[1]
    for item in (
        {"id": "a", "prompt": {"file": path}},
        {"id": "a", "turns": [{"prompt": {"file": path}}]},
        {"id": "a", "prompt": {"file": path}, "matrix": {"x": ["1"]}},
        {"id": "a", "prompt": {"file": "{f}"}, "each": [{"f": path}]},
    ):
        said = await said_of(world, item, home)
        assert "prompt" in said
    tried("P32", 1, "hostile paths")


@pytest.mark.parametrize("path", TABLES)
async def test_what_is_no_table_of_the_job_makes_no_items(
    path: str, world: Path, tried: Tell
) -> None:
    item = {"id": "a", "prompt": "{word}", "each": path}
    said = await said_of(world, item, world.parents[1])
    assert "each" in said or "table" in said
    tried("P32", 1, "hostile paths")


LEADS_OUT = (
    "leads through a link to {}, outside the job's folder; if that is meant, write that path"
)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("out.png", "HOME/private.png"),
        ("chain.png", "HOME/private.png"),
        ("full.png", "HOME/private.png"),
        ("sub/deep.png", "HOME/private.png"),
        ("folder/private.png", "HOME/pictures/private.png"),
    ],
)
async def test_a_link_out_of_the_folder_of_the_job_is_told_with_where_it_leads(
    path: str, target: str, world: Path
) -> None:
    item = {"id": "a", "prompt": "p", "references": [path]}
    said = await said_of(world, item, world.parents[1])
    assert f"{path} {LEADS_OUT.format(target)}" in said


def test_a_link_above_the_job_may_lead_as_far_as_the_path_itself_goes(world: Path) -> None:
    handed = world.parent
    (handed / "shared").mkdir()
    (handed / "shared/in.png").symlink_to("../job/mine.png")
    (handed / "shared/out.png").symlink_to("../../private.png")
    (world / "mine.png").write_bytes(PICTURE)

    def said(path: str) -> list[str]:
        item = {"id": "a", "prompt": "p", "references": [path]}
        manifest = open_manifest(write_job(world / "job.jsonl", [item]))
        for _ in manifest.items(ReferenceLibrary()):
            pass
        return [error.message for error in manifest.problems.sorted_errors]

    assert said("../shared/in.png") == []
    (told,) = said("../shared/out.png")
    assert told.endswith("private.png, outside ..; if that is meant, write that path")
    assert said("../../handed/shared/out.png") == []  # it stays in the home, as it says


@pytest.mark.parametrize(
    "path", ["mine.png", "./mine.png", "link.png", "sub/link.png", "../../private.png", "FULL"]
)
async def test_pictures_by_any_honest_path_are_sent(path: str, world: Path) -> None:
    (world / "mine.png").write_bytes(PICTURE)
    (world / "link.png").symlink_to("mine.png")
    (world / "sub/link.png").symlink_to("../mine.png")
    written = path.replace("FULL", str(world / "full.png"))
    job = write_job(world / "job.jsonl", [{"id": "a", "prompt": "p", "references": [written]}])
    with FaultServer(servers.draws) as server:
        done = await run_job(job, server)
    assert done.exit_code == 0
    (asked,) = server.log
    sent = json.loads(asked.body)["contents"][0]["parts"][1]["inlineData"]["data"]
    assert sent == servers.image_part(PICTURE)["inlineData"]["data"]


def swapped_for_text(path: Path, _: Path) -> None:
    path.unlink()
    path.write_text(SECRET.ljust(len(PICTURE), "."))


def overwritten(path: Path, _: Path) -> None:
    at = path.stat()
    path.write_text(SECRET.ljust(len(PICTURE), "."))
    assert path.stat().st_size == at.st_size


def swapped_for_a_link(path: Path, home: Path) -> None:
    path.unlink()
    path.symlink_to(home / ".ssh/id_rsa")


def swapped_for_a_pipe(path: Path, _: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder_swapped_for_a_link(path: Path, home: Path) -> None:
    shutil.rmtree(path.parent)
    (home / "mine.png").write_text(SECRET.ljust(len(PICTURE), "."))
    path.parent.symlink_to(home)


@pytest.mark.parametrize(
    "swap",
    [
        *(swapped_for_text, overwritten, swapped_for_a_link, swapped_for_a_pipe),
        folder_swapped_for_a_link,
    ],
    ids=lambda swap: swap.__name__,
)
async def test_what_a_picture_was_swapped_for_after_the_check_is_not_sent(
    swap: Callable[[Path, Path], None], world: Path, tried: Tell
) -> None:
    picture = world / "pictures/mine.png"
    picture.parent.mkdir()
    picture.write_bytes(PICTURE)
    item = {"id": "a", "prompt": "p", "references": ["pictures/mine.png"]}
    job = write_job(world / "job.jsonl", [item])

    def change(event: batchgen.Event) -> None:
        if isinstance(event, batchgen.RunBegan):
            swap(picture, world.parents[1])

    with nothing_is_sent(SECRET.encode(), b"LS0tLS1CRUdJTiBPUEVO") as server:
        where = {"output": world / "output", "base_url": server.url, "on_event": change}
        async with asyncio.timeout(20):
            async with batchgen.Runner(job, **where) as runner:  # type: ignore[arg-type]
                [result] = [one async for one in runner.results()]
        assert server.answered == {}
    assert (result.status, result.outcome) == ("failed", "missing_reference")
    tried("P32", 1, "hostile paths")


# --- the key ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "item",
    [
        {"id": "a", "prompt": f"draw {KEY}"},
        {"id": "a", "prompt": {"file": "leaked.txt"}},
        {"id": "a", "turns": [{"prompt": "x"}, {"prompt": {"file": "leaked.txt"}}]},
        {"id": "a", "prompt": "{word}", "each": "leaked.csv"},
        {"id": "a", "prompt": "p", "system_instruction": KEY},
        {"id": "a", "request": {"contents": [{"parts": [{"text": KEY}]}]}},
        {"id": "a", "prompt": "p", "tags": {"note": f"x{KEY}"}},
        {"id": KEY, "prompt": "p"},
    ],
)
async def test_an_item_with_the_key_in_it_is_refused_without_showing_it(
    item: dict[str, Any], world: Path
) -> None:
    (world / "leaked.txt").write_text(f"COMETAPI_KEY={KEY}\n")
    (world / "leaked.csv").write_text(f"word\nCOMETAPI_KEY={KEY}\n")
    job = write_job(world / "job.jsonl", [item, "innocent"])
    with FaultServer(servers.draws) as server:
        with pytest.raises(JobError) as refused:
            await run_job(job, server)
        assert server.n_connections == 0
    said = str(refused.value)
    assert "it holds the API key, which would be sent as its words" in said
    assert "1 error in the job" in said
    assert KEY not in said
    written = [path for path in (world / "output").rglob("*") if path.is_file()]
    assert not [path for path in written if KEY.encode() in path.read_bytes()]


def test_the_environment_of_the_command_is_no_prompt_no_table_and_no_picture(
    tmp_path: Path, tried: Tell
) -> None:
    items: list[dict[str, Any]] = [
        {"id": "a", "prompt": {"file": "/proc/self/environ"}},
        {"id": "a", "prompt": "{x}", "each": "/proc/self/environ"},
        {"id": "a", "prompt": "p", "references": ["/proc/self/environ"]},
        {"id": "a", "prompt": {"file": "/proc/thread-self/../self/environ"}},
    ]
    for n, item in enumerate(items):
        job = write_job(tmp_path / f"{n}.jsonl", [item])
        with FaultServer(servers.draws) as server:
            where = ("--base-url", server.url, "-o", tmp_path / "out")
            done = commands.batchgen("run", job, *where, COMETAPI_KEY=KEY)
            assert (done.code, server.n_connections) == (3, 0)
        assert KEY not in done.err + done.out
        tried("P32", 1, "hostile paths")
