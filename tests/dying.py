"""batchgen, as a process that kills itself: `python dying.py COUNTS FOLDER N ARGUMENT…`.

For systems where no strace may do it from outside. Everything is counted that Python does to files
under FOLDER and to connections: opening, writing, syncing, renaming, removing, truncating, sending,
receiving. At number N it is `kill -9`, before it is done; a write counts twice, and at the second
half of it is written. How far it came is in the file COUNTS, should it live.
"""

import io
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Doom:
    """Counts, and kills at its number. Names of what was counted are kept in order."""

    def __init__(self, folder: str, n: int) -> None:
        self._folder = f"{os.path.realpath(folder)}/"
        self._n = n
        self._lock = threading.Lock()
        self._ours: set[int] = set()
        self.counted: list[str] = []

    def meets(self, what: str) -> None:
        """Count one more; not to return is the point."""
        with self._lock:
            self.counted.append(what)
            if len(self.counted) == self._n:
                os.kill(os.getpid(), signal.SIGKILL)

    def is_ours(self, file: Any) -> bool:
        """Whether a path, or a descriptor, is of the folder."""
        if isinstance(file, int):
            return file in self._ours
        return str(os.path.realpath(os.fspath(file))).startswith(self._folder)

    def opened(self, descriptor: int) -> None:
        """Remember a descriptor of the folder."""
        self._ours.add(descriptor)

    def forget(self, descriptor: int) -> None:
        """A descriptor is closed, and may come again for something else."""
        self._ours.discard(descriptor)

    def wrap(self, home: Any, name: str) -> None:
        """Count a function that takes a path or a descriptor first."""
        real = getattr(home, name)

        def counted(file: Any, *rest: Any, **more: Any) -> Any:
            # Of the names that might be in the way, hundreds are removed for each answer.
            if self.is_ours(file) and (name != "unlink" or os.path.lexists(file)):
                self.meets(name)
            return real(file, *rest, **more)

        setattr(home, name, counted)

    def write(self, what: str, data: Any, write: Callable[[Any], int]) -> int:
        """Write, unless it ends before or in the middle of it."""
        self.meets(what)
        with self._lock:
            is_torn = len(self.counted) + 1 == self._n
        if is_torn:
            write(bytes(data)[: len(bytes(data)) // 2])
        self.meets(f"half a {what}")
        return write(data)


def _patch_descriptors(doom: Doom) -> None:
    """What is done by `os` alone, as the ledger and the parts are written."""
    real_open, real_write, real_close = os.open, os.write, os.close

    def opens(path: Any, *rest: Any, **more: Any) -> int:
        if not doom.is_ours(path):
            return real_open(path, *rest, **more)
        doom.meets("open")
        descriptor = real_open(path, *rest, **more)
        doom.opened(descriptor)
        return descriptor

    def writes(descriptor: int, data: Any) -> int:
        if not doom.is_ours(descriptor):
            return real_write(descriptor, data)
        return doom.write("write", data, lambda some: real_write(descriptor, some))

    def closes(fd: int) -> None:
        doom.forget(fd)
        real_close(fd)

    os.open, os.write, os.close = opens, writes, closes
    names = ("fsync", "fdatasync", "replace", "rename", "unlink", "mkdir", "ftruncate", "pwrite")
    for name in names:
        if hasattr(os, name):
            doom.wrap(os, name)


def _patch_files(doom: Doom) -> None:
    """What is done by files of `io`, as receipts and results are written."""
    real_open = io.open

    class Raw(io.FileIO):
        """An open file whose writes are counted, as it is one of the folder's."""

        def write(self, data: Any) -> int:
            return doom.write("write", data, super().write)

        def close(self) -> None:
            if not self.closed:
                doom.forget(self.fileno())
            super().close()

    def opens(file: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if isinstance(file, int) or "b" not in mode or not doom.is_ours(file):
            return real_open(file, mode, *rest, **more)
        doom.meets("open")
        raw = Raw(file, mode.replace("b", ""))
        doom.opened(raw.fileno())
        if "+" in mode:
            return io.BufferedRandom(raw)
        return io.BufferedReader(raw) if mode[0] == "r" else io.BufferedWriter(raw)

    io.open = opens


def _patch_connections(doom: Doom) -> None:
    def wrap(name: str) -> None:
        real = getattr(socket.socket, name)

        def counted(self: socket.socket, *rest: Any) -> Any:
            if self.family != socket.AF_UNIX:  # by that the loop wakes itself
                doom.meets(name)
            return real(self, *rest)

        setattr(socket.socket, name, counted)

    for name in ("connect", "send", "sendmsg", "recv", "recv_into"):
        wrap(name)


def main() -> None:
    """Run the command line after the first three arguments."""
    counts, folder, n, *sys.argv[1:] = sys.argv[1:]
    doom = Doom(folder, int(n))
    _patch_descriptors(doom)
    _patch_files(doom)
    _patch_connections(doom)
    from batchgen.cli import main as batchgen  # noqa: PLC0415 - after what it uses was patched

    try:
        batchgen()
    finally:
        Path(counts).write_text("\n".join(doom.counted), "utf-8")


if __name__ == "__main__":
    main()
