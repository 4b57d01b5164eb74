"""The settings of an item, each from what was written to its normalised value.

A setting that is written as nothing (`null`), or switched off, is None: it unsets a default.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from batchgen.manifest.fields import Checker, shown
from batchgen.manifest.nodes import Steps
from batchgen.manifest.reference_fields import read_references
from batchgen.model import (
    ASPECT_RATIOS,
    IMAGE_SIZES,
    MODALITIES,
    SEARCH_KINDS,
    THINKING_LEVELS,
    Modality,
    Reference,
    SafetySetting,
    SearchKind,
)

MAX_COUNT: Final = 100
MIN_REFERENCE_PX: Final = 16
MAX_REFERENCE_PX: Final = 16_384
_INT32: Final = (-(1 << 31), (1 << 31) - 1)

_EXTRA: Final = "what is not listed goes into extra"
_HARM: Final = "HARM_CATEGORY_"
HARM_CATEGORIES: Final = (
    *("HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT", "CIVIC_INTEGRITY"),
    *("JAILBREAK", "IMAGE_HATE", "IMAGE_DANGEROUS_CONTENT", "IMAGE_HARASSMENT"),
    "IMAGE_SEXUALLY_EXPLICIT",
)
HARM_THRESHOLDS: Final = (
    *("BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH", "BLOCK_NONE", "OFF"),
)

ReadSetting: TypeAlias = Callable[[Checker, Any, Steps], Any]


@dataclass(frozen=True, slots=True)
class Readers:
    """Reads settings by their names; references may be named in the job."""

    names: Mapping[str, Reference]

    def read(self, check: Checker, name: str, value: Any, steps: Steps) -> Any:
        """Read one setting; None after reporting a mistake."""
        if value is None:
            return None
        if name == "references":
            return read_references(check, value, steps, self.names)
        return READERS[name](check, value, steps)


def _model(check: Checker, value: Any, steps: Steps) -> str | None:
    model = check.text(value, steps)
    return model.strip() if model else None


def _ratio(check: Checker, value: Any, steps: Steps) -> str | None:
    written = value.strip() if isinstance(value, str) else value
    return check.choice(written, steps, ASPECT_RATIOS, remedy=_EXTRA)


def _size(check: Checker, value: Any, steps: Steps) -> str | None:
    """`512px`, `1k` and the number 512 are taken for what they mean."""
    size = value
    if isinstance(value, str | int) and not isinstance(value, bool):
        text = str(value).strip()
        size = text.upper() if text[-1:] in {"k", "K"} else text.removesuffix("px")
    return check.choice(size, steps, IMAGE_SIZES, remedy=_EXTRA)


def _modalities(check: Checker, value: Any, steps: Steps) -> tuple[Modality, ...] | None:
    names = value if isinstance(value, list) else [value]
    read = [
        check.choice(_upper(name), (*steps, n), MODALITIES, remedy=_EXTRA)
        for n, name in enumerate(names)
    ]
    if "IMAGE" not in read and None not in read:
        check.wrong(steps, "expected [IMAGE] or [TEXT, IMAGE]")
        return None
    if len(set(read)) != len(read):
        check.wrong(steps, "the same modality is named twice")
        return None
    # Their order means nothing to the service, nor to the content key.
    return tuple(one for one in MODALITIES if one in read) if None not in read else None


def _thinking_level(check: Checker, value: Any, steps: Steps) -> str | None:
    word = value.strip().upper() if isinstance(value, str) else value
    return check.choice(word, steps, THINKING_LEVELS, remedy=_EXTRA)


def _search(check: Checker, value: Any, steps: Steps) -> bool | tuple[SearchKind, ...] | None:
    """True for the plain tool, or the kinds of search; None if it is switched off."""
    if value is True or value in ("true", "True", "TRUE"):
        return True
    if value is False or value in ("false", "False", "FALSE"):
        return None
    words = value if isinstance(value, list) else [value]
    at = [(*steps, n) if isinstance(value, list) else steps for n in range(len(words))]
    read = [
        check.choice(word, place, SEARCH_KINDS, remedy=_EXTRA)
        for word, place in zip(words, at, strict=True)
    ]
    if not read:
        check.wrong(steps, "expected true, web, image or [web, image], found an empty list")
    if None in read or not read:
        return None
    kinds = [kind for kind in SEARCH_KINDS if kind in read]
    return tuple(kinds)


def _system_instruction(check: Checker, value: Any, steps: Steps) -> str | None:
    return check.text(value, steps)


def _safety_settings(check: Checker, value: Any, steps: Steps) -> tuple[SafetySetting, ...] | None:
    """A list of categories and thresholds, or a mapping of the one to the other."""
    if isinstance(value, dict):
        pairs = [(name, one, (*steps, name), (*steps, name)) for name, one in value.items()]
    elif isinstance(value, list):
        pairs = []
        for n, one in enumerate(value):
            fields = check.mapping(one, (*steps, n), ("category", "threshold"))
            if not isinstance(one, dict):
                continue
            at = (*steps, n)
            pairs.append(
                (
                    fields.get("category"),
                    fields.get("threshold"),
                    (*at, "category"),
                    (*at, "threshold"),
                )
            )
    else:
        check.wrong(steps, f"expected categories with thresholds, found {shown(value)}")
        return None
    read = [
        (
            check.choice(_category(category), at, HARM_CATEGORIES, remedy=_EXTRA),
            check.choice(_upper(threshold), below, HARM_THRESHOLDS, remedy=_EXTRA),
        )
        for category, threshold, at, below in pairs
    ]
    settings = tuple(
        SafetySetting(category=_HARM + category, threshold=threshold)
        for category, threshold in read
        if category is not None and threshold is not None
    )
    if len({one.category for one in settings}) != len(settings):
        check.wrong(steps, "the same category is there twice")
    # Their order means nothing to the service; sorted, it means nothing to the content key.
    return tuple(sorted(settings, key=lambda one: one.category)) or None


def _category(value: Any) -> Any:
    return value.strip().upper().removeprefix(_HARM) if isinstance(value, str) else value


def _upper(value: Any) -> Any:
    return value.strip().upper() if isinstance(value, str) else value


def _number(least: float, most: float) -> ReadSetting:
    def read(check: Checker, value: Any, steps: Steps) -> float | None:
        return check.number(value, steps, least=least, most=most)

    return read


def _whole(least: float, most: float) -> ReadSetting:
    def read(check: Checker, value: Any, steps: Steps) -> int | None:
        number = check.number(value, steps, least=least, most=most, whole=True)
        return None if number is None else int(number)

    return read


def _switch(check: Checker, value: Any, steps: Steps) -> bool | None:
    return check.switch(value, steps)


def _extra(check: Checker, value: Any, steps: Steps) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        check.wrong(steps, f"expected a mapping, found {shown(value)}")
        return None
    if "contents" in value:
        message = "contents are what prompt, turns and references make; they cannot be in extra"
        check.at_key((*steps, "contents"), message)
        return None
    if not is_json(value):
        check.wrong(steps, "it holds a number that JSON has no word for")
        return None
    return value or None


def is_json(value: Any) -> bool:
    """Whether JSON has a word for all that is in it: no number is infinite."""
    match value:
        case float():
            return math.isfinite(value)
        case list():
            return all(map(is_json, value))
        case dict():
            return all(map(is_json, value.values()))
        case _:
            return True


def _tags(check: Checker, value: Any, steps: Steps) -> dict[str, str] | None:
    if not isinstance(value, dict):
        check.wrong(steps, f"expected a mapping of words, found {shown(value)}")
        return None
    tags = {name: _tag(check, one, (*steps, name)) for name, one in value.items()}
    return {name: text for name, text in tags.items() if text is not None}


def _tag(check: Checker, value: Any, steps: Steps) -> str | None:
    return "" if value == "" else check.text(value, steps)


READERS: Final[Mapping[str, ReadSetting]] = {
    "model": _model,
    "reference_max_px": _whole(MIN_REFERENCE_PX, MAX_REFERENCE_PX),
    "modalities": _modalities,
    "aspect_ratio": _ratio,
    "image_size": _size,
    "thinking_level": _thinking_level,
    "include_thoughts": _switch,
    "google_search": _search,
    "system_instruction": _system_instruction,
    "safety_settings": _safety_settings,
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "top_k": _whole(1, _INT32[1]),
    "seed": _whole(*_INT32),
    "store": _switch,
    "extra": _extra,
    "tags": _tags,
    "count": _whole(1, MAX_COUNT),
}
