"""Pictures larger than they should be, made smaller once.

Of the five formats that are sniffed for, only PNG, JPEG and WebP are decoded, whatever else Pillow
knows.
"""

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from batchgen.model import ReferenceFile
from batchgen.references.cache import Cache
from batchgen.references.files import UnusableReferenceError, open_unchanged
from batchgen.sanitize import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

# Pillow's own default, where it only warns. Decoded, that many pixels are 360 MB.
_MAX_PIXELS: Final = 89_478_485

_SAVED_AS: Final[dict[str, dict[str, Any]]] = {
    "image/png": {"format": "PNG"},
    "image/jpeg": {"format": "JPEG", "quality": 92},
    "image/webp": {"format": "WEBP", "quality": 92},
}
_NAMES: Final = {"image/heic": "HEIC", "image/heif": "HEIF"}


def size_px(file: ReferenceFile) -> tuple[int, int]:
    """Width and height of a picture as they are stored; reads its header.

    Raises:
        UnusableReferenceError: They cannot be told, or the file changed since it was examined.
    """
    with _undecoded(file) as image:
        return image.size


def check_scalable(size: tuple[int, int]) -> None:
    """Make sure that a picture is not so large that decoding it would take all memory.

    Raises:
        UnusableReferenceError: It is.
    """
    width, height = size
    if width * height > _MAX_PIXELS:
        raise UnusableReferenceError(
            f"has {width} × {height} pixels, too many to scale down here: make it smaller"
        )


def scaled_down(file: ReferenceFile, max_px: int, cache: Cache) -> ReferenceFile:
    """A copy whose longest side is `max_px`, made now or found in the cache.

    It keeps format, transparency and colour profile, and is turned the way its EXIF says; other
    metadata is dropped.

    Cost: decodes in the calling thread; up to 4 bytes a pixel.

    Raises:
        UnusableReferenceError: It cannot be decoded, or changed since it was examined.
        StoreError: The disk failed.
    """
    stem = f"{file.sha256}-{max_px}"
    found = cache.find(stem, file.mime)
    if found is not None and _is_as_long(found, max_px):
        return found
    with _undecoded(file) as image:
        check_scalable(image.size)
        profile = image.info.get("icc_profile")
        smaller = _upright(_resized(image, max_px))
    smaller.info = {}  # some encoders write comments and the like from here
    save = _SAVED_AS[file.mime]
    return cache.save(stem, lambda draft: smaller.save(draft, icc_profile=profile, **save))


@contextmanager
def _undecoded(file: ReferenceFile) -> "Iterator[ImageFile]":
    """A picture of which only the header was read; what Pillow raises inside gets a name."""
    decoder = _decoder(file.mime)
    with open_unchanged(file) as opened:
        try:
            with decoder(opened) as image:
                yield image
        except UnusableReferenceError:
            raise
        except Exception as error:  # a damaged file makes a decoder raise anything
            why = printable(str(error) or type(error).__name__, 100)
            raise UnusableReferenceError(f"is damaged and cannot be scaled down ({why})") from error


def _decoder(mime: str) -> "type[ImageFile]":
    """The class that reads a format; its own, so that no other one gets to see the bytes."""
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    match mime:
        case "image/png":
            return PngImageFile
        case "image/jpeg":
            return JpegImageFile
        case "image/webp":
            return WebPImageFile
        case _:
            raise UnusableReferenceError(
                f"is {_NAMES.get(mime, mime)}, which cannot be scaled down: "
                "convert it, or leave reference_max_px out"
            )


def _resized(image: "ImageFile", max_px: int) -> "Image":
    from PIL.Image import Resampling

    longest = max(image.size)
    width, height = (max(1, (side * max_px + longest // 2) // longest) for side in image.size)
    # A JPEG can be decoded at a half, a quarter or an eighth; twice what is wanted loses nothing.
    image.draft(None, (2 * width, 2 * height))
    image.load()
    return _with_smooth_mode(image).resize((width, height), Resampling.LANCZOS)


def _with_smooth_mode(image: "Image") -> "Image":
    """Colours that can be averaged: indices of a palette and single bits cannot."""
    is_grey = image.mode in {"1", "L", "LA"}
    if image.has_transparency_data:
        return image.convert("LA" if is_grey else "RGBA")
    if image.mode in {"1", "P"}:
        return image.convert("L" if is_grey else "RGB")
    return image


def _upright(image: "Image") -> "Image":
    """Turned the way its EXIF says: nobody reads it after the metadata is gone."""
    from PIL.ImageOps import exif_transpose

    return exif_transpose(image)


def _is_as_long(file: ReferenceFile, max_px: int) -> bool:
    try:
        return max(size_px(file)) == max_px
    except UnusableReferenceError:
        return False
