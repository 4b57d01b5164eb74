"""Whether bytes are a whole image: told by the bytes alone, and without decoding them."""

from __future__ import annotations

import io
import os
import struct
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from batchgen.store.images import ImageFacts, inspect, inspect_file

if TYPE_CHECKING:
    from pathlib import Path


def picture(kind: str, size: tuple[int, int] = (33, 21), **options: Any) -> bytes:
    out = io.BytesIO()
    Image.effect_noise(size, 50).convert("RGB").save(out, kind, **options)
    return out.getvalue()


def facts(data: bytes) -> ImageFacts | None:
    return inspect(data)


WHOLE = {
    "png": picture("PNG"),
    "jpeg": picture("JPEG"),
    "jpeg-progressive": picture("JPEG", progressive=True),
    "jpeg-with-metadata": picture("JPEG", exif=b"Exif\0\0" + b"x" * 40_000, icc_profile=b"y" * 500),
    "webp": picture("WEBP"),
    "webp-lossless": picture("WEBP", lossless=True),
    "webp-extended": picture("WEBP", exif=b"Exif\0\0" + b"x" * 99),
    "large": picture("PNG", (400, 300)),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_image_is_known_by_its_bytes(name: str) -> None:
    data = WHOLE[name]
    got = facts(data)
    kind = "png" if name == "large" else name.split("-", maxsplit=1)[0]
    size = (400, 300) if name == "large" else (33, 21)
    assert got is not None
    assert got.fault is None
    assert (got.width, got.height) == size
    assert (got.mime, got.extension) == (f"image/{kind}", "jpg" if kind == "jpeg" else kind)


@pytest.mark.parametrize("name", WHOLE)
def test_an_image_cut_anywhere_is_never_whole(name: str) -> None:
    data = WHOLE[name]
    ends = range(len(data)) if len(data) < 5000 else range(0, len(data), 97)
    # A whole JPEG may lack its very last byte only in the sense that EOI is then missing.
    for end in ends:
        got = facts(data[:end])
        assert got is None or got.fault, (name, end)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 100,
        b"hello",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<!doctype html>",
        b"GIF89a" + b"x" * 100,
        b"%PDF-1.7",
        b"\x00\x00\x00\x18ftypheic" + b"x" * 100,
        b"\x00\x00\x00\x18ftypavif" + b"x" * 100,
        b"RIFF\x10\x00\x00\x00WAVEfmt ",
        b"\x89PNG",
        b"\xff\xd8",
    ],
)
def test_what_is_no_picture_that_can_be_shown_is_nothing(data: bytes) -> None:
    assert facts(data) is None


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\x00IEND\xaeB`\x82",
        WHOLE["png"].replace(struct.pack(">II", 33, 21), bytes(8)),
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xe0 this is no picture \xff\xd9",
        b"\xff\xd8\xff\xe0\x00\x00" * 50 + b"\xff\xd9",
        b"RIFF\x04\x00\x00\x00WEBP",
        b"RIFF\x00\x00\x00\x00WEBP" + b"x" * 100,
        b"RIFF\x64\x00\x00\x00WEBPVP9 " + b"x" * 100,
    ],
    ids=repr,
)
def test_the_first_bytes_of_a_picture_alone_are_no_picture(data: bytes) -> None:
    got = facts(data)
    assert got is not None
    assert got.fault


def test_the_size_of_a_jpeg_is_found_behind_megabytes_of_profiles() -> None:
    segment = b"\xff\xeb\xff\xff" + b"x" * 65533
    data = WHOLE["jpeg"][:2] + segment * 40 + WHOLE["jpeg"][2:]
    assert facts(data) == ImageFacts("jpg", "image/jpeg", 33, 21)


def test_a_large_jpeg_without_a_frame_is_not_whole() -> None:
    segment = b"\xff\xeb\xff\xff" + b"x" * 65533
    got = facts(b"\xff\xd8" + segment * 2 + b"\xff\xd9")
    assert got is not None
    assert got.fault == "the JPEG has no frame (SOF)"


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("n_bytes", [1, 16, 100, 300_000])
def test_bytes_after_the_end_do_no_harm(name: str, n_bytes: int) -> None:
    for filler in (b"\0", b"\xff", b"x"):
        assert facts(WHOLE[name] + filler * n_bytes) == facts(WHOLE[name])


def test_the_end_of_a_thumbnail_is_no_end() -> None:
    inside = picture("JPEG", (8, 8))
    segment = b"\xff\xe1" + struct.pack(">H", len(inside) + 2) + inside
    data = WHOLE["jpeg"][:2] + segment + WHOLE["jpeg"][2:]
    for end in (len(segment) + 2, len(segment) + 20, len(data) - 2):
        got = facts(data[:end])
        assert got is not None
        assert got.fault, end
    assert facts(data) == facts(WHOLE["jpeg"])


def test_a_file_without_bytes_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    assert inspect_file(path) is None
    path.write_bytes(WHOLE["large"])
    assert inspect_file(path) == facts(WHOLE["large"])


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        with pytest.raises(OSError, match="no regular file"):
            inspect_file(path)


def test_a_decompression_bomb_costs_its_header_only() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 6, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    bomb += chunk(b"IDAT", zlib.compress(bytes(1 << 20))) + chunk(b"IEND", b"")
    assert facts(bomb) == ImageFacts("png", "image/png", 60_000, 60_000)
