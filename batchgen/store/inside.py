"""Nothing in a job's directory leads out of it, and nothing in it can make a run wait.

Whoever hands over a job may hand over an output directory with it. So only regular files are read
there, a pipe is refused instead of waited for, and nothing is written, cut or removed behind a
link. The job's directory itself may be one.

Source: docs/adr/0011.
"""

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from batchgen.errors import StoreError


def open_inside(path: Path, *, to_change: bool = False) -> BinaryIO:
    """Open a regular file that is there, and nothing else, without waiting for anything.

    Args:
        path: The file.
        to_change: For writing as well; then it may be no link.

    Raises:
        OSError: It cannot be opened, or is no regular file.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW if to_change else os.O_RDONLY
    descriptor, _ = open_regular(path, flags)
    return os.fdopen(descriptor, "r+b" if to_change else "rb")


def open_regular(path: Path, flags: int = os.O_RDONLY) -> tuple[int, int]:
    """The same as a descriptor, and how many bytes there are."""
    # O_NONBLOCK: opening a FIFO must not wait for a writer.
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return descriptor, found.st_size


def open_to_append(path: Path) -> BinaryIO:
    """Open a file to write on at its end; it is made if it is not there, and may be no link.

    Raises:
        OSError: It cannot be opened, or nobody reads the pipe that it is.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o644), "ab")


def refuse_links(root: Path, paths: Iterable[Path]) -> None:
    """Make sure that nothing on the way from a job's directory to some paths in it is a link.

    Cost: a look at the disk for each folder on the way.

    Raises:
        StoreError: Something is.
    """
    for path in paths:
        missing_folders(root, path)


def missing_folders(root: Path, path: Path) -> list[str]:
    """What on the way from a job's directory to a path in it is no directory, the path first.

    Raises:
        StoreError: Something on the way is a link.
    """
    missing = []
    one, ends = os.fspath(path), {os.fspath(root), "", os.sep}
    while one not in ends:
        mode = _mode(one)
        if stat.S_ISLNK(mode):
            raise StoreError(
                f"{one} is a link, and nothing is written through links: remove it, or choose "
                "another directory with -o"
            )
        if not stat.S_ISDIR(mode):
            missing.append(one)
        one = os.path.dirname(one)  # noqa: PTH120 - a path object for each costs more than the look
    return missing


def _mode(path: str) -> int:
    """What lies at a path, links not followed; 0 if nothing does."""
    try:
        return os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
