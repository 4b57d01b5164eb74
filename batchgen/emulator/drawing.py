"""Which images an answer holds, in what pixels, and which of them are no whole picture.

`pictures` draws one; this decides how many, how large, and what becomes of the bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from batchgen.emulator import faults
from batchgen.emulator.asked import Asked
from batchgen.emulator.faults import Changing, without_magic_words
from batchgen.emulator.models import MimeType, Pixels
from batchgen.emulator.pictures import Picture, encoded

_DRAWN_BY = "drawn by the batchgen emulator"
_SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>'
_HTML = b"<html><body>This is not an image.</body></html>"
_HEIC = (  # the box that names the format, and the start of one that promises more than there is
    b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"
    b"\x00\x00\x01\x8ameta\x00\x00\x00\x00\x00\x00\x00\x21hdlr\x00\x00\x00\x00\x00\x00\x00\x00pict"
)


@dataclass(frozen=True)
class Drawn:
    """An image as it goes into a part."""

    content: bytes
    mime_type: str
    thought: bool = False


def drawn(asked: Asked, change: Changing | None, n_pictures: int) -> Iterator[Drawn]:
    """The images in the order of the parts: a thought if wanted, drafts, the final one."""
    if isinstance(change, faults.ThoughtsOnly):
        yield _thought(asked, asked.pixels)
        return
    if asked.include_thoughts and asked.model.thinking_levels:
        yield _thought(asked, (max(1, asked.pixels[0] // 2), max(1, asked.pixels[1] // 2)))
    mime_type = asked.model.mime_type
    wrong = change == faults.WrongSize("ratio")
    pixels = _other_ratio(asked.pixels) if wrong else asked.pixels
    for n in range(1, n_pictures + 1):
        note = f"draft {n} of {n_pictures}, " if n < n_pictures else ""
        content = encoded(_picture(asked, pixels, note=note), mime_type)
        yield _spoiled(content, mime_type, change)


def _thought(asked: Asked, pixels: Pixels) -> Drawn:
    mime_type = asked.model.mime_type
    content = encoded(_picture(asked, pixels, note="a thought, "), mime_type)
    return Drawn(content, mime_type, thought=True)


def _picture(asked: Asked, pixels: Pixels, *, note: str) -> Picture:
    geometry = [asked.ratio, asked.size, f"{pixels[0]}x{pixels[1]}"]
    return Picture(
        pixels=pixels,
        prompt=without_magic_words(asked.prompt),
        facts=(asked.model.id, " · ".join(filter(None, geometry)), note + _DRAWN_BY),
        references=asked.references,
        look=asked.look,
    )


def _other_ratio(pixels: Pixels) -> Pixels:
    square = abs(pixels[0] - pixels[1]) < min(pixels) / 10
    return (1264, 848) if square else (1024, 1024)


def _spoiled(content: bytes, mime_type: MimeType, change: Changing | None) -> Drawn:
    match change:
        case faults.MimeLabel(label):
            return Drawn(content, label)
        case faults.BadImage("truncated"):
            return Drawn(content[: len(content) * 3 // 5], mime_type)
        case faults.BadImage("not_image"):
            return Drawn(_HTML, mime_type)
        case faults.BadImage("svg"):
            return Drawn(_SVG, mime_type)
        case faults.BadImage("heic"):
            return Drawn(_HEIC, "image/heic")
        case faults.BadImage("empty"):
            return Drawn(b"", mime_type)
        case _:
            return Drawn(content, mime_type)
