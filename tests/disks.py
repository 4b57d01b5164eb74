"""Small disks to fill: a tmpfs of so many bytes, where this process may mount one."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class SmallDisk:
    """A file system of its own."""

    path: Path

    @property
    def free_bytes(self) -> int:
        disk = os.statvfs(self.path)
        return disk.f_bavail * disk.f_frsize

    def fill(self) -> None:
        """Write until nothing more fits, as another program might."""
        with (self.path / "ballast").open("ab", buffering=0) as file:
            n_bytes = _PIECE_BYTES
            while n_bytes:
                try:
                    file.write(b"\1" * n_bytes)
                except OSError:
                    n_bytes //= 2

    def make_room(self, n_bytes: int) -> None:
        """Take the ballast away, and make the disk that large."""
        (self.path / "ballast").unlink(missing_ok=True)
        _mount("-o", f"remount,size={n_bytes}", str(self.path))

    def make_read_only(self) -> None:
        """Let nobody write to it any more, as a disk that had errors may be mounted."""
        _mount("-o", "remount,ro", str(self.path))


@contextmanager
def small_disk(path: Path, n_bytes: int, *options: str) -> Iterator[SmallDisk]:
    """Mount a disk of so many bytes; it goes away with everything on it."""
    path.mkdir()
    _mount("-t", "tmpfs", "-o", ",".join((f"size={n_bytes}", *options)), "tmpfs", str(path))
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@cache
def _can_mount() -> bool:
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as directory:
        try:
            with small_disk(Path(directory) / "disk", 1 << 20):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


needs_small_disks = pytest.mark.skipif(
    not _can_mount(), reason="NOT TRIED: this process may mount no tmpfs (it needs root)"
)
