"""Files: opened, sniffed and hashed once a run, read again for each attempt.

Only regular files that are images are ever read on: the first bytes decide, not the name. What a
path names when a job is checked must still be the same file when it is sent.
"""

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncIterator
from contextlib import suppress
from io import BufferedReader, FileIO
from typing import Final

from batchgen.errors import MissingReference
from batchgen.model import ReferenceFile

SNIFF_BYTES: Final = 32
NO_IMAGE: Final = "is no PNG, JPEG, WebP, HEIC or HEIF image"
MAX_FILE_BYTES: Final = 512 << 20  # far beyond what any service takes; its digest takes a second
_HASH_STEP_BYTES: Final = 1 << 20

_HEIF_BRANDS: Final = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis"), "image/heic"),
    **dict.fromkeys((b"mif1", b"msf1", b"heif"), "image/heif"),
}


class UnusableReferenceError(ValueError):
    """What cannot be a reference; the message completes "PATH …" or "URL …"."""


def sniff(head: bytes) -> str | None:
    """The MIME type of an image that may be sent, by its first bytes; None for anything else.

    The first chunk or marker is looked at besides the magic, behind which there may be any text.
    """
    if head.startswith(b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff") and head[3:4] >= b"\xc0":
        return "image/jpeg"
    if head[:4] == b"RIFF" and head[8:15] == b"WEBPVP8" and head[15:16] in {b" ", b"L", b"X"}:
        return "image/webp"
    if head[4:8] == b"ftyp":
        return _HEIF_BRANDS.get(head[8:12])
    return None


def examine(path: str) -> ReferenceFile:
    """Find out whether a file can be sent, and its digest; reads all of it.

    Raises:
        UnusableReferenceError: It is missing, no regular file, or no image that the service takes.
    """
    with open_regular(path) as file:
        try:
            return _describe(path, file)
        except OSError as error:
            raise _unreadable(error) from None


def open_unchanged(file: ReferenceFile) -> BufferedReader:
    """Open a file that was examined.

    Raises:
        UnusableReferenceError: It went away or is not what it was.
    """
    opened: BufferedReader = BufferedReader(open_regular(file.path))
    seen = os.fstat(opened.fileno())
    if (seen.st_size, seen.st_mtime_ns, seen.st_ino) != (
        file.size_bytes,
        file.mtime_ns,
        file.inode,
    ):
        opened.close()
        raise UnusableReferenceError("changed while the run was going on; run again")
    return opened


async def read_reference(file: ReferenceFile, step_bytes: int) -> AsyncIterator[bytes]:
    """Yield a file's bytes in steps of exactly `step_bytes`, the last excepted.

    Raises:
        MissingReference: The file went away or is not what it was; nothing billed.
    """
    try:
        opened = await _open(file)
    except UnusableReferenceError as error:
        raise MissingReference(f"reference {file.path} {error}") from error
    with opened:
        left = file.size_bytes
        while left:
            try:
                step = await asyncio.to_thread(opened.read, min(step_bytes, left))
            except OSError as error:
                raise MissingReference(f"reference {file.path} {_unreadable(error)}") from error
            if len(step) != min(step_bytes, left):
                raise MissingReference(f"reference {file.path} was cut while it was being read")
            left -= len(step)
            yield step


async def _open(file: ReferenceFile) -> BufferedReader:
    """Open a file in a thread; one that opens after nobody wants it any more is closed."""
    opening = asyncio.ensure_future(asyncio.to_thread(open_unchanged, file))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        with suppress(UnusableReferenceError):
            (await opening).close()
        raise


def open_regular(path: str) -> FileIO:
    """Open a regular file, and nothing else, without waiting for anything."""
    try:
        # O_NONBLOCK: opening a FIFO must not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise UnusableReferenceError("does not exist") from None
    except OSError as error:
        raise _unreadable(error) from None
    except ValueError:  # a NUL, or a character that no file name can hold
        raise UnusableReferenceError("is no path") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnusableReferenceError("is no regular file")
    return FileIO(descriptor)


def _unreadable(error: OSError) -> UnusableReferenceError:
    return UnusableReferenceError(f"cannot be read ({error.strerror})")


def _describe(path: str, file: FileIO) -> ReferenceFile:
    seen = os.fstat(file.fileno())
    head = file.read(SNIFF_BYTES)
    mime = sniff(head)
    if mime is None:
        raise UnusableReferenceError(NO_IMAGE if head else "is empty")
    if seen.st_size > MAX_FILE_BYTES:
        raise UnusableReferenceError(f"is larger than {MAX_FILE_BYTES >> 20} MiB")
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
