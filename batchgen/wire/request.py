"""An item as the body of `POST {base}/v1beta/models/{model}:generateContent`.

A body holds what the user set and nothing else, `role` excepted, in camelCase: gateways drop
members spelt with underscores. Images are not in it: a body is a few pieces of JSON text with
the files named in between, and is encoded while it is sent, so its length is known exactly and
its images are never held in base64.

A turn of a conversation is sent with all that came before it: each user message as it was, and
after it the model's own content, byte for byte from disk, with the signatures that stand in it.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import quote

import msgspec
import pybase64

from batchgen.model import Item, ReferenceFile, Turn

# What a file is read in: a multiple of 3, so that the base64 pieces join without padding.
READ_BYTES: Final = 3 << 18

# The members of a body that hold parts.
_WITH_PARTS: Final = frozenset({"contents", "systemInstruction"})

ReadFile: TypeAlias = Callable[[ReferenceFile, int], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class Verbatim:
    """A file whose bytes go into a body as they are, but for the first few."""

    file: ReferenceFile
    skip_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        """How many bytes of it are sent."""
        return self.file.size_bytes - self.skip_bytes


Piece: TypeAlias = bytes | ReferenceFile | Verbatim


@dataclass(frozen=True, slots=True)
class ModelContent:
    """What the model said in an earlier turn: a file with its `content` object.

    Attributes:
        has_role: Whether the object says itself that it is the model's; without it, it is added.
    """

    file: ReferenceFile
    has_role: bool = True

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The object as it stands in a conversation."""
        if self.has_role:
            return (Verbatim(self.file),)
        return (b'{"role":"model",', Verbatim(self.file, skip_bytes=len(b"{")))


@dataclass(frozen=True, slots=True)
class RequestBody:
    """A body in pieces: JSON text as bytes, images and earlier answers as files.

    Attributes:
        pieces: In order; a reference stands where its base64 text goes.
    """

    pieces: tuple[Piece, ...]

    @property
    def length_bytes(self) -> int:
        """The exact Content-Length."""
        return sum(map(_length_bytes, self.pieces))

    @property
    def files(self) -> tuple[ReferenceFile, ...]:
        """The files that go with it, each once."""
        files = (_file_of(piece) for piece in self.pieces)
        return tuple(dict.fromkeys(file for file in files if file is not None))

    def with_files(self, files: Mapping[ReferenceFile, ReferenceFile]) -> "RequestBody":
        """The same with files that say the same, and lie elsewhere."""
        return RequestBody(tuple(_with_file(piece, files) for piece in self.pieces))

    def anywhere(self) -> "RequestBody":
        """The same for a process that works in another directory."""
        return self.with_files({file: _absolute(file) for file in self.files})

    async def chunks(self, read: ReadFile) -> AsyncIterator[bytes]:
        """Encode the body for one attempt; a new iteration is needed for each.

        Args:
            read: Yields a file's bytes in steps of exactly the given number, the last excepted,
                and raises MissingReference if the file is not what it was.
        """
        for piece in self.pieces:
            match piece:
                case bytes():
                    yield piece
                case Verbatim(file, skip_bytes):
                    async for raw in read(file, READ_BYTES):
                        yield raw[skip_bytes:]
                        skip_bytes = 0
                case ReferenceFile():
                    async for raw in read(piece, READ_BYTES):
                        yield pybase64.b64encode(raw)


def _file_of(piece: Piece) -> ReferenceFile | None:
    match piece:
        case bytes():
            return None
        case Verbatim(file):
            return file
        case ReferenceFile():
            return piece


def _with_file(piece: Piece, files: Mapping[ReferenceFile, ReferenceFile]) -> Piece:
    match piece:
        case bytes():
            return piece
        case Verbatim(file):
            return replace(piece, file=files[file])
        case ReferenceFile():
            return files[piece]


def _absolute(file: ReferenceFile) -> ReferenceFile:
    return msgspec.structs.replace(file, path=str(Path(file.path).absolute()))


def _length_bytes(piece: Piece) -> int:
    match piece:
        case bytes():
            return len(piece)
        case Verbatim():
            return piece.size_bytes
        case ReferenceFile():
            return -(-piece.size_bytes // 3) * 4


def endpoint_path(model: str) -> str:
    """The path of a model's generateContent, percent-encoded; `models/` in front is tolerated."""
    return f"/v1beta/models/{quote(model.removeprefix('models/'), safe='')}:generateContent"


def build_body(
    item: Item,
    files: Sequence[ReferenceFile],
    *,
    turn: int = 1,
    contents: Sequence[ModelContent] = (),
    picture: ReferenceFile | None = None,
) -> RequestBody:
    """Build the body of one turn of an item.

    Args:
        item: What to ask for. Its `extra` must not hold `contents`.
        files: The references of all turns that are sent, opened, in the item's order.
        turn: Which turn is asked for, from 1.
        contents: What the model said in the turns right before it. The conversation that is sent
            begins with the first of these turns; without any it is this turn alone.
        picture: Stands in the first message for all turns before that one: what is to be edited.
    """
    if item.request is not None:
        return RequestBody((msgspec.json.encode(_relabelled(with_roles(item.request))),))
    turns = item.conversation[turn - 1 - len(contents) : turn]
    rest = _relabelled(_settings(item))
    pieces: list[Piece] = [b'{"contents":[']
    pieces += _messages(turns, files, contents, picture)
    pieces.append(b"]" + (b"," + msgspec.json.encode(rest)[1:] if rest else b"}"))
    return RequestBody(tuple(_joined(pieces)))


def asked_geometry(item: Item) -> tuple[str | None, str | None]:
    """The ratio and the image size that an item asks for, wherever it says so."""
    if item.request is None and item.extra is None:
        return item.aspect_ratio, item.image_size
    config = _asked_config(item, "imageConfig")
    ratio, size = config.get("aspectRatio"), config.get("imageSize")
    return (ratio if isinstance(ratio, str) else None, _size_word(size))


def _size_word(size: Any) -> str | None:
    """A size in the spelling of the job file, however it is written in a body."""
    if type(size) is int:
        size = str(size)
    if not isinstance(size, str):
        return None
    word = size.strip().upper()
    return {"512PX": "512", "0.5K": "512"}.get(word, word)


def asked_size(item: Item) -> str | None:
    """The image size that an item asks for, wherever it says so."""
    return asked_geometry(item)[1]


def asks_for_thoughts(item: Item) -> bool:
    """Whether an item asks for thoughts, which may hold pictures, wherever it says so."""
    if item.request is None and item.extra is None:
        return bool(item.include_thoughts)
    return bool(_asked_config(item, "thinkingConfig").get("includeThoughts"))


def _asked_config(item: Item, name: str) -> dict[str, Any]:
    """A mapping of the generationConfig that is sent."""
    body: Any = _settings(item) if item.request is None else item.request
    for step in ("generationConfig", name):
        body = body.get(step) if isinstance(body, dict) else None
    return body if isinstance(body, dict) else {}


# --- the conversation ---------------------------------------------------------------------------


def _messages(
    turns: Sequence[Turn],
    files: Sequence[ReferenceFile],
    contents: Sequence[ModelContent],
    picture: ReferenceFile | None,
) -> Iterator[Piece]:
    """The messages of the user, with the model's in between, separated by commas."""
    at = 0
    for n, (turn, content) in enumerate(zip_longest(turns, contents)):
        # The last turn takes what is left, so that a file too many is seen.
        end = at + len(turn.references) if content is not None else len(files)
        yield (b"," if n else b"") + b'{"role":"user","parts":['
        yield from _parts(turn, files[at:end], picture if n == 0 else None)
        yield b"]}"
        if content is not None:
            yield b","
            yield from content.pieces
        at = end


def _parts(
    turn: Turn, files: Sequence[ReferenceFile], picture: ReferenceFile | None
) -> Iterator[Piece]:
    """The text, then each reference after its label, separated by commas."""
    yield msgspec.json.encode({"text": turn.prompt})
    if picture is not None:
        yield from _inline(picture)
    for reference, file in zip(turn.references, files, strict=True):
        if reference.label is not None:
            yield b"," + msgspec.json.encode({"text": reference.label})
        yield from _inline(file)


def _inline(file: ReferenceFile) -> Iterator[Piece]:
    yield b',{"inlineData":{"mimeType":' + msgspec.json.encode(file.mime) + b',"data":"'
    yield file
    yield b'"}}'


def with_roles(request: dict[str, Any]) -> dict[str, Any]:
    """A raw body as it is; a content that does not say whose it is, is the user's."""
    contents = request.get("contents")
    if isinstance(contents, dict):
        return {**request, "contents": _with_role(contents)}
    if isinstance(contents, list):
        return {**request, "contents": [_with_role(content) for content in contents]}
    return request


def _with_role(content: Any) -> Any:
    if isinstance(content, dict) and content.get("role") is None:
        return {**content, "role": "user"}
    return content


def _relabelled(request: dict[str, Any]) -> dict[str, Any]:
    """A body without the label `image/jpg`, which no service takes and many people write."""
    return {
        name: _with_jpeg(value) if name in _WITH_PARTS else value for name, value in request.items()
    }


def _with_jpeg(value: Any) -> Any:
    """The same with `image/jpeg` for each mimeType of a part that says `image/jpg`."""
    match value:
        case list():
            return [_with_jpeg(one) for one in value]
        case {"parts": parts}:
            return {**value, "parts": _with_jpeg(parts)}
        case {"inlineData": {"mimeType": str(label)} as inline} if _is_jpg(label):
            return {**value, "inlineData": {**inline, "mimeType": "image/jpeg"}}
        case {"fileData": {"mimeType": str(label)} as file} if _is_jpg(label):
            return {**value, "fileData": {**file, "mimeType": "image/jpeg"}}
        case _:
            return value


def _is_jpg(label: str) -> bool:
    return label.lower() == "image/jpg"


# --- everything else ----------------------------------------------------------------------------


def _settings(item: Item) -> dict[str, Any]:
    """Every top-level member besides `contents`; only what is set, `extra` merged last."""
    system = item.system_instruction
    settings = _set(
        systemInstruction=None if system is None else {"parts": [{"text": system}]},
        generationConfig=_generation_config(item) or None,
        tools=_tools(item),
        safetySettings=item.safety_settings,
        store=item.store,
    )
    return _merged(settings, item.extra or {})


def _generation_config(item: Item) -> dict[str, Any]:
    level = item.thinking_level
    image = _set(aspectRatio=item.aspect_ratio, imageSize=item.image_size)
    thinking = _set(
        thinkingLevel=None if level is None else level.upper(),
        includeThoughts=item.include_thoughts,
    )
    return _set(
        responseModalities=item.modalities,
        imageConfig=image or None,
        thinkingConfig=thinking or None,
        temperature=item.temperature,
        topP=item.top_p,
        topK=item.top_k,
        seed=item.seed,
    )


def _tools(item: Item) -> list[dict[str, Any]] | None:
    match item.google_search:
        case None | False:
            return None
        case True | ():
            return [{"googleSearch": {}}]
        case kinds:
            return [{"googleSearch": {"searchTypes": {f"{kind}Search": {} for kind in kinds}}}]


def _set(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Maps are merged deeply; anything else, lists included, is replaced."""
    merged = dict(base)
    for name, value in over.items():
        below = merged.get(name)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[name] = _merged(below, value)
        else:
            merged[name] = value
    return merged


def _joined(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """Join neighbouring texts, so that a body without files is one piece."""
    text = bytearray()
    for piece in pieces:
        if isinstance(piece, bytes):
            text += piece
            continue
        if text:
            yield bytes(text)
            text.clear()
        yield piece
    yield bytes(text)
