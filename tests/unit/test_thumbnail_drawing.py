"""What a thumbnail is: small, upright, in sRGB, and of the very file that was recorded."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, ImageCms, PngImagePlugin
from PIL.PngImagePlugin import PngInfo

from batchgen.report.thumbnails import draw
from batchgen.report.thumbnails.draw import MAX_PIXELS, read_recorded, thumbnail_of
from batchgen.store import recorded
from batchgen.store.replace import remove_left_drafts

if TYPE_CHECKING:
    from pathlib import Path

ORIENTATION = 0x0112
RED, BLUE = (255, 0, 0), (0, 0, 255)


def encoded(image: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def picture(width: int = 800, height: int = 400, mode: str = "RGB") -> Image.Image:
    """Red above, blue below: whoever turns it can be told."""
    image = Image.new("RGB", (width, height), BLUE)
    image.paste(RED, (0, 0, width, height // 2))
    return image.convert(mode)


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    assert image.format == "WEBP"
    return image


def is_near(colour: object, expected: tuple[int, ...]) -> bool:
    assert isinstance(colour, tuple)
    return all(abs(one - other) < 24 for one, other in zip(colour, expected, strict=False))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((800, 400), (384, 192)),
        ((400, 800), (192, 384)),
        ((3000, 2000), (384, 256)),
        ((9000, 2), (384, 1)),
        ((384, 384), (384, 384)),
        ((40, 30), (40, 30)),
        ((1, 1), (1, 1)),
    ],
)
def test_its_longest_side_is_384_pixels_and_nothing_is_enlarged(
    kind: str, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert opened(thumbnail_of(encoded(picture(*size), kind))).size == expected


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "red_at"),
    [
        (1, (192, 10)),
        (2, (192, 10)),
        (3, (192, 180)),
        (4, (192, 180)),
        (5, (10, 192)),
        (6, (180, 192)),
        (7, (180, 192)),
        (8, (10, 192)),
    ],
)
def test_it_is_turned_the_way_its_exif_says(
    kind: str, orientation: int, red_at: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = opened(thumbnail_of(encoded(picture(), kind, exif=exif)))
    assert image.size == ((384, 192) if orientation < 5 else (192, 384))
    assert is_near(image.getpixel(red_at), RED)


@pytest.mark.parametrize(
    ("mode", "kind", "expected"),
    [
        ("L", "PNG", (76, 76, 76)),
        ("1", "PNG", None),
        ("P", "PNG", RED),
        ("LA", "PNG", (76, 76, 76, 255)),
        ("RGBA", "PNG", (*RED, 255)),
        ("RGBA", "WEBP", (*RED, 255)),
        ("CMYK", "JPEG", RED),
        ("L", "JPEG", (76, 76, 76)),
    ],
)
def test_every_kind_of_colour_comes_out_as_it_was(
    mode: str, kind: str, expected: tuple[int, ...] | None
) -> None:
    image = opened(thumbnail_of(encoded(picture(mode=mode), kind)))
    assert image.size == (384, 192)
    assert image.mode == "RGB"  # which has an alpha of its own only where something shines through
    if expected is not None:
        assert is_near(image.getpixel((192, 20)), expected)


@pytest.mark.parametrize("mode", ["1", "P", "L"])
def test_what_is_black_and_white_in_turn_is_grey_from_afar(mode: str) -> None:
    image = Image.frombytes("L", (1536, 1536), bytes((0, 255)) * (1536 * 768)).convert(mode)
    assert is_near(opened(thumbnail_of(encoded(image))).getpixel((9, 9)), (128, 128, 128))


def test_grey_of_16_bits_keeps_its_shades() -> None:
    grey = Image.new("I;16", (800, 400), 0x8000)
    assert is_near(opened(thumbnail_of(encoded(grey))).getpixel((9, 9)), (128, 128, 128))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_shines_through_goes_on_doing_so(mode: str) -> None:
    image = picture(mode="L" if mode == "LA" else "RGB")
    if mode == "P":
        data = encoded(image.convert("P", palette=Image.Palette.ADAPTIVE), transparency=0)
    else:
        image.putalpha(Image.linear_gradient("L").resize((800, 400)))
        data = encoded(image)
    small = opened(thumbnail_of(data))
    assert small.mode == "RGBA"
    shades = small.getchannel("A").tobytes()
    assert min(shades) < 10
    assert max(shades) > 245


def swapped_profile() -> bytes:
    """sRGB whose red is blue and whose blue is red: whoever heeds it can be told."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_colour_profile_is_heeded_and_dropped(kind: str) -> None:
    small = thumbnail_of(encoded(picture(), kind, icc_profile=swapped_profile()))
    assert is_near(opened(small).getpixel((192, 20)), BLUE)
    assert b"ICCP" not in small


@pytest.mark.parametrize("profile", [b"none", b"\0" * 200, swapped_profile()[:300]])
def test_a_colour_profile_that_makes_no_sense_is_only_dropped(profile: bytes) -> None:
    small = thumbnail_of(encoded(picture(), icc_profile=profile))
    assert is_near(opened(small).getpixel((192, 20)), RED)
    grey = thumbnail_of(encoded(picture(mode="L"), icc_profile=swapped_profile()))
    assert is_near(opened(grey).getpixel((192, 20)), (76, 76, 76))
    assert b"ICCP" not in small + grey


def test_nothing_that_was_written_beside_the_picture_is_in_it() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret"
    text = PngInfo()
    text.add_text("parameters", "a secret")
    text.add_itxt("XML:com.adobe.xmp", "a secret")
    told: dict[str, dict[str, Any]] = {
        "JPEG": {"comment": b"a secret", "xmp": b"a secret"},
        "PNG": {"pnginfo": text},
        "WEBP": {"xmp": b"a secret"},
    }
    for kind, how in told.items():
        data = encoded(picture(), kind, exif=exif, **how)
        assert data.count(b"a secret") >= 2
        small = thumbnail_of(data)
        assert b"a secret" not in small
        assert small[12:16] == b"VP8 "  # a bare picture: no container with room for more


def header_of(width: int, height: int) -> bytes:
    """A PNG of which only the header is there, as a bomb has it."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = (head, data, b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(one) - 4) + one + struct.pack(">I", zlib.crc32(one)) for one in chunks
    )


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (header_of(30_000, 30_000), "too many pixels"),
        (encoded(picture())[:-400], "truncated|broken"),
        (encoded(picture(), "GIF"), "no PNG"),
        (encoded(picture(), "TIFF"), "no PNG"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(100), "no PNG"),
        (b"", "no PNG"),
    ],
)
def test_what_cannot_be_shown_small_is_refused(data: bytes, why: str) -> None:
    with pytest.raises((ValueError, OSError), match=why):
        thumbnail_of(data)


def test_text_that_expands_without_end_is_refused() -> None:
    text = PngInfo()
    text.add_text("a", "x" * (PngImagePlugin.MAX_TEXT_CHUNK * 8), zip=True)
    with pytest.raises(ValueError, match="too large"):
        thumbnail_of(encoded(picture(), pnginfo=text))


def test_as_large_pictures_as_verify_decodes_have_one() -> None:
    assert MAX_PIXELS == recorded.MAX_PIXELS


def test_only_the_recorded_bytes_of_a_regular_file_are_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"bytes")
    assert read_recorded(path, hashlib.sha256(b"bytes").hexdigest()) == b"bytes"
    with pytest.raises(ValueError, match="recorded"):
        read_recorded(path, hashlib.sha256(b"other").hexdigest())
    empty = hashlib.sha256(b"").hexdigest()
    os.mkfifo(tmp_path / "fifo")
    for other in (tmp_path / "fifo", "/dev/null"):
        with pytest.raises(ValueError, match="no regular file"):
            read_recorded(tmp_path / other, empty)
    with pytest.raises(IsADirectoryError):
        read_recorded(tmp_path, empty)
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="too large"):
        read_recorded(tmp_path / "huge", empty)


def test_a_draft_that_is_being_written_is_not_taken_for_a_left_one(tmp_path: Path) -> None:
    draft, descriptor = draw._open_draft(tmp_path / "a.webp")
    remove_left_drafts(tmp_path)
    assert draft.exists()
    os.close(descriptor)
    remove_left_drafts(tmp_path)
    assert not draft.exists()
