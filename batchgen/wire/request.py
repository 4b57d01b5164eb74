"""An item as the body of `POST {base}/v1beta/models/{model}:generateContent`.

A body holds what the user set and nothing else, `role` excepted, in camelCase: gateways drop
members spelt with underscores. References are not in it: a body is a few pieces of JSON text with
the files named in between, and is encoded while it is sent, so its length is known exactly and
its images are never held in base64.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import quote

import msgspec
import pybase64

from batchgen.model import Item, ReferenceFile, Turn

# What a file is read in: a multiple of 3, so that the base64 pieces join without padding.
READ_BYTES: Final = 3 << 18

ReadFile: TypeAlias = Callable[[ReferenceFile, int], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class RequestBody:
    """A body in pieces: JSON text as bytes, references as files.

    Attributes:
        pieces: In order; each file stands where its base64 text goes.
    """

    pieces: tuple[bytes | ReferenceFile, ...]

    @property
    def length_bytes(self) -> int:
        """The exact Content-Length."""
        return sum(
            len(piece) if isinstance(piece, bytes) else -(-piece.size_bytes // 3) * 4
            for piece in self.pieces
        )

    async def chunks(self, read: ReadFile) -> AsyncIterator[bytes]:
        """Encode the body for one attempt; a new iteration is needed for each.

        Args:
            read: Yields a file's bytes in steps of exactly the given number, the last excepted,
                and raises MissingReference if the file is not what it was.
        """
        for piece in self.pieces:
            if isinstance(piece, bytes):
                yield piece
            else:
                async for raw in read(piece, READ_BYTES):
                    yield pybase64.b64encode(raw)


def endpoint_path(model: str) -> str:
    """The path of a model's generateContent, percent-encoded; `models/` in front is tolerated."""
    return f"/v1beta/models/{quote(model.removeprefix('models/'), safe='')}:generateContent"


def build_body(item: Item, files: Sequence[ReferenceFile]) -> RequestBody:
    """Build the body of an item's only turn.

    Args:
        item: What to ask for.
        files: Its references, opened, in the item's order.
    """
    (turn,) = item.conversation
    rest = _settings(item)
    head: list[bytes | ReferenceFile] = [b'{"contents":[{"role":"user","parts":[']
    tail = b"]}]" + (b"," + msgspec.json.encode(rest)[1:] if rest else b"}")
    return RequestBody(tuple(_joined([*head, *_parts(turn, files), tail])))


def _parts(turn: Turn, files: Sequence[ReferenceFile]) -> Iterator[bytes | ReferenceFile]:
    """The text, then each reference after its label, separated by commas."""
    yield msgspec.json.encode({"text": turn.prompt})
    for reference, file in zip(turn.references, files, strict=True):
        if reference.label is not None:
            yield b"," + msgspec.json.encode({"text": reference.label})
        yield b',{"inlineData":{"mimeType":' + msgspec.json.encode(file.mime) + b',"data":"'
        yield file
        yield b'"}}'


def _settings(item: Item) -> dict[str, Any]:
    """Every top-level member besides `contents`; only what is set."""
    image = _set(aspectRatio=item.aspect_ratio, imageSize=item.image_size)
    generation = _set(responseModalities=item.modalities, imageConfig=image or None)
    return _set(generationConfig=generation or None)


def _set(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _joined(
    pieces: Sequence[bytes | ReferenceFile],
) -> Iterator[bytes | ReferenceFile]:
    """Join neighbouring texts, so that a body without references is one piece."""
    text = bytearray()
    for piece in pieces:
        if isinstance(piece, bytes):
            text += piece
        else:
            yield bytes(text)
            text.clear()
            yield piece
    yield bytes(text)
