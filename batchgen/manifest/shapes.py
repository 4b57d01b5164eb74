"""Items that differ from an earlier one in nothing but id, prompt and tags.

A job of a million lines mixes few settings and references. The first item of each kind is read
with every check there is; those that follow take after it, and only what is their own is looked
at. An item that is in any way unusual is none of these, and is read like a first one.

Cost: about 4 microseconds a line of JSON, where one that is read in full takes some 30
microseconds; the figures of whole jobs are in benchmarks/RESULTS.md.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from batchgen.model import Item, content_key_text

# Ids that are in their normal form as they stand.
_ID: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._ :#-]{0,179}\Z")
_MAX_PROMPT_CHARS: Final = 100_000
MAX_USUAL_PROMPT_BYTES: Final = 4 * _MAX_PROMPT_CHARS
_MAX_SHAPES: Final = 4_096

Shape: TypeAlias = tuple[object, ...]


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A usual line: text throughout, and no other fields."""

    id: str
    prompt: Annotated[str, msgspec.Meta(min_length=1, max_length=_MAX_PROMPT_CHARS)]
    model: str | None = None
    aspect_ratio: str | None = None
    image_size: str | None = None
    modalities: tuple[str, ...] | None = None
    references: tuple[str, ...] | None = None
    tags: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """An item that others are like.

    Attributes:
        hashed: What its key is made of, up to the prompt.
        after: The same behind the prompt.
    """

    item: Item
    hashed: "hashlib._Hash"
    after: bytes
    warnings: tuple[str, ...]


class Shapes:
    """The kinds of lines of one job.

    Memory: at most 4,096 kinds; a job with more of them starts anew.
    """

    def __init__(self, warn_again: Callable[[str], object]) -> None:
        """Start without kinds.

        Args:
            warn_again: Told of a warning that a line shares with the first of its kind.
        """
        self._known: dict[Shape, _Known] = {}
        self._warn_again = warn_again

    def like(self, line: Line) -> Item | None:
        """The item of a line whose kind is known; None if it has to be read in full."""
        known = self._known.get(_shape(line))
        if known is None or not _is_usual(line):
            return None
        for warning in known.warnings:
            self._warn_again(warning)
        hashed = known.hashed.copy()
        hashed.update(_encode(line.prompt))
        hashed.update(known.after)
        key = hashed.hexdigest()
        tags = known.item.tags if line.tags is None else line.tags
        return _replace(known.item, id=line.id, prompt=line.prompt, key=key, tags=tags)

    def learn(self, line: Line, item: Item, warnings: tuple[str, ...]) -> None:
        """Take a line that was read in full for the first of its kind."""
        if not _is_usual(line):
            return
        if len(self._known) >= _MAX_SHAPES:
            self._known.clear()
        before, after = key_halves(item)
        self._known[_shape(line)] = _Known(item, hashlib.sha256(before), after, warnings)


def usual_line(raw: bytes) -> Line | None:
    """Read a line that has only text in it; None if it is another, or none at all.

    JSON readers take the last of two equal keys without a word. Here every string is known, so
    that one that went unseen shows in the number of quotes.
    """
    try:
        line = _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    n_quotes = raw.count(b'"')
    if _BACKSLASH in raw:  # a number is found in a fifth of the time
        if b"\\\\" in raw:  # then a quote that follows may be escaped or not
            return None
        n_quotes -= raw.count(b'\\"')
    return line if n_quotes == 2 * _n_strings(line) else None


def usual_fields(fields: Any) -> Line | None:
    """Fields that have only text in them as a line; None if there is anything else."""
    try:
        line = msgspec.convert(fields, Line)
    except msgspec.ValidationError:
        return None
    return None if None in fields.values() else line  # which unsets a default


def key_halves(item: Item) -> tuple[bytes, bytes]:
    """What is hashed for an item's content key before and after its prompt."""
    hashed = content_key_text(msgspec.structs.replace(item, prompt=""))
    before, mark, after = hashed.rpartition(_PROMPT)
    return before + mark[:-2], after


def _n_strings(line: Line) -> int:
    """How many strings a line holds, keys among them."""
    n = 4
    if line.model is not None:
        n += 2
    if line.aspect_ratio is not None:
        n += 2
    if line.image_size is not None:
        n += 2
    if line.modalities is not None:
        n += 1 + len(line.modalities)
    if line.references is not None:
        n += 1 + len(line.references)
    if line.tags is not None:
        n += 1 + 2 * len(line.tags)
    return n


def _shape(line: Line) -> Shape:
    """What a line has in common with others."""
    return (
        line.model,
        line.aspect_ratio,
        line.image_size,
        line.modalities,
        line.references,
        line.tags is None,
    )


def _is_usual(line: Line) -> bool:
    """Whether what is the line's own needs no closer look."""
    if line.prompt.isspace() or not _id(line.id):
        return False
    if line.tags:
        for text in line.tags.values():
            if text.isspace():
                return False
    return True


_BACKSLASH: Final = ord("\\")
_PROMPT: Final = b'"turns":[{"prompt":""'
_decode: Final = msgspec.json.Decoder(Line).decode
_encode: Final = msgspec.json.Encoder().encode
_replace: Final = msgspec.structs.replace
_id: Final = _ID.match
