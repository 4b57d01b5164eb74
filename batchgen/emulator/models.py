"""What each image model takes, makes and counts: data, and the look-up of a model by its id.

Source: Google's published tables of models (docs/api-notes.md names the pages); where answers
observed live differ from them, what was observed is used.
"""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Pixels: TypeAlias = tuple[int, int]
Range: TypeAlias = tuple[int, int]
MimeType: TypeAlias = Literal["image/png", "image/jpeg"]

STANDARD_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
EXTREME_RATIOS = ("1:4", "4:1", "1:8", "8:1")

# Observed live; Google's page says 792x336 for 21:9 here, so doubling does not give the 1K column.
_PIXELS_512: dict[str, Pixels] = {
    "1:1": (512, 512),
    "2:3": (424, 632),
    "3:2": (632, 424),
    "3:4": (448, 600),
    "4:3": (600, 448),
    "4:5": (464, 576),
    "5:4": (576, 464),
    "9:16": (384, 688),
    "16:9": (688, 384),
    "21:9": (784, 336),
    "1:4": (256, 1024),
    "4:1": (1024, 256),
    "1:8": (176, 1456),
    "8:1": (1456, 176),
}
_PIXELS_1K: dict[str, Pixels] = {
    "1:1": (1024, 1024),
    "2:3": (848, 1264),
    "3:2": (1264, 848),
    "3:4": (896, 1200),
    "4:3": (1200, 896),
    "4:5": (928, 1152),
    "5:4": (1152, 928),
    "9:16": (768, 1376),
    "16:9": (1376, 768),
    "21:9": (1584, 672),
    "1:4": (512, 2064),
    "4:1": (2064, 512),
    "1:8": (352, 2928),
    "8:1": (2928, 352),
}
# gemini-2.5-flash-image has one size and pixels of its own.
_PIXELS_2_5: dict[str, Pixels] = {
    "1:1": (1024, 1024),
    "2:3": (832, 1248),
    "3:2": (1248, 832),
    "3:4": (864, 1184),
    "4:3": (1184, 864),
    "4:5": (896, 1152),
    "5:4": (1152, 896),
    "9:16": (768, 1344),
    "16:9": (1344, 768),
    "21:9": (1536, 672),
}

# Text thinking that the models report: nothing at MINIMAL, 700-800 for Flash at HIGH, 50-400 for
# Pro whatever the level (measured by a gateway on the same backend). LOW and MEDIUM: assumed.
_FLASH_THOUGHTS: dict[str, Range] = {"LOW": (80, 200), "MEDIUM": (200, 400), "HIGH": (700, 800)}
_PRO_THOUGHTS: dict[str, Range] = dict.fromkeys(("MINIMAL", "LOW", "MEDIUM", "HIGH"), (50, 400))


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model: the limits it enforces and the numbers it reports.

    `thinking_levels` is empty for a model that refuses any thinkingConfig.
    """

    id: str
    aliases: tuple[str, ...]
    ratios: tuple[str, ...]
    image_tokens: dict[str, int]  # by size; "" is the only size of a model without imageSize
    input_image_tokens: int
    max_references: int
    thinking_levels: tuple[str, ...] = ()
    default_thinking: str | None = None
    thought_tokens: dict[str, Range] = field(default_factory=dict)
    web_search: bool = False
    image_search: bool = False
    mime_type: MimeType = "image/png"
    signs_parts: bool = True

    @property
    def sizes(self) -> tuple[str, ...]:
        """The imageSize values it takes; empty if it takes none."""
        return tuple(size for size in self.image_tokens if size)

    @property
    def default_size(self) -> str:
        """The size of an answer to a request without imageSize."""
        return "1K" if self.sizes else ""

    def pixels(self, ratio: str, size: str) -> Pixels:
        """The width and height of a picture of that ratio and size."""
        match size:
            case "":
                return _PIXELS_2_5[ratio]
            case "512":
                return _PIXELS_512[ratio]
            case _:
                width, height = _PIXELS_1K[ratio]
                times = {"1K": 1, "2K": 2, "4K": 4}[size]
                return width * times, height * times

    def nearest_ratio(self, width: int, height: int) -> str:
        """The ratio it takes that is closest to those pixels, compared by quotient."""

        def distance(ratio: str) -> float:
            across, down = (int(side) for side in ratio.split(":"))
            quotient = (width * down) / (height * across)
            return max(quotient, 1 / quotient)

        return min(self.ratios, key=distance)


MODELS: tuple[Model, ...] = (
    Model(
        id="gemini-2.5-flash-image",
        aliases=("gemini-2.5-flash-image-preview",),
        ratios=STANDARD_RATIOS,
        image_tokens={"": 1290},
        input_image_tokens=258,  # one tile
        max_references=3,  # Google: "works best with up to 3"; Vertex refuses more
        signs_parts=False,
    ),
    Model(
        id="gemini-3-pro-image",
        aliases=("gemini-3-pro-image-preview", "nano-banana-pro-preview"),
        ratios=STANDARD_RATIOS,
        image_tokens={"1K": 1120, "2K": 1120, "4K": 2000},
        input_image_tokens=560,  # by the price list; 516 was measured once
        max_references=14,
        thinking_levels=tuple(_PRO_THOUGHTS),  # always on: a level is accepted, without effect
        default_thinking="HIGH",
        thought_tokens=_PRO_THOUGHTS,
        web_search=True,
        mime_type="image/jpeg",
    ),
    Model(
        id="gemini-3.1-flash-image",
        aliases=("gemini-3.1-flash-image-preview",),
        ratios=STANDARD_RATIOS + EXTREME_RATIOS,
        image_tokens={"512": 747, "1K": 1120, "2K": 1680, "4K": 2520},
        input_image_tokens=1120,
        max_references=14,
        thinking_levels=("MINIMAL", "HIGH"),
        default_thinking="MINIMAL",
        thought_tokens=_FLASH_THOUGHTS,
        web_search=True,
        image_search=True,
    ),
    Model(
        id="gemini-3.1-flash-lite-image",
        aliases=("gemini-3.1-flash-lite-image-preview",),
        ratios=STANDARD_RATIOS + EXTREME_RATIOS,
        image_tokens={"1K": 1120},  # Google's table has 512; the service refuses it
        input_image_tokens=1120,
        max_references=14,
        thinking_levels=("MINIMAL", "HIGH"),
        default_thinking="MINIMAL",
        thought_tokens=_FLASH_THOUGHTS,
    ),
    Model(
        id="gemini-nano-banana-2.1",
        aliases=("gemini-nano-banana-2.1-preview",),
        ratios=STANDARD_RATIOS + EXTREME_RATIOS,
        image_tokens={"1K": 1120, "2K": 1680, "4K": 3780},
        input_image_tokens=1120,
        max_references=14,
        thinking_levels=("MINIMAL", "MEDIUM", "HIGH"),
        default_thinking="MEDIUM",
        thought_tokens=_FLASH_THOUGHTS,
        web_search=True,
        image_search=True,
    ),
)

_BY_NAME = {name: model for model in MODELS for name in (model.id, *model.aliases)}


def find(model_id: str) -> Model | None:
    """The model that an id means, or None.

    Gateways prefix ids with a vendor and suffix them with a date or `-preview`, so an id that
    contains a known name means that model; the longest known name wins.
    """
    wanted = model_id.casefold()
    known = [name for name in _BY_NAME if name in wanted]
    return _BY_NAME[max(known, key=len)] if known else None
