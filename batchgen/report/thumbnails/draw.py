"""The program that draws thumbnails: a job a line on its stdin, one word for each on its stdout.

    python -I -S -X utf8 draw.py FOLDER_OF_PILLOW NICENESS

    it says  ready                    once, when it can work
    it reads {"sha256", "source", "target"}       the paths' bytes, each written as one character
    it says  made        the thumbnail is there
             failed      there can be none
             unwritten   the disk does not take it

It ends with its stdin. Nothing of batchgen is imported: it starts in 50 ms, and a picture that
crashes a decoder, or takes all memory, takes nothing with it but this process.

Source: docs/adr/0017.
"""

import fcntl
import hashlib
import io
import json
import os
import resource
import secrets
import signal
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if __name__ == "__main__":
    sys.path.append(sys.argv[1])  # behind the standard library, so that nothing there shadows it

from PIL import Image, ImageCms
from PIL.ImageOps import exif_transpose
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

LONGEST_PX: Final = 384
# Of what is decoded here; the same as what `verify` decodes. 4 bytes each: 360 MB.
MAX_PIXELS: Final = 89_478_485
MAX_FILE_BYTES: Final = 256 << 20
MAX_MEMORY_BYTES: Final = 2 << 30
# Method 2 takes 5 ms where 4, the default, takes 11, for a tenth more bytes.
SAVED_AS: Final[dict[str, Any]] = {"format": "WEBP", "quality": 75, "method": 2}
# Whoever started this waits for a minute; one that was killed meanwhile waits no more.
LIFE_S: Final = 90


def main() -> None:
    """Make what is asked for, until stdin ends."""
    os.nice(int(sys.argv[2]))
    with suppress(OSError, ValueError):  # not every system has it
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    _say("ready")
    for line in sys.stdin.buffer:
        signal.alarm(LIFE_S)  # a decoder that never ends is not asked, but ended
        _say(_answer(json.loads(line)))
        signal.alarm(0)


def _say(word: str) -> None:
    os.write(1, word.encode() + b"\n")


def _answer(job: dict[str, str]) -> str:
    source, target = (
        Path(os.fsdecode(job[name].encode("latin-1"))) for name in ("source", "target")
    )
    try:
        thumbnail = thumbnail_of(read_recorded(source, job["sha256"]))
    except Exception:  # noqa: BLE001 - damage makes a decoder raise anything
        return "failed"
    try:
        _write(target, thumbnail)
    except IsADirectoryError:  # somebody made one by that name
        return "failed"
    except OSError:
        return "unwritten"
    return "made"


def read_recorded(path: Path, sha256: str) -> bytes:
    """All of a regular file, as it was recorded, without waiting for anything."""
    # O_NONBLOCK: opening a FIFO must not wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        seen = os.fstat(descriptor)
        if not stat.S_ISREG(seen.st_mode):
            raise ValueError("it is no regular file")
        if seen.st_size > MAX_FILE_BYTES:
            raise ValueError("it is too large")
        data = file.read(seen.st_size)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError("it is not what was recorded")
    return data


def thumbnail_of(data: bytes) -> bytes:
    """A small copy, the right way up, in sRGB, with nothing of what was written beside it."""
    with _undecoded(data) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError("it has too many pixels")
        # A JPEG can be decoded at a half, a quarter or an eighth: twice what is wanted is enough.
        image.draft(None, (2 * LONGEST_PX, 2 * LONGEST_PX))
        image.load()
        small = _with_smooth_mode(image)
        small.thumbnail((LONGEST_PX, LONGEST_PX))
        small = _as_srgb(exif_transpose(small))
    out = io.BytesIO()
    small.save(out, **SAVED_AS)
    return out.getvalue()


def _undecoded(data: bytes) -> "ImageFile":
    """A picture of which only the header was read, by its format's own class and no other."""
    file = io.BytesIO(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImageFile(file)
    if data.startswith(b"\xff\xd8\xff"):
        return JpegImageFile(file)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return WebPImageFile(file)
    raise ValueError("it is no PNG, JPEG or WebP")


def _with_smooth_mode(image: Image.Image) -> Image.Image:
    """Colours of 8 bits that can be averaged: indices of a palette and single bits cannot."""
    if image.mode.startswith("I"):  # 16 bits of grey, which `convert` would cut off at 255
        return image.convert("I").point(lambda grey: grey * (1 / 256)).convert("L")
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode in {"1", "P"}:
        return image.convert("L" if image.mode == "1" else "RGB")
    return image


def _as_srgb(image: Image.Image) -> Image.Image:
    """Colours as browsers take them where nothing is said; as they are, if that does not work."""
    mode = "RGBA" if "A" in image.mode else "RGB"
    if profile := image.info.get("icc_profile"):
        with suppress(ImageCms.PyCMSError, OSError):  # no profile, or none of such a picture
            found = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            srgb = ImageCms.createProfile("sRGB")
            # Without `inPlace` there is always a picture.
            return ImageCms.profileToProfile(image, found, srgb, outputMode=mode) or image
    return image.convert(mode)


def _write(path: Path, data: bytes) -> None:
    """Write a draft that takes the name; its lock is how one sees that it is not a left one.

    Source: `store/replace.py` has the same for the files of a report.
    """
    draft, descriptor = _open_draft(path)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(data)
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise
    finally:
        os.close(descriptor)


def _open_draft(path: Path) -> tuple[Path, int]:
    """A new draft, locked for as long as it is open."""
    while True:
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.draft")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return draft, descriptor
        os.close(descriptor)  # taken for a left one before it was locked


if __name__ == "__main__":
    main()
