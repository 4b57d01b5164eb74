"""The pictures: a poster that says what was asked for, on a background of its own.

Two prompts can be told apart at a glance, because colours and pattern come from a hash of the
prompt and its references (`backgrounds`); the card lets a person check the rest. With references,
their thumbnails stand beside it in the order in which they came, each with its label.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import TypeAlias

from PIL import Image, ImageDraw, ImageFont

from batchgen.emulator import backgrounds
from batchgen.emulator.backgrounds import Colour
from batchgen.emulator.models import MimeType, Pixels
from batchgen.emulator.references import Reference

Box: TypeAlias = tuple[int, int, int, int]
Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

_WIDE = 2.2  # from this quotient on the references stand beside the card, not above it
_MAX_PROMPT_CHARACTERS = 700
_LINE = 1.28  # line height, in font sizes
_SMALLEST_PX = 10
_INK: Colour = (24, 28, 38)
_FAINT: Colour = (98, 104, 120)
_PAPER: Colour = (253, 253, 251)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Everything that one picture depends on.

    Attributes:
        look: A hash that picks colours and pattern.
        facts: Short lines for the foot of the card.
    """

    pixels: Pixels
    prompt: str
    facts: tuple[str, ...]
    references: tuple[Reference, ...]
    look: str


@dataclass(frozen=True)
class _Text:
    """Lines that fit a box, and the sizes at which they do."""

    lines: tuple[str, ...]
    facts: tuple[str, ...]
    title_px: int
    fact_px: int
    padding_px: int

    @property
    def height(self) -> int:
        title = len(self.lines) * self.title_px * _LINE
        facts = len(self.facts) * self.fact_px * _LINE
        return round(2 * self.padding_px + title + self.title_px * 0.85 + facts)


def encoded(picture: Picture, mime_type: MimeType) -> bytes:
    """Draw a picture and encode it, fast rather than small."""
    image = draw(picture)
    out = BytesIO()
    if mime_type == "image/jpeg":
        image.save(out, "JPEG", quality=88)
    else:
        image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def draw(picture: Picture) -> Image.Image:
    """The picture itself."""
    palette = backgrounds.palette(picture.look)
    image = backgrounds.draw(picture.pixels, picture.look, palette)
    width, height = picture.pixels
    margin = max(6, round(min(width, height) * 0.06))
    beside = width / height >= _WIDE
    card_width = round(width * 0.58) if beside else width - 2 * margin
    share = 1 - 2 * margin / height if beside else (0.5 if picture.references else 0.66)
    text = _fitted(picture, card_width, round(height * share))
    top = (height - text.height) // 2 if beside else height - margin - text.height
    card = (margin, top, margin + card_width, top + text.height)
    _draw_card(image, card, text, palette.accent)
    if picture.references:
        strip = (
            (card[2] + margin, margin, width - margin, height - margin)
            if beside
            else (margin, margin, width - margin, card[1] - margin)
        )
        _draw_strip(image, strip, picture.references)
    return image


def _fitted(picture: Picture, width: int, max_height: int) -> _Text:
    """The prompt in the largest type that fits; cut with an ellipsis if the smallest does not."""
    across, down = picture.pixels
    prompt = " ".join(picture.prompt[:_MAX_PROMPT_CHARACTERS].split()) or "(no text)"
    title_px = round(min(math.sqrt(across * down) * 0.06, across * 0.13, down * 0.17))
    smallest_unbroken_px = max(_SMALLEST_PX, round(title_px * 0.6))
    while True:
        padding = round(min(max(title_px * 0.9, width * 0.035), down * 0.14))
        inner = width - 2 * padding
        text = _set(picture.facts, prompt, title_px, padding, inner)
        broken = title_px > smallest_unbroken_px and _widest_word(prompt, title_px) > inner
        if text.height <= max_height and not broken:
            return text
        if title_px <= _SMALLEST_PX:
            return _cut(text, max_height)
        title_px = max(_SMALLEST_PX, round(title_px * 0.92) - 1)


def _set(facts: tuple[str, ...], prompt: str, title_px: int, padding: int, inner: int) -> _Text:
    """The lines at one size. Facts are smaller than the prompt, and smaller still to fit."""
    fact_px = max(_SMALLEST_PX - 1, round(title_px * 0.5))
    widest = max(_widest_word(fact, fact_px) for fact in facts)
    fact_px = fact_px if widest <= inner else max(_SMALLEST_PX - 3, int(fact_px * inner / widest))
    fact_lines = tuple(line for fact in facts for line in _wrapped(fact, _font(fact_px), inner))
    return _Text(_wrapped(prompt, _font(title_px), inner), fact_lines, title_px, fact_px, padding)


def _widest_word(text: str, size_px: int) -> float:
    return max(_font(size_px).getlength(word) for word in text.split(" "))


def _cut(text: _Text, max_height: int) -> _Text:
    too_high = text.height - max_height
    n_lines = max(1, len(text.lines) - math.ceil(too_high / (text.title_px * _LINE)))
    kept = (*text.lines[: n_lines - 1], text.lines[n_lines - 1].rstrip(" .,") + " …")
    return _Text(kept, text.facts, text.title_px, text.fact_px, text.padding_px)


def _wrapped(text: str, font: Font, width: int) -> tuple[str, ...]:
    """Lines no wider than `width`; a word that alone is wider is broken."""
    lines, line = [], ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if font.getlength(longer) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        line = word
        while font.getlength(line) > width and len(line) > 1:
            n_fit = max(1, int(len(line) * width / font.getlength(line)) - 1)
            lines.append(line[:n_fit])
            line = line[n_fit:]
    return (*lines, line)


def _draw_card(image: Image.Image, box: Box, text: _Text, accent: Colour) -> None:
    radius = max(4, round(text.padding_px * 0.6))
    _paste_panel(image, box, radius, _PAPER, opacity=0.93)
    pen = ImageDraw.Draw(image)
    x, y = box[0] + text.padding_px, float(box[1] + text.padding_px)
    for line in text.lines:
        pen.text((x, y), line, fill=_INK, font=_font(text.title_px))
        y += text.title_px * _LINE
    bar = max(2, round(text.title_px * 0.09))
    y += text.title_px * 0.25
    pen.rounded_rectangle((x, y, x + text.title_px * 1.6, y + bar), radius=bar / 2, fill=accent)
    y += text.title_px * 0.6
    for n, fact in enumerate(text.facts):
        pen.text((x, y), fact, fill=_INK if n == 0 else _FAINT, font=_font(text.fact_px))
        y += text.fact_px * _LINE


def _draw_strip(image: Image.Image, box: Box, references: tuple[Reference, ...]) -> None:
    """Thumbnails in order, as large as the box lets them be, each on a white mount."""
    across, down = box[2] - box[0], box[3] - box[1]
    if across < 2 * _SMALLEST_PX or down < 2 * _SMALLEST_PX:
        return
    n_columns, cell = _grid(len(references), across, down)
    gap = max(2, cell // 14)
    for n, reference in enumerate(references):
        row, column = divmod(n, n_columns)
        corner = (box[0] + column * (cell + gap), box[1] + row * (cell + gap))
        _draw_reference(image, corner, cell, reference, number=n + 1)


def _grid(n_cells: int, across: int, down: int) -> tuple[int, int]:
    """How many columns give the largest square cells, and how large those are."""

    def cell(n_columns: int) -> int:
        n_rows = math.ceil(n_cells / n_columns)
        return int(min(across / (n_columns * 1.07), down / (n_rows * 1.07)))

    best = max(range(1, n_cells + 1), key=cell)
    return best, cell(best)


def _draw_reference(
    image: Image.Image, corner: tuple[int, int], cell: int, reference: Reference, *, number: int
) -> None:
    x, y = corner
    border = max(2, cell // 24)
    label_px = max(_SMALLEST_PX - 1, cell // 11)
    window = (cell - 2 * border, cell - 3 * border - round(label_px * _LINE))
    _paste_panel(image, (x, y, x + cell, y + cell), border, _PAPER, opacity=0.96)
    if reference.thumbnail is not None:
        small = _contained(reference.thumbnail, window)
        left = x + border + (window[0] - small.width) // 2
        image.paste(small, (left, y + border + (window[1] - small.height) // 2))
    label = " ".join(reference.label.split()).rstrip(":")
    font = _font(label_px)
    shown = _shortened(f"{number}  {label}" if label else str(number), font, window[0])
    at = (x + 2 * border, y + cell - border - round(label_px * _LINE))
    ImageDraw.Draw(image).text(at, shown, fill=_INK, font=font)


def _contained(thumbnail: Image.Image, window: tuple[int, int]) -> Image.Image:
    scale = min(window[0] / thumbnail.width, window[1] / thumbnail.height)
    size = (max(1, round(thumbnail.width * scale)), max(1, round(thumbnail.height * scale)))
    return thumbnail.resize(size, Image.Resampling.BILINEAR)


def _shortened(text: str, font: Font, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _paste_panel(
    image: Image.Image, box: Box, radius: int, colour: Colour, *, opacity: float
) -> None:
    size = (box[2] - box[0], box[3] - box[1])
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rounded_rectangle(
        (0, 0, size[0] - 1, size[1] - 1), radius=radius, fill=round(255 * opacity)
    )
    image.paste(colour, box, mask)


@lru_cache(maxsize=256)
def _font(size_px: int) -> Font:
    return ImageFont.load_default(size_px)
