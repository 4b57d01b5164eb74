"""Pictures to make thumbnails of: alike in every process, and as hard to decode as photos are."""

import hashlib
import json
import random
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from PIL import Image

_SAVED_AS: Final[dict[str, dict[str, Any]]] = {
    "PNG": {"compress_level": 6},
    "JPEG": {"quality": 92},
}


def _pictures(directory: Path, n: int, *, kind: str, px: int) -> Path:
    """Write so many pictures, and a list of them with their digests."""
    image = BytesIO()
    _photo(px).save(image, kind, **_SAVED_AS[kind])
    listed = directory / "pictures.jsonl"
    (directory / "images").mkdir()
    with listed.open("w", encoding="utf-8") as lines:
        for number in range(n):
            path = directory / "images" / f"{number}.{kind.lower()}"
            # What lies behind the end of a picture is not decoded, and makes it another one.
            data = image.getvalue() + str(number).encode()
            path.write_bytes(data)
            told = {"sha256": hashlib.sha256(data).hexdigest(), "path": str(path)}
            lines.write(json.dumps(told) + "\n")
    return listed


def _photo(px: int) -> Image.Image:
    """Soft shapes of several sizes, and a little noise."""
    dice = random.Random(px)
    image = Image.new("RGB", (px, px), (128, 128, 128))
    for n in (8, 32, 128, 512):
        shapes = Image.frombytes("RGB", (n, n), dice.randbytes(3 * n * n))
        image = Image.blend(image, shapes.resize((px, px), Image.Resampling.BICUBIC), 0.25)
    noise = Image.frombytes("L", (px, px), dice.randbytes(px * px)).convert("RGB")
    return Image.blend(image, noise, 0.02)


png_1k = partial(_pictures, kind="PNG", px=1024)
png_2k = partial(_pictures, kind="PNG", px=2048)
jpeg_4k = partial(_pictures, kind="JPEG", px=4096)
