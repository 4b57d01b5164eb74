"""One item as the page shows it: what it asks for, where it stands, its pictures and its calls.

A card is data, and its JSON is what the page's script draws. Nothing in it is markup.
"""

import os
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import msgspec

from batchgen.acceptance import why_final_differs
from batchgen.model import (
    Attempt,
    ImageFile,
    Item,
    Outcome,
    Reference,
    Result,
    Status,
    Tokens,
    Turn,
)
from batchgen.report.trail import Trail, Try
from batchgen.review import Mark
from batchgen.store.history import History, final_image, turn_names
from batchgen.store.layout import EXTENSIONS, Layout
from batchgen.wire.grounding import Grounding, merged, read_grounding

# Of words that somebody else wrote, a page shows so many characters.
MAX_CHARS: Final = 20_000
_SHORT: Final = 4_000
_SETTINGS: Final = (
    *("aspect_ratio", "image_size", "thinking_level", "include_thoughts", "google_search"),
    *("modalities", "temperature", "top_p", "top_k", "seed", "store", "safety_settings"),
    *("reference_max_px", "extra"),
)


class Picture(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A picture that lies in the job's directory, or beside the job: a reference.

    Attributes:
        label: What it is: `draft 2`, `picture of turn 1`; a reference's name.
        path: Relative to the job's directory; None if nobody knows where it is.
        sha256: Names its thumbnail.
        is_inside: It lies in the job's directory.
        thumbnail: There is one.
        item: The item whose picture it is, of a reference.
        url: Where it was fetched from.
    """

    label: str = ""
    path: str | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    is_inside: bool = True
    thumbnail: bool = False
    item: str | None = None
    url: str | None = None


class Asked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One turn: its words and its references."""

    prompt: str
    references: tuple[Picture, ...] = ()


class Link(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A page that an answer went by, or asks to be shown."""

    title: str
    uri: str


class Found(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What answers were grounded in."""

    queries: tuple[str, ...] = ()
    image_queries: tuple[str, ...] = ()
    sources: tuple[Link, ...] = ()
    suggestions: tuple[Link, ...] = ()


class Card(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One item. Members without a value are left out of its JSON.

    Attributes:
        n: Its place in the job, from 0.
        error: Why it has no picture.
        usd: Over all its calls, as far as that is known.
        wrong_size: How its picture differs from what it asked for.
        pictures: Those besides the final one: earlier turns, drafts, thoughts, what was set aside.
        before: The final pictures that it had before this one and that are still there.
        request: A raw request, as JSON.
        is_under_way: A call for it has left and has not ended; only a page that is live knows.
        mark, mark_note: What somebody thinks of the picture.
    """

    id: str
    n: int
    key: str
    status: Status
    outcome: Outcome | None = None
    error: str | None = None
    model: str
    model_version: str | None = None
    tags: dict[str, str] = {}
    usd: Decimal | None = None
    attempts: int = 0
    tokens: Tokens | None = None
    run: str | None = None
    at: str | None = None
    image: Picture | None = None
    wrong_size: str | None = None
    pictures: tuple[Picture, ...] = ()
    before: tuple[Picture, ...] = ()
    turns: tuple[Asked, ...] = ()
    request: str | None = None
    system: str | None = None
    settings: dict[str, str] = {}
    text: str | None = None
    notes: tuple[str, ...] = ()
    found: Found | None = None
    tries: tuple[Try, ...] = ()
    is_under_way: bool = False
    mark: str | None = None
    mark_note: str | None = None

    @property
    def all_pictures(self) -> Iterator[Picture]:
        """Its own pictures, those of before, and the references."""
        if self.image is not None:
            yield self.image
        yield from self.before
        yield from self.pictures
        for turn in self.turns:
            yield from turn.references


@dataclass(frozen=True, slots=True)
class Cards:
    """Makes cards, from what is known of a job's directory.

    Attributes:
        marks: What was thought of pictures, by the ids of their items.
        thumbnails: The SHA-256 of the pictures that have one; None if all have.
    """

    layout: Layout
    history: History
    trail: Trail
    marks: Mapping[str, Mark]
    thumbnails: Container[str] | None

    def card(self, n: int, item: Item, result: Result) -> Card:
        """One item's card.

        Args:
            n: Its place in the job, from 0.
            item: What it asks for, with the pictures that it builds on.
            result: Where it stands.
        """
        known = (self.history.past(name) for name in turn_names(item))
        lines = [past.last for past in known if past is not None]
        final = final_image(result.images)
        mark = self.marks.get(item.id)
        if mark is not None and (final is None or mark.sha256 != final.sha256):
            mark = None  # another picture was made since
        return Card(
            id=item.id,
            n=n,
            key=item.key,
            status=result.status,
            outcome=None if result.status == "done" else result.outcome,
            error=result.error.message[:_SHORT] if result.error else None,
            model=item.model,
            model_version=lines[-1].model_version if lines else None,
            tags=item.tags,
            usd=result.cost_usd,
            attempts=result.attempts,
            tokens=result.tokens,
            run=result.run_id,
            at=result.finished_at,
            image=None if final is None else self._made("", final),
            wrong_size=why_final_differs(item, result.images),
            pictures=tuple(self._made(label, image) for label, image in pictures_besides(lines)),
            before=tuple(self._before(item.id, final)),
            turns=tuple(self._asked(turn) for turn in _conversation(item)),
            request=None if item.request is None else as_text(item.request, MAX_CHARS),
            system=item.system_instruction,
            settings=dict(_settings(item)),
            text=result.text[:MAX_CHARS] if result.text else None,
            notes=tuple(line.note for line in lines if isinstance(line.note, str)),
            found=_found(lines),
            tries=tuple(self.trail.tries(item.id)),
            mark=None if mark is None or mark.mark == "none" else mark.mark,
            mark_note=None if mark is None else mark.note,
        )

    def _has_thumbnail(self, sha256: str) -> bool:
        return self.thumbnails is None or sha256 in self.thumbnails

    def _made(self, label: str, image: ImageFile) -> Picture:
        return Picture(
            label=label,
            path=image.path,
            sha256=image.sha256,
            width=image.width,
            height=image.height,
            bytes=image.bytes,
            thumbnail=self._has_thumbnail(image.sha256),
        )

    def _before(self, item_id: str, final: ImageFile | None) -> Iterator[Picture]:
        """Earlier final pictures that were kept: `review` and edited files are set aside."""
        for image in self.trail.made(item_id):
            if final is not None and image.sha256 == final.sha256:
                continue
            if (path := self._kept_at(image)) is not None:
                yield self._made("before", msgspec.structs.replace(image, path=path))

    def _kept_at(self, image: ImageFile) -> str | None:
        place = self.layout.root / "quarantine" / image.path
        if not place.parent.is_dir():
            return None
        for number in range(1, 100):
            kept = place.with_name(f"{place.stem}.{number}{place.suffix}")
            try:
                if kept.stat(follow_symlinks=False).st_size == image.bytes:
                    return self.layout.relative(kept)
            except OSError:
                return None
        return None

    def _asked(self, turn: Turn) -> Asked:
        return Asked(
            prompt=turn.prompt, references=tuple(self._reference(ref) for ref in turn.references)
        )

    def _reference(self, reference: Reference) -> Picture:
        path, sha256 = self.file_of(reference), reference.sha256
        relative = None if path is None else _relative(path, self.layout.root)
        return Picture(
            label=reference.label or "",
            path=relative,
            sha256=sha256,
            is_inside=relative is not None and not relative.startswith(".."),
            thumbnail=sha256 is not None and self._has_thumbnail(sha256),
            item=reference.item,
            url=reference.url,
        )

    def file_of(self, reference: Reference) -> Path | None:
        """Where a reference lies; one that was fetched lies in the job's cache."""
        if reference.path is not None:
            return Path(reference.path)
        if reference.sha256 is None:
            return None
        for extension in EXTENSIONS:
            cached = self.layout.references / f"{reference.sha256}.{extension}"
            if cached.is_file():
                return cached
        return None


@lru_cache(1024)  # many items name few files
def _relative(path: Path, root: Path) -> str:
    return Path(os.path.relpath(path, root.resolve())).as_posix()


def pictures_besides(lines: Sequence[Attempt]) -> Iterator[tuple[str, ImageFile]]:
    """The pictures of an item besides its final one, each with what it is called.

    Args:
        lines: The last attempt of each turn, in order.
    """
    others = [
        (_called(line, image), image)
        for line in lines
        for image in line.images
        if image.role != "final"
    ]
    if not others:
        return
    n_of, seen = Counter(name for name, _ in others), Counter[str]()
    for name, image in others:
        seen[name] += 1
        yield (f"{name} {seen[name]}" if n_of[name] > 1 else name), image


def _called(line: Attempt, image: ImageFile) -> str:
    match image.role:
        case "quarantine":
            return "set aside"
        case "draft" if image.path.startswith("turns/"):
            return f"picture of turn {line.turn}"
        case role:
            return role


def _conversation(item: Item) -> tuple[Turn, ...]:
    """The turns of an item; of a raw request all its words as one."""
    if item.request is None:
        return item.conversation
    return (Turn(prompt="\n".join(_texts(item.request.get("contents")))),)


def _texts(contents: Any) -> Iterator[str]:
    """The texts of a raw request, in order; whatever else it holds is passed over."""
    for content in _listed(contents):
        parts = content.get("parts") if isinstance(content, dict) else None
        for part in _listed(parts):
            text = part.get("text") if isinstance(part, dict) else None
            if isinstance(text, str):
                yield text


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _settings(item: Item) -> Iterator[tuple[str, str]]:
    """What an item sets, by the names of the job file."""
    for name in _SETTINGS:
        value = getattr(item, name)
        if value is not None:
            yield name, value if isinstance(value, str) else as_text(value, _SHORT)
    if item.copy > 1:
        yield "copy", str(item.copy)


def as_text(value: Any, max_chars: int) -> str:
    """A value as JSON, as far as there is room."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= max_chars else f"{text[:max_chars]}…"


def _found(lines: Sequence[Attempt]) -> Found | None:
    read = (read_grounding(line.grounding) for line in lines if line.grounding is not None)
    told = [grounding for grounding in read if grounding is not None]
    found = merged(told) if told else Grounding()
    if found == Grounding():
        return None
    return Found(
        queries=found.queries,
        image_queries=found.image_queries,
        sources=tuple(Link(title=one.title, uri=one.uri) for one in found.sources),
        suggestions=tuple(Link(title=one.words, uri=one.uri) for one in found.suggestions),
    )
