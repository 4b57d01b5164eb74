"""Whether bytes are a whole image, told by the bytes themselves, never by a label."""

import hashlib
import mmap
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from batchgen.store.inside import open_regular

_PNG: Final = b"\x89PNG\r\n\x1a\n"
# Start-of-frame markers carry the size; C4, C8 and CC share their range and do not.
_SOF: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SOS: Final = 0xDA
_EOI: Final = 0xD9
_TAIL_BYTES: Final = 64
_SMALL_BYTES: Final = 64 << 10
# Markers without a segment behind them: restarts, and two that mean nothing here.
_BARE: Final = frozenset({*range(0xD0, 0xD9), 0x01})
# In the data of a picture FF is followed by 00, in front of a marker it may be doubled.
_MARKER: Final = re.compile(rb"\xff+([^\x00\xff])")

Bytes: TypeAlias = bytes | mmap.mmap


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """An image format by its bytes. `fault` says why the file is not whole, if it is not."""

    extension: str
    mime: str
    width: int | None
    height: int | None
    fault: str | None = None


def inspect(data: Bytes) -> ImageFacts | None:
    """Read format, size and end; None where the bytes are no image that can be shown.

    The structure is followed to the end, and nothing is decoded: a decompression bomb costs
    nothing here, an end that stands inside a thumbnail is none, and what lies behind the end does
    no harm.
    """
    if data[:8] == _PNG:
        return _png(data)
    if data[:3] == b"\xff\xd8\xff":
        return _jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    return None


def inspect_file(path: Path) -> ImageFacts | None:
    """The same of a regular file by its name.

    Raises:
        OSError: There is none.
    """
    descriptor, size_bytes = open_regular(path)
    try:
        if size_bytes < _SMALL_BYTES:
            head = os.read(descriptor, _SMALL_BYTES)
            if len(head) >= size_bytes:
                return inspect(head)
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
            return inspect(data)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """The digest of a file as it is on disk now."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _png(data: Bytes) -> ImageFacts:
    width = height = None
    if data[12:16] == b"IHDR" and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
    fault = None if _has_png_end(data) else "the PNG has no end (IEND)"
    if not width or not height:
        fault = "the PNG has no size (IHDR)"
    return ImageFacts("png", "image/png", width, height, fault)


def _has_png_end(data: Bytes) -> bool:
    """Go from chunk to chunk."""
    at = len(_PNG)
    while len(data) - at >= 12:
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return False


def _jpeg(data: Bytes) -> ImageFacts:
    """Go from marker to marker, over the segments and the data of the picture.

    Cost: where the end is where it should be, no more than the segments before the data; else
    all of it is looked through.
    """
    width = height = fault = None
    has_end, at = False, 2
    while not has_end and (found := _MARKER.search(data, at)) is not None:
        marker, at = found[1][0], found.end()
        has_end = marker == _EOI
        if marker in _BARE or has_end:
            continue
        if marker in _SOF and width is None and len(data) - at >= 7:
            height, width = struct.unpack(">HH", data[at + 3 : at + 7])
        at += int.from_bytes(data[at : at + 2], "big")
        if marker == _SOS and at < len(data):
            has_end = bytes((0xFF, _EOI)) in data[max(at, len(data) - _TAIL_BYTES) :]
    if not has_end:
        fault = "the JPEG has no end (EOI)"
    if not width or not height:
        fault = "the JPEG has no frame (SOF)"
    return ImageFacts("jpg", "image/jpeg", width, height, fault)


def _webp(data: Bytes) -> ImageFacts:
    declared = int.from_bytes(data[4:8], "little") + 8
    fault = None if len(data) >= declared else "the WebP is shorter than it says"
    width, height = _webp_size(data[:64])
    if not width or not height:
        fault = "the WebP has no picture (VP8)"
    return ImageFacts("webp", "image/webp", width, height, fault)


def _webp_size(head: bytes) -> tuple[int | None, int | None]:
    match head[12:16]:
        case b"VP8X" if len(head) >= 30:
            return (
                int.from_bytes(head[24:27], "little") + 1,
                int.from_bytes(head[27:30], "little") + 1,
            )
        case b"VP8L" if len(head) >= 25:
            bits = int.from_bytes(head[21:25], "little")
            return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
        case b"VP8 " if len(head) >= 30:
            width, height = struct.unpack("<HH", head[26:30])
            return width & 0x3FFF, height & 0x3FFF
        case _:
            return None, None
