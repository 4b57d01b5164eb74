"""The pictures that come with a request: is it an image, what shape has it, how does it look small.

Only the header is trusted for the shape, and a picture is scaled down while it is decoded, so a
small file that unfolds into gigabytes is refused before it does.
"""

from dataclasses import dataclass
from io import BytesIO

from PIL import Image

MIME_TYPES = ("image/png", "image/jpeg", "image/webp", "image/heic", "image/heif")
THUMBNAIL_PX = 512
_MAX_PIXELS = 80_000_000
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heif")


class NotAnImage(ValueError):
    """The bytes are no image that the models take."""


@dataclass(frozen=True)
class Reference:
    """One reference image. `thumbnail` is None where Pillow cannot decode the format (HEIC)."""

    sha256: str
    width: int
    height: int
    label: str
    thumbnail: Image.Image | None


def read(content: bytes, sha256: str, label: str) -> Reference:
    """Look at one image.

    Raises:
        NotAnImage: It cannot be decoded, or is too large to be.
    """
    if content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS:
        return Reference(sha256, 1, 1, label, None)
    try:
        with Image.open(BytesIO(content), formats=("PNG", "JPEG", "WEBP")) as image:
            width, height = image.size
            if width * height > _MAX_PIXELS:
                raise NotAnImage
            image.draft("RGB", (THUMBNAIL_PX, THUMBNAIL_PX))
            thumbnail = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise NotAnImage from error
    thumbnail.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    return Reference(sha256, width, height, label, thumbnail)
