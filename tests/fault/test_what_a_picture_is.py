"""What is saved as a picture is told by its bytes, and no picture is decoded to find that out."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests import commands, servers
from tests.fault.test_odd_answers import KINDS, encoded
from tests.runs import KEY, run_job, write_job
from tests.servers import Asked, FaultServer, http, image_part, png, sends

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CAT = png("a cat")
JPEG, WEBP = KINDS["JPEG"][0], KINDS["WebP"][0]
LABELS = ("image/png", "image/jpeg", "image/webp", "image/svg+xml", "text/html", "../png", "")
ONE_TRY = {"unsure": 0, "no_image": 0}


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of(width: int, height: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def riff(kind: bytes, data: bytes) -> bytes:
    body = b"WEBP" + kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


# Bytes, and the ending that they are saved with; None: they are no whole picture.
BYTES: dict[str, tuple[bytes, str | None]] = {
    "a PNG": (CAT, "png"),
    "a JPEG": (JPEG, "jpg"),
    "a WebP": (WEBP, "webp"),
    "a PNG with a page behind it": (CAT + b"<script>alert(1)</script>", "png"),
    "a PNG with an archive behind it": (CAT + b"PK\x05\x06" + bytes(18), "png"),
    "a JPEG with a page inside": (
        JPEG[:2] + b"\xff\xfe" + struct.pack(">H", 27) + b"<script>alert(1)</script>" + JPEG[2:],
        "jpg",
    ),
    "nothing": (b"", None),
    "one byte": (b"\x89", None),
    "the first bytes of a PNG": (CAT[:8], None),
    "a PNG without its end": (CAT[:-12], None),
    "half a PNG": (CAT[: len(CAT) // 2], None),
    "a PNG without a size": (CAT[:8] + CAT[33:], None),
    "a PNG of no width": (png_of(0, 64), None),
    "the first bytes of a JPEG": (JPEG[:3], None),
    "a JPEG without its end": (JPEG[:-2], None),
    "a JPEG without a frame": (JPEG[:20] + b"\xff\xd9", None),
    "a WebP that is shorter than it says": (WEBP[:-20], None),
    "a WebP without a picture": (riff(b"XMP ", b"<x/>"), None),
    "a WAVE": (WEBP[:8] + b"WAVE" + WEBP[12:], None),
    "a GIF": (encoded("GIF", 32, 32), None),
    "a BMP": (encoded("BMP", 32, 32), None),
    "a TIFF": (encoded("TIFF", 32, 32), None),
    "an ICO": (encoded("ICO", 32, 32), None),
    "an AVIF": (encoded("AVIF", 32, 32), None),
    "a HEIC": (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(200), None),
    "an SVG": (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", None),
    "a page": (b"<!doctype html><script>alert(1)</script>", None),
    "a page before a PNG": (b"<html>" + CAT, None),
    "a byte before a PNG": (b"\n" + CAT, None),
    "an archive": (b"PK\x03\x04" + bytes(60), None),
    "a program": (b"\x7fELF" + bytes(60), None),
    "a script": (b"#!/bin/sh\nrm -rf /\n", None),
    "a PDF": (b"%PDF-1.7\n%%EOF\n", None),
    "JSON": (b'{"error": {"code": 500}}', None),
    "base64 of a PNG": (image_part(CAT)["inlineData"]["data"].encode(), None),
}


async def test_the_bytes_tell_what_a_picture_is_and_what_is_none_is_never_saved_as_one(
    tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    cases = {
        f"i{n}-{m}": (data, label, extension)
        for n, (data, extension) in enumerate(BYTES.values())
        for m, label in enumerate(LABELS)
    }

    def script(asked: Asked) -> servers.Answer:
        data, label, _ = cases[asked.prompt]
        return servers.whole(servers.document(image_part(data, label)))

    job = write_job(tmp_path / "job.jsonl", cases, retries=ONE_TRY, limits={"concurrency": 8})
    with FaultServer(script) as server:
        ran = await run_job(job, server)
    saved = {path.name: path.read_bytes() for path in (ran.directory / "images").iterdir()}
    assert saved == {
        f"{item}.{extension}": data
        for item, (data, _, extension) in cases.items()
        if extension is not None
    }
    outcomes = {one["item"]: one["outcome"] for one in ran.attempts}
    for item, (data, _, extension) in cases.items():
        refused = "broken_image" if data else "no_image"
        assert outcomes[item] == ("image" if extension else refused), item
    tried("P26", len(cases), "labels and bytes")


# --- bombs ----------------------------------------------------------------------------------------


def rows(width: int, height: int) -> bytes:
    """All the rows of a picture in one colour, which is as good as nothing when it is packed."""
    packer = zlib.compressobj(9)
    line = bytes(1 + 3 * width)
    packed = b"".join(packer.compress(line) for _ in range(height))
    return packed + packer.flush()


def packed(n_bytes: int) -> bytes:
    packer = zlib.compressobj(9)
    step = bytes(1 << 20)
    return b"".join(packer.compress(step) for _ in range(n_bytes >> 20)) + packer.flush()


def with_frame(jpeg: bytes, width: int, height: int) -> bytes:
    """A JPEG that claims to be of another size."""
    at = jpeg.index(b"\xff\xc0")
    return jpeg[: at + 5] + struct.pack(">HH", height, width) + jpeg[at + 9 :]


def animated(n_frames: int) -> bytes:
    control = chunk(b"acTL", struct.pack(">II", n_frames, 0))
    data = zlib.compress(bytes((1 + 3 * 2000) * 2000), 9)
    frames = [chunk(b"IDAT", data)]
    for n in range(n_frames):
        place = struct.pack(">IIIIIHHBB", n, 2000, 2000, 0, 0, 1, 30, 0, 0)
        frames += [chunk(b"fcTL", place), chunk(b"fdAT", struct.pack(">I", n) + data)]
    return png_of(2000, 2000, control, *frames)


def canvas(width: int, height: int) -> bytes:
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return riff(b"VP8X", b"\x02\0\0\0" + sizes)


BOMBS: dict[str, tuple[Callable[[], bytes], tuple[int, int]]] = {
    "a PNG of 30,000 by 30,000": (
        lambda: png_of(30_000, 30_000, chunk(b"IDAT", rows(30_000, 300))),
        (30_000, 30_000),
    ),
    "a PNG of two thousand million by as many": (
        lambda: png_of(2**31 - 1, 2**31 - 1, chunk(b"IDAT", packed(1 << 20))),
        (2**31 - 1, 2**31 - 1),
    ),
    "a JPEG of 65,500 by 65,500": (lambda: with_frame(JPEG, 65_500, 65_500), (65_500, 65_500)),
    "a WebP of 16,384 by 16,384": (lambda: canvas(16_384, 16_384), (16_384, 16_384)),
    "a PNG of fifty large frames": (lambda: animated(50), (2000, 2000)),
    "a PNG with a profile of 256 MiB": (
        lambda: png_of(
            64,
            64,
            chunk(b"iCCP", b"x\0\0" + packed(256 << 20)),
            chunk(b"IDAT", rows(64, 64)),
        ),
        (64, 64),
    ),
    "a PNG with words of 256 MiB": (
        lambda: png_of(
            64, 64, chunk(b"zTXt", b"x\0\0" + packed(256 << 20)), chunk(b"IDAT", rows(64, 64))
        ),
        (64, 64),
    ),
}
# Run as a program: the figure is of its children alone.
MEASURED = (
    "import resource, subprocess, sys\n"
    "for command in sys.argv[1:]:\n"
    "    subprocess.run([sys.executable, '-m', 'batchgen', *command.split('|')], check=True)\n"
    "    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
)


def peaks_mib(tmp_path: Path, pictures: list[bytes]) -> list[float]:
    """The peak of a run that gets these pictures, and of the report made anew after it."""
    answers = [json.dumps(servers.document(image_part(one))).encode() for one in pictures]
    job = write_job(tmp_path / "job.jsonl", [str(n) for n in range(len(answers))])
    output = tmp_path / "output"
    with FaultServer(lambda asked: sends(http(200, answers[int(asked.prompt)]))) as server:
        run = f"run|{job}|-o|{output}|--base-url|{server.url}|-q|--concurrency|1"
        done = subprocess.run(
            [sys.executable, "-S", "-c", MEASURED, run, f"report|{output / 'job'}"],
            env=commands.environment(COMETAPI_KEY=KEY),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return [int(line) / 1024 for line in done.stdout.split()[-2:]]


@pytest.mark.reliability
@pytest.mark.timeout(180)
def test_a_picture_that_is_a_bomb_is_kept_and_never_decoded(
    tmp_path: Path, tried: Callable[[str, int, str], None]
) -> None:
    bombs = [made() for made, _ in BOMBS.values()]
    assert max(map(len, bombs)) < 1 << 20
    tame = [
        png_of(64, 64, chunk(b"tEXt", bytes(len(one))), *[chunk(b"IDAT", rows(64, 64))])
        for one in bombs
    ]
    for name in ("tame", "bombs"):
        (tmp_path / name).mkdir()
    usual = peaks_mib(tmp_path / "tame", tame)
    got = peaks_mib(tmp_path / "bombs", bombs)
    for peak_mib, usually_mib in zip(got, usual, strict=True):
        assert peak_mib < usually_mib + 5
    directory = tmp_path / "bombs/output/job"
    for n, (bomb, (_, size)) in enumerate(zip(bombs, BOMBS.values(), strict=True)):
        [path] = (directory / "images").glob(f"{n}.*")
        assert path.read_bytes() == bomb
        [line] = [
            one
            for one in map(json.loads, (directory / "results.jsonl").read_text().splitlines())
            if one["id"] == str(n)
        ]
        image: dict[str, Any] = line["images"][0]
        assert (image["width"], image["height"]) == size
    tried("P27", len(BOMBS), "bombs")


@pytest.mark.parametrize("name", list(BOMBS)[:4])
def test_a_bomb_is_one(name: str) -> None:
    """Even with its own bound on pixels Pillow would not open it."""
    with pytest.raises(Image.DecompressionBombError):
        Image.open(BytesIO(BOMBS[name][0]()))
