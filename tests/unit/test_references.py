"""References: only regular files that are images, and only as long as they stay what they were."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from batchgen.errors import MissingReference
from batchgen.references import (
    ReferenceLibrary,
    UnusableReferenceError,
    files,
    read_reference,
    sniff,
)
from batchgen.references.files import open_unchanged

if TYPE_CHECKING:
    from io import BufferedReader
    from pathlib import Path

    from batchgen.model import ReferenceFile

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


@pytest.mark.parametrize(
    ("head", "mime"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"\xff\xd8\xff\xee", "image/jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"\x00\x00\x00\x18ftypheic", "image/heic"),
        (b"\x00\x00\x00\x18ftypheix", "image/heic"),
        (b"\x00\x00\x00\x18ftypmif1", "image/heif"),
        (b"\x00\x00\x00\x18ftypavif", None),
        (b"\x00\x00\x00\x18ftypisom", None),
        (b"RIFF\x00\x00\x00\x00WAVE", None),
        (b"GIF89a", None),
        (b"<svg>", None),
        (b"BM", None),
        (b"%PDF", None),
        (b"\x89PNG\r\n", None),
        (b"\x89PNG\r\n\x1a\n", None),
        (b"\x89PNG\r\n\x1a\nAPI_KEY=sk-123456789", None),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIEND", None),
        (b"\xff\xd8\xffAPI_KEY", None),
        (b"RIFF\x00\x00\x00\x00WEBPAPI_", None),
        (b"\xff\xd8", None),
        (b"RIFF", None),
        (b"", None),
        (b"API_KEY=sk-123", None),
    ],
)
def test_the_first_bytes_decide(head: bytes, mime: str | None) -> None:
    assert sniff(head) == mime


def opened(path: Path, data: bytes) -> ReferenceFile:
    path.write_bytes(data)
    return ReferenceLibrary().open(str(path))


def test_an_image_is_examined_whatever_its_name(tmp_path: Path) -> None:
    data = PNG + os.urandom(3_000_000)
    file = opened(tmp_path / "picture.txt", data)
    assert (file.mime, file.size_bytes) == ("image/png", len(data))
    assert file.sha256 == hashlib.sha256(data).hexdigest()


def refused(path: str) -> str:
    library = ReferenceLibrary()
    with pytest.raises(UnusableReferenceError) as first:
        library.open(path)
    with pytest.raises(UnusableReferenceError) as again:
        library.open(path)
    assert str(first.value) == str(again.value)
    return str(first.value)


def test_what_is_no_image_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "dir.png").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "to-fifo.png").symlink_to(tmp_path / "fifo.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    for path in tmp_path.iterdir():
        assert refused(str(path))
    for special in (
        "/dev/zero",
        "/dev/null",
        "/dev/stdin",
        "/proc/self/environ",
        "/proc/self/mem",
        "",
    ):
        assert refused(special)
    assert refused(str(tmp_path / "missing.png")) == "does not exist"
    assert refused(str(tmp_path / "text.png" / "x.png"))
    assert refused(f"{tmp_path}/nul\0.png")
    assert refused(f"{tmp_path}/{'x' * 300}.png")
    assert refused(f"{tmp_path}/\ud800.png")


def test_a_link_to_an_image_is_an_image(tmp_path: Path) -> None:
    (tmp_path / "real.png").write_bytes(PNG + b"x")
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    assert ReferenceLibrary().open(str(tmp_path / "link.png")).size_bytes == 17


def test_a_file_is_examined_once_a_run(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    library = ReferenceLibrary()
    path.write_bytes(PNG)
    first = library.open(str(path))
    path.unlink()
    assert library.open(str(path)) is first


async def read(file: ReferenceFile, step_bytes: int) -> list[bytes]:
    return [step async for step in read_reference(file, step_bytes)]


@pytest.mark.parametrize(
    ("size", "step", "steps"),
    [(16, 6, [6, 6, 4]), (18, 6, [6, 6, 6]), (16, 100, [16]), (16, 16, [16])],
)
async def test_steps_are_of_the_size_asked_for_but_the_last(
    tmp_path: Path, size: int, step: int, steps: list[int]
) -> None:
    data = (PNG + b"x" * 10)[:size]
    file = opened(tmp_path / "a.png", data)
    got = await read(file, step)
    assert [len(one) for one in got] == steps
    assert b"".join(got) == data


async def test_a_file_that_changed_since_it_was_opened_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.png"

    file = opened(path, PNG + b"one")
    path.write_bytes(PNG + b"three")
    with pytest.raises(MissingReference):
        await read(file, 100)

    file = opened(path, PNG + b"one")
    os.utime(path, ns=(1, 1))
    with pytest.raises(MissingReference):
        await read(file, 100)

    file = opened(path, PNG + b"one")
    other = tmp_path / "other"
    other.write_bytes(PNG + b"two")
    os.utime(other, ns=(file.mtime_ns, file.mtime_ns))
    other.replace(path)
    with pytest.raises(MissingReference):
        await read(file, 100)

    path.unlink()
    with pytest.raises(MissingReference) as caught:
        await read(file, 100)
    assert caught.value.billed == "no"

    path.mkdir()
    with pytest.raises(MissingReference):
        await read(file, 100)


async def test_a_file_that_became_a_fifo_does_not_hang(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    file = opened(path, PNG + b"one")
    path.unlink()
    os.mkfifo(path)
    reading = asyncio.create_task(read(file, 100))
    done, _ = await asyncio.wait({reading}, timeout=5)
    if not done:  # let the thread go, or the test would hang as well
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    with pytest.raises(MissingReference):
        await reading
    assert done


async def test_a_file_that_is_cut_while_it_is_read_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    file = opened(path, PNG + b"x" * 1_000_000)
    steps = read_reference(file, 1000)
    assert len(await anext(steps)) == 1000
    os.truncate(path, 5000)
    with pytest.raises(MissingReference):
        async for _ in steps:
            pass


async def test_a_file_that_opens_after_nobody_wants_it_any_more_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = opened(tmp_path / "a.png", PNG + b"one")
    began, may_open, handed_out = threading.Event(), threading.Event(), []

    def slowly(wanted: ReferenceFile) -> BufferedReader:
        began.set()
        assert may_open.wait(10)
        handed_out.append(open_unchanged(wanted))
        return handed_out[0]

    monkeypatch.setattr(files, "open_unchanged", slowly)
    reading = asyncio.create_task(read(file, 100))
    assert await asyncio.to_thread(began.wait, 10)
    reading.cancel()
    may_open.set()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert [one.closed for one in handed_out] == [True]


def test_reading_a_job_waits_neither_for_aiohttp_nor_for_pillow() -> None:
    code = (
        "import sys, batchgen.references as r; r.ReferenceLibrary();"
        "print({'aiohttp', 'PIL', 'yarl'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"
