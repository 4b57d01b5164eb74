"""The pictures of a job's directory that a browser may have, and no other file.

The path is taken apart once, as it was sent; each part of it is then opened below the one before,
and none may be a link. So whatever somebody puts there meanwhile, nothing outside is ever opened.
"""

import errno
import os
import re
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote_to_bytes

from batchgen.store.images import inspect

FOLDERS: Final = frozenset({"images", "turns", "drafts", "thoughts", "quarantine", "thumbnails"})
_THUMBNAIL: Final = re.compile(r"/thumbnails/([0-9a-f]{64})\.webp")
_MIN_PARTS: Final = 2
_MAX_PARTS: Final = 32
_HEAD_BYTES: Final = 16
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO must not wait for a writer.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A picture that is open. `tag` is another one when the file is."""

    file: BinaryIO
    mime: str
    size_bytes: int
    tag: str


def thumbnail_of(target: str) -> str | None:
    """The SHA-256 of the picture whose thumbnail a request is for; None if it is for none."""
    found = _THUMBNAIL.fullmatch(target.partition("?")[0])
    return None if found is None else found[1]


def parts_of(target: str) -> tuple[str, ...] | None:
    """Where in the directory a request leads; None if it may lead nowhere.

    Args:
        target: The request's path as it was sent.
    """
    first, *encoded = target.partition("?")[0].split("/")
    if first or not _MIN_PARTS <= len(encoded) <= _MAX_PARTS:
        return None
    try:
        parts = tuple(unquote_to_bytes(one).decode() for one in encoded)
    except UnicodeDecodeError:
        return None
    if parts[0] not in FOLDERS or not all(map(_is_name, parts)):
        return None
    return parts


def _is_name(part: str) -> bool:
    """Whether it names something in a folder, and neither a hidden file nor another folder."""
    return bool(part) and not part.startswith(".") and not re.search(r"[/\\\x00-\x1f\x7f]", part)


def open_picture(root: Path, parts: Sequence[str]) -> PictureFile | None:
    """Open a picture in a job's directory; None if there is none.

    Args:
        root: The directory, which may be a link itself.
        parts: The names of folders in it, and of the file.
    """
    with suppress(OSError):
        file = _open_below(root, parts)
        if (picture := _as_picture(file)) is not None:
            return picture
        file.close()
    return None


def _open_below(root: Path, parts: Sequence[str]) -> BinaryIO:
    *folders, name = parts
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for one in folders:
            below = os.open(one, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = below
        descriptor = os.open(name, _FILE, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", name)
    return os.fdopen(descriptor, "rb", buffering=0)


def _as_picture(file: BinaryIO) -> PictureFile | None:
    seen = os.fstat(file.fileno())
    facts = inspect(os.pread(file.fileno(), _HEAD_BYTES, 0))  # which format it is, no more
    if facts is None:
        return None
    tag = f'"{seen.st_ino:x}-{seen.st_size:x}-{seen.st_mtime_ns:x}"'
    return PictureFile(file, facts.mime, seen.st_size, tag)
