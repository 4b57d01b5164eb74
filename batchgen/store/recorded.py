"""Whether a picture on disk is still what was recorded of it when it was made.

    there? ──> a file? ──> its size ──> its SHA-256 ──> can it be decoded?

The first question that is answered with no is the fault. Only bytes that are the recorded ones are
decoded: what else lies there need not be looked into. Nothing is mapped into memory, as somebody
may be writing to the file at this moment.
"""

import errno
import hashlib
import io
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal, TypeAlias

from PIL.ImageFile import ImageFile as PillowFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from batchgen.model import ImageFile
from batchgen.sanitize import printable
from batchgen.store.images import inspect

Problem: TypeAlias = Literal[
    "missing", "no_file", "size", "sha256", "undecodable", "unreadable", "too_large"
]

# Pillow's own default, where it only warns. Decoded, that many pixels are 360 MB.
MAX_PIXELS: Final = 89_478_485
_STEP_BYTES: Final = 1 << 20
_HEAD_BYTES: Final = 64 << 10
_NOTHING_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
# Each format is read by its own class, so that nothing else that Pillow knows sees the bytes.
_READERS: Final[dict[str, type[PillowFile]]] = {
    "png": PngImageFile,
    "jpg": JpegImageFile,
    "webp": WebPImageFile,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """How a picture differs from what was recorded.

    Attributes:
        expected: What was recorded of what differs; None where there is nothing to compare.
        found: What is there instead.
        seen: The file that was found; None if there is none.
    """

    problem: Problem
    expected: int | str | None = None
    found: int | str | None = None
    seen: os.stat_result | None = None

    def __str__(self) -> str:
        """What is wrong, behind the name of the file."""
        match self.problem:
            case "missing":
                return "it is missing"
            case "no_file":
                return f"it is {self.found} and no picture"
            case "size":
                return f"its size is {self.found} bytes, and not the recorded {self.expected}"
            case "sha256":
                return "its SHA-256 is not the recorded one"
            case "undecodable":
                return f"it cannot be decoded: {self.found}"
            case "unreadable":
                return f"it cannot be read: {self.found}"
            case "too_large":
                return f"it is as recorded, and with {self.found} pixels too large to decode here"


def look(root: Path, image: ImageFile, go_on: Callable[[], None]) -> Fault | None:
    """Compare a picture with what was recorded of it; None if it is that one, and decodable.

    Args:
        root: The job's directory.
        image: What was recorded.
        go_on: Called before each step; what it raises ends the look.

    Cost: all of the file is read and decoded in the calling thread, outside the GIL; a step of
    1 MiB and 4 bytes a pixel are held.
    """
    path = root / image.path
    seen = None
    try:
        seen = path.stat()
        if not stat.S_ISREG(seen.st_mode):
            return Fault("no_file", found=_kind(seen.st_mode), seen=seen)
        if seen.st_size != image.bytes:
            return Fault("size", image.bytes, seen.st_size, seen)
        with io.BufferedReader(_WatchedFile(path, go_on)) as file:
            seen = os.fstat(file.fileno())
            digest = _sha256(file)
            if digest != image.sha256:
                return Fault("sha256", image.sha256, digest, seen)
            file.seek(0)
            return _decoded(file, seen)
    except OSError as error:
        if error.errno in _NOTHING_THERE:
            return Fault("missing")
        return Fault("unreadable", found=error.strerror or str(error), seen=seen)


class _WatchedFile(io.FileIO):
    """A file that is opened without waiting, and asks before each step whether to go on."""

    def __init__(self, path: Path, go_on: Callable[[], None]) -> None:
        # It was a file a moment ago; opening what is a FIFO by now must not wait for a writer.
        super().__init__(path, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
        self._go_on = go_on

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        self._go_on()
        return super().readinto(buffer)


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while step := file.read(_STEP_BYTES):
        digest.update(step)
    return digest.hexdigest()


def _decoded(file: BinaryIO, seen: os.stat_result) -> Fault | None:
    """Decode a picture, unless its headers tell of more pixels than memory should be spent on."""
    facts = inspect(file.read(_HEAD_BYTES))
    if facts is None:
        return Fault("undecodable", found="it is no PNG, JPEG or WebP", seen=seen)
    n_pixels = (facts.width or 0) * (facts.height or 0)
    if n_pixels > MAX_PIXELS:
        return Fault("too_large", found=n_pixels, seen=seen)
    file.seek(0)
    try:
        with _READERS[facts.extension](file) as picture:
            n_pixels = picture.width * picture.height
            if n_pixels > MAX_PIXELS:  # a JPEG may tell its size late
                return Fault("too_large", found=n_pixels, seen=seen)
            picture.load()
    except MemoryError:
        raise  # no fault of the picture
    except Exception as error:  # noqa: BLE001 - damage makes a decoder raise anything
        why = printable(str(error) or type(error).__name__, 100)
        return Fault("undecodable", found=why, seen=seen)
    return None
