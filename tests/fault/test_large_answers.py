"""Answers without end, and answers of nothing but small things: neither memory nor disk is theirs.

The real command runs in a process of its own, which is asked afterwards how much memory it had at
most. The answers are made while they are sent.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import subprocess
import sys
import threading
import zlib
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from batchgen.store.parts import BATCH_BYTES
from tests import commands, ledgers
from tests.answers import (
    Pieces,
    around,
    beside,
    gzipped,
    in_steps,
    pours,
    repeated,
    without_end,
)
from tests.runs import KEY, run_job, write_job
from tests.servers import Answer, End, FaultServer, document, http, image_part, png

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(240)]

MIB = 1 << 20
CONCURRENCY = 16
MOST_MIB = 150 + CONCURRENCY * 1
CAP_BYTES = 512 * MIB
CAT = png("a cat")
# Its peak is that of the command alone: /proc counts that of whoever starts a process as well.
MEASURED = (
    "import resource, subprocess, sys\n"
    "ended = subprocess.run(sys.argv[1:])\n"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stdout)\n"
    "sys.exit(ended.returncode)\n"
)


@dataclass(frozen=True)
class Ran:
    """What became of a run in a process of its own."""

    code: int
    peak_mib: float
    directory: Path

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(one["outcome"], one["decision"]) for one in ledgers.attempts(self.directory)]


def run(tmp_path: Path, answer: Answer, n_items: int = 1, **head: Any) -> Ran:
    job = write_job(tmp_path / "job.jsonl", [f"item-{n}" for n in range(n_items)], **head)
    with FaultServer(lambda _: answer) as server:
        command = [sys.executable, "-S", "-c", MEASURED, sys.executable, "-m", "batchgen", "run"]
        command += [str(job), "-o", str(tmp_path / "output"), "--base-url", server.url, "-q"]
        command += ["--concurrency", str(CONCURRENCY)]
        done = subprocess.run(
            command,
            env=commands.environment(COMETAPI_KEY=KEY),
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    assert set(server.requests.values()) <= {1, 2}
    peak_kib = int(done.stdout.split()[-1])
    ran = Ran(done.returncode, peak_kib / 1024, tmp_path / "output/job")
    ledgers.check_directory(ran.directory)
    return ran


# --- memory -------------------------------------------------------------------------------------

DONE = [("image", "done")]
CUT = [("bad_reply", "failed")]
NO_HTTP = [("bad_reply", "retry"), ("bad_reply", "failed")]
TEXT = beside(CAT, {"text": "MARK"})
PART = beside(CAT, "MARK").replace('"MARK"', "MARK")
MEMBER = beside(CAT, x="MARK").replace('"MARK"', "MARK")
USAGE = beside(CAT).replace('"promptTokenCount"', '"x": MARK, "promptTokenCount"')
COUNT = b'{"modality": "TEXT", "tokenCount": 20}'
ONE_PART = b'{"text":"so"},'
ENDLESS_PICTURE = json.dumps(document(image_part(b"MARK"))).replace("TUFSSw==", "MARK")


def parts(n: int) -> Pieces:
    for _ in range(n // 10_000 - 1):
        yield ONE_PART * 10_000
    yield (ONE_PART * 10_000)[:-1]


def members(n_bytes: int) -> Pieces:
    yield b"{"
    yield from repeated(b'"a":1,', n_bytes)
    yield b'"b":1}'


def several(unit: bytes, n_bytes: int) -> Pieces:
    yield b"["
    yield from repeated(unit + b",", n_bytes)
    yield b"0]"


def nested(n_bytes: int) -> Pieces:
    yield from repeated(b"[", n_bytes // 2)
    yield from repeated(b"]", n_bytes // 2)


def bomb() -> Answer:
    """A gibibyte in a mebibyte."""
    packed = b"".join(gzipped(around(TEXT, partial(repeated, b"A", 1 << 30))()))
    assert len(packed) < 2 * MIB
    return pours(lambda: [packed], b"Content-Encoding: gzip\r\n")


def headers() -> Answer:
    lines = b"".join(b"X-%d: y\r\n" % n for n in range(200_000))
    return pours(lambda: [beside(CAT).encode()], lines)


ANSWERS: dict[str, tuple[Callable[[], Answer], list[tuple[str, str]]]] = {
    "words without end": (lambda: pours(around(TEXT, lambda: without_end(b"so "))), CUT),
    "white space without end": (lambda: pours(lambda: without_end(b" ")), CUT),
    "a picture without end": (
        lambda: pours(around(ENDLESS_PICTURE, lambda: without_end(b"AAAA"))),
        CUT,
    ),
    "a gibibyte from a mebibyte of gzip": (bomb, CUT),
    "200,000 headers": (headers, NO_HTTP),
    "a text of 100 MiB": (lambda: pours(around(TEXT, partial(repeated, b"so ", 100 * MIB))), DONE),
    "a text of 100 MiB of escapes": (
        lambda: pours(around(TEXT, partial(repeated, b"\\u4e2d", 100 * MIB))),
        DONE,
    ),
    "a name of 100 MiB": (
        lambda: pours(
            around(
                beside(CAT, x="MARK").replace('"x": "MARK"', '"MARK": 1'),
                partial(repeated, b"k", 100 * MIB),
            )
        ),
        DONE,
    ),
    "a million parts": (lambda: pours(around(PART, partial(parts, 1_000_000))), DONE),
    "100 MiB of members": (lambda: pours(around(MEMBER, partial(members, 100 * MIB))), CUT),
    "nested 50 million deep": (lambda: pours(around(MEMBER, partial(nested, 100 * MIB))), CUT),
    "a number of 100 MiB": (
        lambda: pours(around(MEMBER, partial(repeated, b"1", 100 * MIB))),
        CUT,
    ),
    "a usage of 7 MiB": (lambda: pours(around(USAGE, partial(several, COUNT, 7 * MIB))), DONE),
}


@pytest.mark.parametrize("case", [pytest.param(value, id=name) for name, value in ANSWERS.items()])
def test_an_answer_takes_no_more_memory_than_is_said_however_large_it_is(
    case: tuple[Callable[[], Answer], list[tuple[str, str]]],
    tmp_path: Path,
    tried: Callable[[str, int, str], None],
) -> None:
    answer, told = case
    ran = run(tmp_path, answer())
    assert ran.peak_mib <= MOST_MIB
    assert ran.told == told
    if told == DONE:
        assert (ran.directory / "images/item-0.png").read_bytes() == CAT
    else:
        assert not list(ran.directory.glob("images/*"))
    tried("P21", 1, "oversized answers")


@cache
def large_picture() -> bytes:
    """A PNG of 64 MiB, not compressed, with a chunk that means nothing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + crc

    header = struct.pack(">IIBBBBB", 4096, 4096, 8, 2, 0, 0, 0)
    line = b"\0" + os.urandom(3 * 4096)
    rows = zlib.compress(line * 4096, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"xxXx", os.urandom(16 * MIB)) + chunk(b"IDAT", rows)
    return b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IEND", b"")


def demanding() -> bytes:
    """As much of everything as is kept, and a letter for which each takes four bytes."""
    words = "z" * 1_000_000 + "\U0001f600"
    numbers = ",".join(f'"k{n}":1.5' for n in range(18_000))
    said = beside(CAT, {"text": words}, {"text": words}, x="MARK")
    return said.encode().replace(b'"MARK"', f"{{{numbers}}}".encode())


AT_ONCE: dict[str, tuple[Callable[[], bytes], Callable[[], bytes]]] = {
    "pictures of 64 MiB": (
        lambda: json.dumps(document(image_part(large_picture()))).encode(),
        large_picture,
    ),
    "all that is kept of an answer": (demanding, lambda: CAT),
    "16 MiB of words": (
        lambda: b"".join(around(PART, partial(repeated_words, 16 * MIB))()),
        lambda: CAT,
    ),
}


def repeated_words(n_bytes: int) -> Iterator[bytes]:
    yield from repeated(b'{"text":"' + b"so " * 330 + b'"},', n_bytes)
    yield b"{}"


@pytest.mark.parametrize("case", [pytest.param(value, id=name) for name, value in AT_ONCE.items()])
def test_sixteen_large_answers_at_once_take_no_more(
    case: tuple[Callable[[], bytes], Callable[[], bytes]],
    tmp_path: Path,
    tried: Callable[[str, int, str], None],
) -> None:
    body, picture = (made() for made in case)
    ran = run(tmp_path, pours(lambda: in_steps(body)), CONCURRENCY)
    assert ran.peak_mib <= MOST_MIB
    assert ran.told == DONE * CONCURRENCY
    kept = list(ran.directory.glob("images/*"))
    assert len(kept) == CONCURRENCY
    assert all(path.read_bytes() == picture for path in kept)
    tried("P21", CONCURRENCY, "oversized answers")


# --- disk ---------------------------------------------------------------------------------------

N_ITEMS = 4
AT_A_TIME = 2


class Watched:
    """How much lies in a directory at most while the body of a `with` goes on."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.most_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.02):
            self.most_bytes = max(self.most_bytes, used_bytes(self._directory))


def used_bytes(directory: Path) -> int:
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                total += (Path(folder) / name).stat().st_size
            except FileNotFoundError:  # it has been moved meanwhile
                continue
    return total


def zipped_picture() -> Answer:
    pieces = around(ENDLESS_PICTURE, partial(repeated, b"AAAA", CAP_BYTES + 16 * MIB))
    packed = b"".join(gzipped(pieces()))
    return pours(lambda: in_steps(packed), b"Content-Encoding: gzip\r\n")


def picture_and_no_end() -> Answer:
    said = json.dumps(document(image_part(CAT), image_part(b"MARK"))).replace("TUFSSw==", "MARK")
    return pours(around(said, lambda: without_end(b"AAAA")))


OVER_THE_CAP: dict[str, tuple[Callable[[], Answer], list[bytes]]] = {
    "a picture without end": (
        lambda: pours(around(ENDLESS_PICTURE, lambda: without_end(b"AAAA"))),
        [],
    ),
    "a picture without end, in gzip": (zipped_picture, []),
    "a whole picture, and one without end": (picture_and_no_end, [CAT]),
}


@pytest.mark.parametrize(
    "case", [pytest.param(value, id=name) for name, value in OVER_THE_CAP.items()]
)
def test_answers_over_the_cap_leave_whole_pictures_and_nothing_else(
    case: tuple[Callable[[], Answer], list[bytes]],
    tmp_path: Path,
    tried: Callable[[str, int, str], None],
) -> None:
    answer, pictures = case
    limits = {"concurrency": AT_A_TIME}
    with Watched(tmp_path / "output") as watched:
        ran = run_at_a_time(tmp_path, answer(), limits)
    assert ran.told == CUT * N_ITEMS
    assert ran.code == 4
    assert CAP_BYTES // 4 < watched.most_bytes <= AT_A_TIME * CAP_BYTES
    kept = sorted(ran.directory.glob("quarantine/*"))
    assert [path.read_bytes() for path in kept] == pictures * N_ITEMS
    assert used_bytes(ran.directory) < MIB
    told = ledgers.summary(ran.directory)
    assert told["attempts"]["by_outcome"] == {"bad_reply": N_ITEMS}
    assert told["maybe_billed"]["count"] == N_ITEMS
    tried("P22", N_ITEMS, "oversized answers")


def run_at_a_time(tmp_path: Path, answer: Answer, limits: dict[str, int]) -> Ran:
    job = write_job(tmp_path / "job.jsonl", [f"item-{n}" for n in range(N_ITEMS)], limits=limits)
    with FaultServer(lambda _: answer) as server:
        done = commands.batchgen_within(
            200,
            *("run", job, "-o", tmp_path / "output", "--base-url", server.url, "-q"),
            COMETAPI_KEY=KEY,
        )
    assert set(server.requests.values()) == {1}
    ran = Ran(done.code, 0.0, tmp_path / "output/job")
    ledgers.check_directory(ran.directory)
    return ran


async def test_of_the_small_images_of_an_answer_only_the_last_one_waits_in_memory(
    tmp_path: Path,
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a"])
    images = [png(f"image {n}", 100) for n in range(3)]
    assert max(map(len, images)) < BATCH_BYTES
    body = http(200, json.dumps(document(*map(image_part, images))).encode())
    released = threading.Event()

    def answer(connection: socket.socket) -> End:
        connection.sendall(body[:-1])
        released.wait(30)
        connection.sendall(body[-1:])
        return End.WHOLE

    def sizes() -> list[int]:
        parts = (tmp_path / "output/job/.parts").glob("*.part")
        return sorted(path.stat().st_size for path in parts)

    first_two = sorted(map(len, images[:2]))
    with FaultServer(lambda _: answer) as server:
        running = asyncio.create_task(run_job(job, server, patient=True))
        await asyncio.to_thread(commands.until, lambda: sizes() == first_two, "the first two")
        released.set()
        ran = await running
    assert ran.exit_code == 0
