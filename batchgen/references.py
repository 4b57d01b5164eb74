"""Reference images: opened, sniffed and hashed once a run, read again for each attempt.

Only regular files that are images are ever read on: the first bytes decide, not the name. What a
path names when a job is checked must still be the same file when it is sent.
"""

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncIterator
from io import BufferedReader, FileIO
from typing import Final

from batchgen.errors import MissingReference
from batchgen.model import ReferenceFile

_HASH_STEP_BYTES: Final = 1 << 20
_SNIFF_BYTES: Final = 32

_HEIF_BRANDS: Final = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis"), "image/heic"),
    **dict.fromkeys((b"mif1", b"msf1", b"heif"), "image/heif"),
}


class UnusableReferenceError(ValueError):
    """A path that cannot be a reference; the message completes "PATH …"."""


class ReferenceLibrary:
    """The references of one run, each file examined once however many items name it.

    Examining reads the whole file, so it is done while the job is read, never while calls are
    under way.

    Memory: about 400 bytes a file.
    """

    def __init__(self) -> None:
        """Start with nothing known."""
        self._known: dict[str, ReferenceFile | str] = {}

    def open(self, path: str) -> ReferenceFile:
        """Examine a file, or remember it.

        Raises:
            UnusableReferenceError: It is missing, no regular file, or no image that the service
                takes. The same words come back for every later call.
        """
        known = self._known.get(path)
        if known is None:
            try:
                known = _examine(path)
            except UnusableReferenceError as error:
                known = str(error)
            self._known[path] = known
        if isinstance(known, str):
            raise UnusableReferenceError(known)
        return known

    def known(self, path: str) -> ReferenceFile:
        """What was found out about a file when the job was read; reads nothing.

        Raises:
            UnusableReferenceError: It was not examined, or could not be used.
        """
        known = self._known.get(path, "was not there when the job was read")
        if isinstance(known, str):
            raise UnusableReferenceError(known)
        return known


def sniff(head: bytes) -> str | None:
    """The MIME type of an image that may be sent, by its first bytes; None for anything else."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:8] == b"ftyp":
        return _HEIF_BRANDS.get(head[8:12])
    return None


def _examine(path: str) -> ReferenceFile:
    try:
        with _open(path) as file:
            return _describe(path, file)
    except FileNotFoundError:
        raise UnusableReferenceError("does not exist") from None
    except OSError as error:
        raise UnusableReferenceError(f"cannot be read ({error.strerror})") from None


def _open(path: str) -> FileIO:
    """Open a regular file, and nothing else, without waiting for anything.

    Raises:
        OSError: It cannot be opened.
        UnusableReferenceError: The path names something else, or is no path.
    """
    try:
        # O_NONBLOCK: opening a FIFO must not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except ValueError:  # a NUL, or a character that no file name can hold
        raise UnusableReferenceError("is no path") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnusableReferenceError("is no regular file")
    return FileIO(descriptor)


def _describe(path: str, file: FileIO) -> ReferenceFile:
    seen = os.fstat(file.fileno())
    head = file.read(_SNIFF_BYTES)
    mime = sniff(head)
    if mime is None:
        what = "is empty" if not head else "is no PNG, JPEG, WebP, HEIC or HEIF image"
        raise UnusableReferenceError(what)
    digest = hashlib.sha256(head)
    while step := file.read(_HASH_STEP_BYTES):
        digest.update(step)
    return ReferenceFile(
        path=path,
        mime=mime,
        size_bytes=seen.st_size,
        sha256=digest.hexdigest(),
        mtime_ns=seen.st_mtime_ns,
        inode=seen.st_ino,
    )


async def read_reference(file: ReferenceFile, step_bytes: int) -> AsyncIterator[bytes]:
    """Yield a file's bytes in steps of exactly `step_bytes`, the last excepted.

    Raises:
        MissingReference: The file went away or is not what it was; nothing billed.
    """
    try:
        opened = BufferedReader(await asyncio.to_thread(_open, file.path))
    except OSError as error:
        raise MissingReference(f"reference {file.path}: {error.strerror}") from error
    except UnusableReferenceError as error:
        raise MissingReference(f"reference {file.path} {error}") from error
    with opened:
        seen = os.fstat(opened.fileno())
        now = (seen.st_size, seen.st_mtime_ns, seen.st_ino)
        if now != (file.size_bytes, file.mtime_ns, file.inode):
            raise MissingReference(
                f"reference {file.path} changed while the run was going on; run again"
            )
        left = file.size_bytes
        while left:
            try:
                step = await asyncio.to_thread(opened.read, min(step_bytes, left))
            except OSError as error:
                raise MissingReference(f"reference {file.path}: {error.strerror}") from error
            if len(step) != min(step_bytes, left):
                raise MissingReference(f"reference {file.path} was cut while it was being read")
            left -= len(step)
            yield step
