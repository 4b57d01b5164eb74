"""Scaling: smaller, the right way up, in the same format, and made once."""

from __future__ import annotations

import asyncio
import os
import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from batchgen.model import Reference
from batchgen.references import ReferenceLibrary, UnusableReferenceError

if TYPE_CHECKING:
    from pathlib import Path

    from batchgen.model import ReferenceFile

MIMES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
ENDINGS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
HEIC = b"\x00\x00\x00\x18ftypheic" + bytes(100)
ORIENTATION = 0x0112


def encoded(image: Image.Image, kind: str, **how: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Red above, blue below: whoever turns it can be told."""
    image = Image.new("RGB", (width, height), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, width, height // 2))
    return image if mode == "RGB" else image.convert(mode)


async def scaled(directory: Path, data: bytes, max_px: int) -> ReferenceFile:
    path = directory / "original"
    path.write_bytes(data)
    library = ReferenceLibrary(directory / "cache")
    file = library.open(str(path))
    assert library.is_larger(str(path), max_px)
    return await library.sendable(
        Reference(path=str(path), sha256=file.sha256, max_px=max_px),
    )


def opened(file: ReferenceFile) -> Image.Image:
    with Image.open(file.path) as image:
        image.load()
    return image


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("size", "max_px", "expected"),
    [
        ((400, 300), 200, (200, 150)),
        ((300, 400), 200, (150, 200)),
        ((333, 333), 100, (100, 100)),
        ((1000, 3), 100, (100, 1)),
        ((2, 900), 7, (1, 7)),
        ((201, 200), 200, (200, 199)),
        ((3000, 2000), 1, (1, 1)),
    ],
)
async def test_the_longest_side_becomes_what_is_asked_for(
    tmp_path: Path, kind: str, size: tuple[int, int], max_px: int, expected: tuple[int, int]
) -> None:
    original = encoded(picture(*size), kind)
    file = await scaled(tmp_path, original, max_px)
    assert opened(file).size == expected
    assert (opened(file).format, file.mime) == (kind, MIMES[kind])
    digest = ReferenceLibrary().open(str(tmp_path / "original")).sha256
    assert file.path == str(tmp_path / "cache" / f"{digest}-{max_px}.{ENDINGS[kind]}")
    assert (tmp_path / "original").read_bytes() == original


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "size", "red_at"),
    [
        (1, (200, 100), (100, 10)),
        (2, (200, 100), (100, 10)),
        (3, (200, 100), (100, 90)),
        (4, (200, 100), (100, 90)),
        (5, (100, 200), (10, 100)),
        (6, (100, 200), (90, 100)),
        (7, (100, 200), (90, 100)),
        (8, (100, 200), (10, 100)),
    ],
)
async def test_it_is_turned_the_way_its_exif_says(
    tmp_path: Path, kind: str, orientation: int, size: tuple[int, int], red_at: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = opened(await scaled(tmp_path, encoded(picture(400, 200), kind, exif=exif), 200))
    assert image.size == size
    assert ORIENTATION not in image.getexif()
    red, _, blue = image.convert("RGB").getpixel(red_at)  # type: ignore[misc]
    assert red > 200
    assert blue < 60


async def test_metadata_is_dropped_and_the_colour_profile_kept(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010E] = "where it was taken"
    text = PngInfo()
    text.add_text("Comment", "where it was taken")
    told: dict[str, dict[str, Any]] = {
        "JPEG": {"comment": b"where it was taken"},
        "PNG": {"pnginfo": text},
        "WEBP": {"xmp": b"where it was taken"},
    }
    for kind, how in told.items():
        data = encoded(picture(400, 300), kind, exif=exif, icc_profile=profile, **how)
        assert b"where it was taken" in data
        file = await scaled(tmp_path, data, 100)
        assert opened(file).info["icc_profile"] == profile
        with open(file.path, "rb") as copy:  # noqa: ASYNC230, PTH123
            assert b"where it was taken" not in copy.read()


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
async def test_transparency_is_kept(tmp_path: Path, kind: str) -> None:
    image = picture(400, 200, "RGBA")
    image.putalpha(Image.linear_gradient("L").resize((400, 200)))
    copy = opened(await scaled(tmp_path, encoded(image, kind), 100))
    assert copy.mode == "RGBA"
    alpha = [copy.getpixel((50, y))[3] for y in (2, 25, 47)]  # type: ignore[index]
    assert alpha[0] < 30 < alpha[1] < 220 < alpha[2]


def palette_with_transparency() -> bytes:
    image = picture(400, 200).quantize(4)
    return encoded(image, "PNG", transparency=image.getpixel((200, 10)))


def transparent_colour(mode: str, colour: Any) -> bytes:
    return encoded(picture(400, 200, mode), "PNG", transparency=colour)


@pytest.mark.parametrize(
    ("data", "mode"),
    [
        (lambda: encoded(picture(400, 200, "L"), "PNG"), "L"),
        (lambda: encoded(picture(400, 200, "LA"), "PNG"), "LA"),
        (lambda: encoded(Image.new("1", (400, 200), 1), "PNG"), "L"),
        (lambda: encoded(picture(400, 200).quantize(4), "PNG"), "RGB"),
        (palette_with_transparency, "RGBA"),
        (lambda: transparent_colour("RGB", (255, 0, 0)), "RGBA"),
        (lambda: transparent_colour("L", 76), "LA"),
        (lambda: encoded(Image.new("I;16", (400, 200), 30000), "PNG"), "I;16"),
        (lambda: encoded(picture(400, 200, "L"), "JPEG"), "L"),
        (lambda: encoded(picture(400, 200, "CMYK"), "JPEG"), "CMYK"),
    ],
)
async def test_every_kind_of_pixel_can_be_scaled(tmp_path: Path, data: Any, mode: str) -> None:
    original = data()
    image = opened(await scaled(tmp_path, original, 100))
    assert (image.mode, image.size) == (mode, (100, 50))
    with Image.open(BytesIO(original)) as before:
        expected = before.convert("RGBA").getpixel((200, 150))
    got = image.convert("RGBA").getpixel((50, 37))
    assert all(abs(a - b) < 8 for a, b in zip(got, expected, strict=True))  # type: ignore[arg-type]


async def test_only_the_first_frame_is_sent(tmp_path: Path) -> None:
    frames = [picture(400, 200), picture(400, 200).rotate(180)]
    for kind in ("PNG", "WEBP"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        image = opened(await scaled(tmp_path, data, 100))
        red, *_ = image.convert("RGB").getpixel((50, 5))  # type: ignore[misc]
        assert red > 200
        assert getattr(image, "n_frames", 1) == 1


def header_only_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (HEIC, "is HEIC, which cannot be scaled down: convert it, or leave reference_max_px out"),
        (
            HEIC.replace(b"heic", b"mif1"),
            "is HEIF, which cannot be scaled down: convert it, or leave reference_max_px out",
        ),
        (
            header_only_png(20_000, 20_000),
            "has 20000 × 20000 pixels, too many to scale down here: make it smaller",
        ),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is damaged and cannot be scaled down"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"x" * 100, "is damaged and cannot be scaled down"),
        (b"\xff\xd8\xff\xe0" + b"\x00" * 100, "is damaged and cannot be scaled down"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 nonsense", "is damaged and cannot be scaled down"),
    ],
)
async def test_what_cannot_be_scaled_is_told_before_anything_is_sent(
    tmp_path: Path, data: bytes, said: str
) -> None:
    path = tmp_path / "picture"
    path.write_bytes(data)
    library = ReferenceLibrary(tmp_path / "cache")
    file = library.open(str(path))
    for _ in range(2):
        with pytest.raises(UnusableReferenceError) as caught:
            library.is_larger(str(path), 100)
        assert str(caught.value).startswith(said)
    with pytest.raises(UnusableReferenceError):
        await library.sendable(Reference(path=str(path), max_px=100))
    assert await library.sendable(Reference(path=str(path))) is file
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
async def test_a_picture_that_was_cut_is_refused_and_leaves_nothing(
    tmp_path: Path, kind: str
) -> None:
    noise = Image.frombytes("RGB", (300, 200), os.urandom(3 * 300 * 200))
    whole = encoded(noise, kind)
    with pytest.raises(UnusableReferenceError):
        await scaled(tmp_path, whole[: len(whole) // 2], 100)
    assert os.listdir(tmp_path) == ["original"]  # noqa: PTH208


async def test_a_picture_that_is_small_enough_is_sent_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(picture(100, 50), "PNG"))
    library = ReferenceLibrary(tmp_path / "cache")
    file = library.open(str(path))
    assert not library.is_larger(str(path), 100)
    assert await library.sendable(Reference(path=str(path), max_px=100)) is file
    assert not (tmp_path / "cache").exists()


async def test_a_copy_is_made_once_for_all_who_ask_and_all_runs(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(picture(400, 200), "PNG"))
    reference = Reference(path=str(path), max_px=100)

    def library() -> ReferenceLibrary:
        made = ReferenceLibrary(tmp_path / "cache")
        made.open(str(path))
        return made

    first = library()
    copies = await asyncio.gather(*(first.sendable(reference) for _ in range(20)))
    assert len({id(copy) for copy in copies}) == 1
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert await library().sendable(reference) == copies[0]  # inode and time of writing included

    other = await first.sendable(Reference(path=str(path), max_px=50))
    assert other.sha256 != copies[0].sha256


@pytest.mark.parametrize(
    "planted",
    [b"", b"nonsense", encoded(picture(50, 50), "PNG"), encoded(picture(100, 50), "JPEG")],
)
async def test_a_copy_that_is_none_is_made_again(tmp_path: Path, planted: bytes) -> None:
    data = encoded(picture(400, 200), "PNG")
    copy = await scaled(tmp_path, data, 100)
    with open(copy.path, "wb") as file:  # noqa: ASYNC230, PTH123
        file.write(planted)
    again = await scaled(tmp_path, data, 100)
    assert (again.path, again.sha256) == (copy.path, copy.sha256)


async def test_a_file_that_changed_since_it_was_examined_is_not_scaled(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(picture(400, 200), "PNG"))
    library = ReferenceLibrary(tmp_path / "cache")
    library.open(str(path))
    assert library.is_larger(str(path), 100)
    path.write_bytes(encoded(picture(300, 200), "PNG"))
    with pytest.raises(UnusableReferenceError, match="changed"):
        await library.sendable(Reference(path=str(path), max_px=100))


async def test_without_a_directory_nothing_is_scaled(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(picture(400, 200), "PNG"))
    library = ReferenceLibrary()
    library.open(str(path))
    assert library.is_larger(str(path), 100)
    with pytest.raises(UnusableReferenceError):
        await library.sendable(Reference(path=str(path), max_px=100))


async def test_what_an_item_made_is_examined_when_it_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "hero.png"
    library = ReferenceLibrary(tmp_path / "cache")
    reference = Reference(path=str(path), item="hero", max_px=100)
    with pytest.raises(UnusableReferenceError, match="does not exist"):
        await library.sendable(reference)
    path.write_bytes(encoded(picture(80, 50), "PNG"))
    small = await library.sendable(reference)
    assert small.path == str(path)
    path.write_bytes(encoded(picture(200, 100), "PNG"))
    large = await library.sendable(reference)
    assert opened(large).size == (100, 50)
    with pytest.raises(UnusableReferenceError, match="changed"):
        await library.sendable(Reference(path=str(path), item="hero", sha256=small.sha256))


async def test_a_picture_made_by_nobody_we_know_is_not_sent(tmp_path: Path) -> None:
    with pytest.raises(UnusableReferenceError):
        await ReferenceLibrary().sendable(Reference(path=str(tmp_path / "a.png")))
