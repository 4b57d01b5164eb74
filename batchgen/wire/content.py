"""The model's `content` of one turn: taken out of an answer, kept on disk, judged before reuse.

    skeleton of an answer ──> content_of ──> split_content ──> the pieces of a file
    bytes of that file ─────> read_stored ──> why_unusable ──> sent back in the next turn, or not

The service wants its own content back as it was, each signature on the part that it came on. So
nothing is left out of it and nothing is put in; only the images, which were taken out while the
answer arrived, go back into their places.

Source: docs/api-notes.md, section 6 (signatures); the rule for what must carry one is Google's.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from batchgen.errors import AttemptError
from batchgen.sanitize import printable
from batchgen.wire.envelope import answer_in, is_thought, several
from batchgen.wire.stream import ReplyStream

_INLINE: Final = frozenset({"inlineData", "inline_data"})
# The images that may stand in a request.
_TAKEN_BACK: Final = frozenset(f"image/{kind}" for kind in ("png", "jpeg", "webp", "heic", "heif"))
_NUMBER: Final = re.compile(r"[0-9]{1,3}")


def content_of(skeleton: bytes | str, candidate: int = 0) -> dict[str, Any] | None:
    """The `content` of one of an answer's candidates; None if it cannot be read."""
    document = answer_in(_parse(skeleton)) or {}
    try:
        content = several(document.get("candidates"))[candidate]["content"]
    except (TypeError, KeyError, IndexError):
        return None
    return content if isinstance(content, dict) else None


def split_content(content: dict[str, Any]) -> list[bytes | int]:
    """A content as JSON text, with the number of an image where its base64 text goes.

    Raises:
        ValueError: It holds a number beyond all bounds.
    """
    pieces: list[bytes | int] = []
    text = bytearray()
    for piece in _pieces(content):
        if isinstance(piece, bytes):
            text += piece
        else:
            pieces += (bytes(text), piece)
            text.clear()
    return [*pieces, bytes(text)]


def _pieces(value: Any, *, is_inline: bool = False) -> Iterator[bytes | int]:
    match value:
        case dict():
            for n, (name, one) in enumerate(value.items()):
                yield (b"," if n else b"{") + _json(name) + b":"
                if is_inline and name == "data" and _is_number(one):
                    yield b'"'
                    yield int(one)
                    yield b'"'
                else:
                    yield from _pieces(one, is_inline=name in _INLINE)
            yield b"}" if value else b"{}"
        case list():
            for n, one in enumerate(value):
                yield b"," if n else b"["
                yield from _pieces(one)
            yield b"]" if value else b"[]"
        case _TooLong():
            raise ValueError("a number of thousands of digits")
        case _:
            yield _json(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, str) and _NUMBER.fullmatch(value) is not None


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False).encode()


class _TooLong:
    """A whole number of more digits than Python reads, or writes."""


def _integer(digits: str) -> int | _TooLong:
    try:
        return int(digits)
    except ValueError:
        return _TooLong()


def _parse(text: bytes | str) -> Any:
    try:
        return json.loads(text, strict=False, parse_int=_integer)
    except (ValueError, RecursionError):
        return None


# --- what is kept, read again -------------------------------------------------------------------


@dataclass(slots=True)
class _Digest:
    """The sink of an image that nobody needs but for its name."""

    seen: list[str]
    _sha256: Any = field(default_factory=hashlib.sha256)

    def write(self, data: bytes) -> None:
        self._sha256.update(data)

    def close(self, fault: str | None) -> None:
        if fault is None:
            self.seen.append(self._sha256.hexdigest())


@dataclass(frozen=True, slots=True)
class StoredContent:
    """A content read from its file: its JSON without the images, and their SHA-256."""

    content: dict[str, Any]
    images: tuple[str, ...]

    @property
    def has_role(self) -> bool:
        """Whether it says whose it is."""
        return "role" in self.content


def read_stored(chunks: Iterable[bytes]) -> StoredContent | None:
    """Read a content back; None if it is not whole, or none of ours.

    Memory: as little as an answer takes while it arrives; the images are only hashed.
    """
    images: list[str] = []
    stream = ReplyStream(lambda _: _Digest(images))
    begins_well = None
    try:
        for chunk in chunks:
            begins_well = chunk.startswith(b"{") if begins_well is None else begins_well
            stream.feed(chunk)
        stream.end()
    except AttemptError:
        return None
    content = _parse(stream.skeleton())
    if not begins_well or stream.is_shortened or not isinstance(content, dict):
        return None
    return StoredContent(content, tuple(images))


def why_unusable(content: dict[str, Any], *, needs_signatures: bool) -> str | None:
    """Why the service would refuse this content in a conversation; None if it would not.

    Where the model needs signatures, one is due on the first part after the thoughts, and on every
    image after them.
    """
    if content.get("role", "model") != "model":
        return "the answer was not given in the role of the model"
    if odd := [label for label in _labels(content) if label not in _TAKEN_BACK]:
        return f"a picture of it is labelled {odd[0]}, which no service takes back"
    if not needs_signatures:
        return None
    parts = content.get("parts")
    shown = [
        part
        for part in (parts if isinstance(parts, list) else ())
        if isinstance(part, dict) and not is_thought(part)
    ]
    due = [part for n, part in enumerate(shown) if n == 0 or not _INLINE.isdisjoint(part)]
    if due and all(_is_signed(part) for part in due):
        return None
    return "the answer came without its thoughtSignature"


def _labels(content: dict[str, Any]) -> Iterator[str]:
    """What the images of a content are labelled with."""
    for part in several(content.get("parts")):
        for name in _INLINE:
            inline = part.get(name) if isinstance(part, dict) else None
            if isinstance(inline, dict):
                label = inline.get("mimeType", inline.get("mime_type"))
                yield printable(str(label), 60).lower()


def _is_signed(part: dict[str, Any]) -> bool:
    return bool(part.get("thoughtSignature") or part.get("thought_signature"))
