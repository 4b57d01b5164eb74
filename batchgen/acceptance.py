"""Which pictures of an answer are taken for good, and which of the others are kept.

Source: docs/api-notes.md, section 1 (pixels differ from the published tables by up to 4 %, so only
what is further off is another ratio; sizes are steps of four times the pixels).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Final, Literal, TypeAlias

from batchgen.known_models import KnownModels
from batchgen.model import ImageFile, Item
from batchgen.wire.request import asked_geometry

OnWrongSize: TypeAlias = Literal["accept", "retry", "fail"]

ON_WRONG_SIZE: Final[tuple[OnWrongSize, ...]] = ("accept", "retry", "fail")
MAX_RATIO_ERROR: Final = 0.05
# A size names a number of pixels, whatever the ratio; half way to the next one it is another.
_PIXELS: Final = {"512": 512**2, "1K": 1024**2, "2K": 2048**2, "4K": 4096**2}
_MAX_AREA_FACTOR: Final = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Acceptance:
    """What a job says of the pictures that it gets besides, or instead of, what it asked for.

    Attributes:
        keep_thoughts: Keep what the model drew while it was thinking.
        keep_drafts: Keep the pictures before the final one.
        on_wrong_size: What to do with a picture of another ratio or size.
    """

    keep_thoughts: bool = False
    keep_drafts: bool = False
    on_wrong_size: OnWrongSize = "accept"


def why_wrong_size(item: Item, width: int | None, height: int | None) -> str | None:
    """Say how a picture differs from the ratio and the size that its item asked for.

    None if it does not differ, or if nobody can tell. What batchgen itself leaves out of a request
    was not asked for.
    """
    sent = KnownModels.shipped().as_sent(item)
    return compare_size(*asked_geometry(sent), width, height)


def why_final_differs(item: Item, images: Iterable[ImageFile]) -> str | None:
    """Say how an item's final picture differs from what it asked for; see `why_wrong_size`."""
    reasons = (
        why_wrong_size(item, image.width, image.height) for image in images if image.role == "final"
    )
    return next(reasons, None)


def compare_size(
    ratio: str | None, size: str | None, width: int | None, height: int | None
) -> str | None:
    """Say how a picture differs from what was asked for; None if it does not.

    What was not asked for, and what nobody can judge (a word that is no ratio, a size that is not
    known, a picture of unknown pixels), does not differ.

    Args:
        ratio: Such as `16:9`.
        size: Such as `2K`.
        width: Pixels.
        height: Pixels.
    """
    if not width or not height:
        return None
    return _compared(ratio, size, width, height)


@lru_cache(1024)  # a job mixes few sizes
def _compared(ratio: str | None, size: str | None, width: int, height: int) -> str | None:
    sides = _sides(ratio)
    is_off = sides is not None and not _is_near(width / height, sides[0] / sides[1])
    pixels = None if size is None else _PIXELS.get(size)
    is_other = pixels is not None and not (
        1 / _MAX_AREA_FACTOR < prod((width, height)) / pixels < _MAX_AREA_FACTOR
    )
    if not is_off and not is_other:
        return None
    asked = " at ".join(filter(None, (ratio if sides else None, size if pixels else None)))
    return f"the picture is {width}x{height}, and {asked} was asked for"


def _sides(ratio: str | None) -> tuple[float, float] | None:
    """The two numbers of a ratio; None if it is no ratio."""
    try:
        width, height = (float(side) for side in (ratio or "").split(":"))
    except ValueError:
        return None
    return (width, height) if width > 0 and height > 0 else None


def _is_near(got: float, asked: float) -> bool:
    return 1 / (1 + MAX_RATIO_ERROR) <= got / asked <= 1 + MAX_RATIO_ERROR
