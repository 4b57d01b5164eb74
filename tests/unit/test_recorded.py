"""Whether a picture is still what was recorded of it: any damage is told, and none does harm."""

from __future__ import annotations

import hashlib
import io
import os
import random
import struct
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from batchgen.model import ImageFile
from batchgen.store.recorded import MAX_PIXELS, Fault, look

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def picture(kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.effect_noise((90, 60), 50).convert("RGB").save(out, kind, **options)
    return out.getvalue()


def recorded(root: Path, data: bytes, *, as_recorded: bytes | None = None) -> ImageFile:
    """Write a file, and what was recorded of it."""
    (root / "a.png").write_bytes(data)
    known = data if as_recorded is None else as_recorded
    return ImageFile(
        path="a.png",
        role="final",
        sha256=hashlib.sha256(known).hexdigest(),
        bytes=len(known),
        width=90,
        height=60,
        mime="image/png",
    )


def go_on() -> None:
    """Nobody has stopped."""


def found(root: Path, image: ImageFile) -> Fault | None:
    return look(root, image, go_on)


WHOLE = {
    "png": picture("PNG"),
    "palette": picture("PNG", bits=4),
    "jpeg": picture("JPEG"),
    "progressive": picture("JPEG", progressive=True),
    "large head": picture("JPEG", exif=b"Exif\0\0" + b"x" * 60_000, icc_profile=b"y" * 60_000),
    "webp": picture("WEBP"),
    "lossless": picture("WEBP", lossless=True),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_picture_is_as_recorded(tmp_path: Path, name: str) -> None:
    assert found(tmp_path, recorded(tmp_path, WHOLE[name])) is None


@pytest.mark.parametrize("name", ["png", "jpeg", "webp"])
def test_any_flipped_bit_and_any_cut_is_told(tmp_path: Path, name: str) -> None:
    whole, rng = WHOLE[name], random.Random(1)
    for _ in range(100):
        at = rng.randrange(len(whole))
        flipped = bytearray(whole)
        flipped[at] ^= 1 << rng.randrange(8)
        fault = found(tmp_path, recorded(tmp_path, bytes(flipped), as_recorded=whole))
        assert fault is not None
        assert (fault.problem, fault.expected) == ("sha256", hashlib.sha256(whole).hexdigest())
        fault = found(tmp_path, recorded(tmp_path, whole[:at], as_recorded=whole))
        assert fault is not None
        assert (fault.problem, fault.expected, fault.found) == ("size", len(whole), at)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_bytes_as_recorded_that_are_cut_or_spoiled_are_not_decodable(
    tmp_path: Path, kind: str
) -> None:
    whole = picture(kind)
    spoiled = bytearray(whole)
    spoiled[len(whole) // 3 : len(whole) // 2] = bytes(len(whole) // 2 - len(whole) // 3)
    spoilings = [whole[: len(whole) // 2], b"<html>" + whole, b"GIF89a" + whole[6:]]
    if kind == "PNG":  # the others show whatever comes
        spoilings.append(bytes(spoiled))
    for data in spoilings:
        fault = found(tmp_path, recorded(tmp_path, data))
        assert fault is not None
        assert fault.problem == "undecodable"
        assert str(fault).startswith("it cannot be decoded: ")


def test_a_bomb_is_not_decoded_whether_its_first_header_tells_or_not(tmp_path: Path) -> None:
    edge_px = 60_000  # 3.6 billion pixels in half a megabyte
    packed = zlib.compressobj()
    line = bytes(1 + edge_px // 8)
    data = b"".join(packed.compress(line) for _ in range(edge_px)) + packed.flush()
    head = struct.pack(">IIBBBBB", edge_px, edge_px, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    late = bytearray(WHOLE["large head"])
    at = late.index(b"\xff\xc0") + 5
    assert at > 1 << 16
    late[at : at + 4] = struct.pack(">HH", 60_000, 60_000)
    webp = bytearray(WHOLE["lossless"])
    webp[21:25] = struct.pack("<I", 0x3FFF | 0x3FFF << 14)
    assert MAX_PIXELS < 0x3FFF**2
    for data in (png, bytes(late), bytes(webp)):
        fault = found(tmp_path, recorded(tmp_path, data))
        assert fault is not None
        assert fault.problem == "too_large"


def test_what_is_no_file_is_told_and_never_waited_for(tmp_path: Path) -> None:
    image = recorded(tmp_path, WHOLE["png"])
    path = tmp_path / "a.png"
    makings: dict[str, Callable[[], object]] = {
        "a directory": path.mkdir,
        "a FIFO": lambda: os.mkfifo(path),
        "a device": lambda: path.symlink_to("/dev/zero"),
    }
    path.unlink()
    assert found(tmp_path, image) == Fault("missing")
    for what, make in makings.items():
        make()
        fault = found(tmp_path, image)
        assert fault is not None
        assert (fault.problem, fault.found) == ("no_file", what)
        path.rmdir() if path.is_dir() else path.unlink()
    path.symlink_to("a.png")
    assert found(tmp_path, image) == Fault("missing")


def test_who_stops_waits_for_no_file_to_be_read(tmp_path: Path) -> None:
    class Stopped(BaseException):
        pass

    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        look(tmp_path, recorded(tmp_path, WHOLE["png"]), stop)
