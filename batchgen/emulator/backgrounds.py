"""Backgrounds: a soft gradient and one of six patterns, both picked by a hash.

Cost: they are drawn small and scaled up, so time goes with the output's pixels only in that step.
"""

import colorsys
import math
from dataclasses import dataclass
from typing import TypeAlias

from PIL import Image, ImageDraw

from batchgen.emulator.dice import Dice
from batchgen.emulator.models import Pixels

Colour: TypeAlias = tuple[int, int, int]
Pen: TypeAlias = ImageDraw.ImageDraw

_DRAWN_PIXELS = 360_000


@dataclass(frozen=True)
class Palette:
    """Four corners of a gradient, and a strong colour for small things."""

    corners: tuple[Colour, Colour, Colour, Colour]
    accent: Colour


def palette(look: str) -> Palette:
    """Two neighbouring hues and a contrasting accent."""
    dice = Dice(0, look)
    hue = dice.fraction("hue")
    turn = dice.choice("turn", (0.08, 0.12, 0.18, -0.1, -0.16))
    light = dice.between("light", 0.55, 0.68)
    corners = (
        _colour(hue, light + 0.12, 0.6),
        _colour(hue + turn / 2, light + 0.02, 0.58),
        _colour(hue + turn, light - 0.08, 0.54),
        _colour(hue + turn * 1.5, light - 0.18, 0.52),
    )
    return Palette(corners, _colour(hue + 0.5, 0.45, 0.75))


def draw(pixels: Pixels, look: str, colours: Palette) -> Image.Image:
    """A background of those pixels."""
    scale = min(1.0, math.sqrt(_DRAWN_PIXELS / (pixels[0] * pixels[1])))
    small = (max(2, round(pixels[0] * scale)), max(2, round(pixels[1] * scale)))
    image = Image.new("RGB", (2, 2))
    image.putdata(colours.corners)
    image = image.resize(small, Image.Resampling.BICUBIC)
    dice = Dice(0, look)
    pattern = dice.choice("pattern", (_circles, _hills, _stripes, _triangles, _rings, _dots))
    pattern(ImageDraw.Draw(image, "RGBA"), small, dice)
    return image.resize(pixels, Image.Resampling.BILINEAR)


def _colour(hue: float, light: float, saturation: float) -> Colour:
    red, green, blue = colorsys.hls_to_rgb(hue % 1, light, saturation)
    return round(red * 255), round(green * 255), round(blue * 255)


def _veil(dice: Dice, label: str, low: int = 18, high: int = 60) -> tuple[int, int, int, int]:
    """White or near-black, mostly transparent."""
    shade = dice.choice(f"{label} shade", (255, 255, 20))
    return shade, shade, shade, dice.integer(f"{label} alpha", low, high)


def _circles(pen: Pen, size: Pixels, dice: Dice) -> None:
    width, height = size
    reach = math.sqrt(width * height)
    for n in range(16):
        x, y = dice.fraction(f"x{n}") * width, dice.fraction(f"y{n}") * height
        radius = reach * dice.between(f"r{n}", 0.04, 0.26)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_veil(dice, f"c{n}"))


def _hills(pen: Pen, size: Pixels, dice: Dice) -> None:
    width, height = size
    sun = min(width, height) * 0.16
    x, y = width * dice.between("sun x", 0.15, 0.85), height * dice.between("sun y", 0.12, 0.3)
    pen.ellipse((x - sun, y - sun, x + sun, y + sun), fill=(255, 255, 255, 120))
    for n in range(5):
        level = height * (0.3 + 0.15 * n)
        swing = height * dice.between(f"swing{n}", 0.03, 0.09)
        waves = dice.between(f"waves{n}", 1.0, 2.6) * max(1.0, width / height / 1.5)
        phase = dice.between(f"phase{n}", 0, math.tau)
        edge = [
            (at, level + swing * math.sin(phase + waves * math.tau * at / width))
            for at in range(0, width + 4, 4)
        ]
        pen.polygon([*edge, (width, height), (0, height)], fill=(15, 20, 45, 34))


def _stripes(pen: Pen, size: Pixels, dice: Dice) -> None:
    width, height = size
    step = max(8.0, min(width, height) * dice.between("step", 0.12, 0.24))
    lean = height * dice.choice("lean", (0.6, 1.0, -0.6, -1.0))
    at, n = -abs(lean), 0
    while at < width + abs(lean):
        thick = step * dice.between(f"thick{n}", 0.3, 0.75)
        foot = at + lean
        pen.polygon(
            [(at, 0), (at + thick, 0), (foot + thick, height), (foot, height)],
            fill=_veil(dice, f"s{n}"),
        )
        at, n = at + step, n + 1


def _triangles(pen: Pen, size: Pixels, dice: Dice) -> None:
    width, height = size
    side = max(10.0, math.sqrt(width * height) / dice.integer("across", 5, 8))
    for row in range(math.ceil(height / side)):
        for column in range(math.ceil(width / side)):
            x, y, name = column * side, row * side, f"{row},{column}"
            fall = dice.one_in(f"{name} fall", 2)
            cut = [(x, y), (x + side, y + side)] if fall else [(x + side, y), (x, y + side)]
            other = [(x + side, y), (x, y + side)] if fall else [(x, y), (x + side, y + side)]
            pen.polygon([*cut, other[0]], fill=_veil(dice, f"{name} a", 6, 48))
            pen.polygon([*cut, other[1]], fill=_veil(dice, f"{name} b", 6, 48))


def _rings(pen: Pen, size: Pixels, dice: Dice) -> None:
    width, height = size
    x, y = width * dice.between("x", 0.1, 0.9), height * dice.between("y", 0.05, 0.5)
    step = max(7.0, min(width, height) * dice.between("step", 0.07, 0.13))
    for n in range(math.ceil(math.hypot(width, height) / step), 0, -1):
        radius = n * step
        box = (x - radius, y - radius, x + radius, y + radius)
        pen.ellipse(box, outline=_veil(dice, f"r{n}", 30, 80), width=max(2, round(step * 0.35)))


def _dots(pen: Pen, size: Pixels, dice: Dice) -> None:
    width, height = size
    step = max(8.0, math.sqrt(width * height) / dice.integer("across", 14, 22))
    angle = dice.between("angle", 0, math.tau)
    for row in range(math.ceil(height / step) + 1):
        for column in range(math.ceil(width / step) + 1):
            x = (column + (row % 2) / 2) * step
            y = row * step
            along = x / width * math.cos(angle) + y / height * math.sin(angle)
            radius = step * (0.1 + 0.34 * abs(math.sin(along * 2.4)))
            box = (x - radius, y - radius, x + radius, y + radius)
            pen.ellipse(box, fill=(255, 255, 255, 70))
