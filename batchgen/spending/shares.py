"""A large log, read by several processes at once: each its share of the lines.

Only plain files go this way, and only those that hold no line of our ledgers: these are counted in
their order, and each call once.

Cost: about 40 MB for each process.
"""

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from batchgen.errors import store_errors
from batchgen.spending.foreign import Assumed
from batchgen.spending.reading import MAX_LINE_BYTES, READ_BYTES, Reader, Spending, is_plain_line
from batchgen.spending.tally import Tally
from batchgen.store.inside import open_inside

LEAST_BYTES: Final = 128 << 20
_MOST_PROCESSES: Final = 4
_SHARES_A_PROCESS: Final = 2


@dataclass(frozen=True, slots=True)
class _Share:
    """What one process reads: the lines that begin from one byte on, up to another."""

    path: Path
    begins: int
    ends: int
    spending: Spending
    assumed: Assumed


def read_shared(path: Path, spending: Spending, assumed: Assumed) -> bool:
    """Read a file with several processes, if that is worth it; False if it must be read alone.

    Nothing has been counted then.
    """
    n_processes = min(_n_cores(), _MOST_PROCESSES)
    if n_processes < 2 or not path.is_file() or path.stat().st_size < LEAST_BYTES:  # noqa: PLR2004
        return False
    with store_errors(path), open_inside(path) as file:
        if not _is_shareable(file):
            return False
        bounds = list(_bounds(file, path.stat().st_size, n_processes * _SHARES_A_PROCESS))
    return _shared(path, bounds, n_processes, spending, assumed)


def _shared(
    path: Path,
    bounds: Sequence[tuple[int, int]],
    n_processes: int,
    spending: Spending,
    assumed: Assumed,
) -> bool:
    # Only here, as a small log need not wait for these.
    from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415
    from concurrent.futures.process import BrokenProcessPool  # noqa: PLC0415
    from multiprocessing import get_context  # noqa: PLC0415

    # To copy this process is quicker than to start another, and safe while it has one thread.
    is_alone = sys.platform == "linux" and threading.active_count() == 1
    context = get_context("fork" if is_alone else "spawn")
    empty = Tally(spending.tally.by, spending.tally.span)
    shares = [
        _Share(path, begins, ends, Spending(empty, spending.pricer), assumed)
        for begins, ends in bounds
    ]
    try:
        with ProcessPoolExecutor(n_processes, context, _leave_signals) as pool:
            found = list(pool.map(_read, shares))
    except BrokenProcessPool:  # a process could not be started, or was killed
        return False
    if any(one is None for one in found):
        return False
    n_lines = 0
    for one in found:
        if one is not None:
            spending.merge(one[0], n_lines)
            n_lines += one[1]
    return True


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _leave_signals() -> None:
    """An interrupt is for the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _is_shareable(file: BinaryIO) -> bool:
    """Whether a file begins with a line that stands by itself, and is none of ours."""
    return is_plain_line(file.readline(MAX_LINE_BYTES))


def _bounds(file: BinaryIO, size_bytes: int, n: int) -> Iterator[tuple[int, int]]:
    """Cut a file into about equal parts, each of whole lines."""
    begins = 0
    for number in range(1, n + 1):
        file.seek(max(begins, size_bytes * number // n))
        while (piece := file.readline(READ_BYTES)) and not piece.endswith(b"\n"):
            pass
        ends = file.tell()
        if ends > begins:
            yield begins, ends
        begins = ends


class _Part(io.RawIOBase):
    """The bytes of a file from one place to another."""

    def __init__(self, file: BinaryIO, begins: int, ends: int) -> None:
        super().__init__()
        self._file, self._n_left = file, ends - begins
        file.seek(begins)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(min(len(buffer), self._n_left))
        buffer[: len(data)] = data
        self._n_left -= len(data)
        return len(data)


def _read(share: _Share) -> tuple[Spending, int] | None:
    """Read a share, and count its lines; None if one of ours is among them."""
    with store_errors(share.path), open_inside(share.path) as file:
        part = io.BufferedReader(_Part(file, share.begins, share.ends), READ_BYTES)
        n_lines = Reader(share.spending, share.assumed).read_lines(
            share.path, part, is_beginning=share.begins == 0
        )
    return None if share.spending.n_ours else (share.spending, n_lines)
