"""Whether bytes are a whole image, told by the bytes themselves, never by a label."""

import hashlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_END: Final = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_JPEG_END: Final = b"\xff\xd9"
# Start-of-frame markers carry the size; C4, C8 and CC share their range and do not.
_SOF: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

# All that a PNG or a WebP says of its size; a JPEG's frame may lie behind megabytes of profiles.
_HEAD_BYTES: Final = 64
# Some encoders leave bytes behind the end. The end of a PNG is told from anything else; that of a
# JPEG may also be a thumbnail's, so it must be near.
_TAIL_BYTES: Final = 64 << 10
_JPEG_TAIL_BYTES: Final = 64
_MAX_SEGMENTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """An image format by its bytes. `fault` says why the file is not whole, if it is not."""

    extension: str
    mime: str
    width: int | None
    height: int | None
    fault: str | None = None


def inspect(file: BinaryIO) -> ImageFacts | None:
    """Read format, size and end marker; None where the bytes are no image that can be shown.

    Only headers are parsed, so a decompression bomb costs nothing here.

    Args:
        file: The whole file, open for reading in binary; its position does not matter.
    """
    size_bytes = file.seek(0, os.SEEK_END)
    file.seek(max(0, size_bytes - _TAIL_BYTES))
    tail = file.read(_TAIL_BYTES)
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    if head.startswith(_PNG):
        return _png(head, tail)
    if head.startswith(b"\xff\xd8\xff"):
        return _jpeg(file, tail)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp(head, size_bytes)
    return None


def inspect_file(path: Path) -> ImageFacts | None:
    """The same of a file by its name."""
    with path.open("rb") as file:
        return inspect(file)


def sha256_of(path: Path) -> str:
    """The digest of a file as it is on disk now."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _png(head: bytes, tail: bytes) -> ImageFacts:
    width = height = None
    if head[12:16] == b"IHDR" and len(head) >= 24:
        width, height = struct.unpack(">II", head[16:24])
    fault = None if _PNG_END in tail else "the PNG has no end (IEND)"
    if not width or not height:
        fault = "the PNG has no size (IHDR)"
    return ImageFacts("png", "image/png", width, height, fault)


def _jpeg(file: BinaryIO, tail: bytes) -> ImageFacts:
    width, height = _jpeg_size(file)
    fault = None if _JPEG_END in tail[-_JPEG_TAIL_BYTES:] else "the JPEG has no end (EOI)"
    if width is None or height is None:
        fault = "the JPEG has no frame (SOF)"
    return ImageFacts("jpg", "image/jpeg", width, height, fault)


def _jpeg_size(file: BinaryIO) -> tuple[int | None, int | None]:
    """Walk from segment to segment to the frame header, over whatever profiles lie before it."""
    at = 2
    for _ in range(_MAX_SEGMENTS):
        file.seek(at)
        segment = file.read(9)
        if len(segment) < 9 or segment[0] != 0xFF:
            break
        marker = segment[1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _SOF:
            height, width = struct.unpack(">HH", segment[5:9])
            return width or None, height or None
        at += 2 + int.from_bytes(segment[2:4], "big")
    return None, None


def _webp(head: bytes, size_bytes: int) -> ImageFacts:
    declared = int.from_bytes(head[4:8], "little") + 8
    fault = None if size_bytes >= declared else "the WebP is shorter than it says"
    width, height = _webp_size(head)
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
