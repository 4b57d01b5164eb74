"""What a whole answer says: its images, its words, and why there may be no picture."""

import json
import re
from collections.abc import Container, Iterator
from itertools import chain
from typing import Any, Final, Literal, TypeAlias

import msgspec

from batchgen.errors import (
    AttemptError,
    BadReply,
    Blocked,
    NoImage,
    PromptBlocked,
    TextOnly,
    Unauthorized,
)
from batchgen.sanitize import printable
from batchgen.wire.envelope import answer_in, is_thought, several
from batchgen.wire.fault import read_fault

Role: TypeAlias = Literal["final", "draft", "thought"]

MAX_TEXT_CHARS: Final = 64 << 10
# Sane ones have some hundred bytes and some thousand; each is kept for as long as the run goes on.
MAX_USAGE_BYTES: Final = 16 << 10
MAX_GROUNDING_BYTES: Final = 128 << 10
_MAX_NAME_CHARS: Final = 120
_MAX_INT_DIGITS: Final = 400
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_NUMBER: Final = re.compile(r"[0-9]{1,3}")

# Refusals by finishReason: the same prompt meets the same refusal, so it is not sent again.
_REFUSED: Final = frozenset(
    {
        *("SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "LANGUAGE", "RECITATION"),
        *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
        *("MODEL_ARMOR", "ESCALATION"),
    }
)
# No picture, and worth one more try: semi-random by report.
_ODD: Final = frozenset(
    {
        *("IMAGE_OTHER", "OTHER", "MALFORMED_RESPONSE", "FINISH_REASON_UNSPECIFIED"),
        *("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"),
        "CONTINUATION",
    }
)
_HOPELESS: Final = {
    "MAX_TOKENS": "the answer was cut at its token limit: remove maxOutputTokens",
    "MISSING_THOUGHT_SIGNATURE": "the conversation lost a thoughtSignature",
}


class ReplyImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image part of an answer.

    Attributes:
        index: Numbers the sinks in order of arrival.
        role: `final` is the last that is no thought; those before it are drafts.
    """

    index: int
    role: Role


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of generateContent, read from its skeleton; every member may be missing.

    Attributes:
        candidate: Which candidate is the answer: the first with a picture that is no thought.
            Pictures of others count as drafts.
        addresses: Of pictures that the answer names instead of holding them.
        note: What else is worth telling of an answer with a picture.
    """

    candidate: int = 0
    images: tuple[ReplyImage, ...] = ()
    addresses: tuple[str, ...] = ()
    text: str | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    block_reason: str | None = None
    usage: Any = None
    model_version: str | None = None
    response_id: str | None = None
    grounding: Any = None
    note: str | None = None

    @property
    def final(self) -> ReplyImage | None:
        """The picture; None if there is none but among the thoughts."""
        return next((image for image in self.images if image.role == "final"), None)


def read_reply(skeleton: bytes | str, *, empty: Container[int] = ()) -> Reply:
    """Read the skeleton of a 200.

    Only a document that does not parse, or is no answer at all, is refused; one odd member never
    costs a picture that was paid for, an `error` beside it included.

    Args:
        skeleton: The document with the number of an image in place of its data; as text, if it
            has been decoded already.
        empty: The images that have no data: they are none.

    Raises:
        BadReply: Cut, malformed or nonsensical; may be billed.
        AttemptError: The 200 carries an `error` object; classified as its own code says.
    """
    text = skeleton if isinstance(skeleton, str) else skeleton.decode("utf-8", "replace")
    return reply_in(_document(text), empty=empty)


def reply_in(document: dict[str, Any], *, empty: Container[int] = ()) -> Reply:
    """Read an answer that has been parsed; see `read_reply`.

    Raises:
        AttemptError: It carries an `error` object and no picture; classified as its own code says.
    """
    candidates = several(document.get("candidates"))
    images_of = [list(_images(candidate, empty)) for candidate in candidates]
    with_picture = (n for n, images in enumerate(images_of) if _last_shown(images) is not None)
    readable = (n for n, candidate in enumerate(candidates) if isinstance(candidate, dict))
    chosen = next(chain(with_picture, readable), 0)
    images = tuple(_in_roles(images_of, chosen))
    failure = _failure(document) if document.get("error") else None
    if failure is not None and not any(image.role == "final" for image in images):
        raise failure
    candidate = candidates[chosen] if candidates else None
    parts = _parts(candidate)
    usage = _either(document, "usageMetadata", "usage_metadata")
    grounding = next(filter(None, map(_grounding, (candidate, *candidates))), None)
    notes = [] if failure is None else [f"beside the picture came an error: {failure.message}"]
    if not _is_within(MAX_USAGE_BYTES, usage):
        usage = None
        notes.append("its usageMetadata is too large to be one")
    if not _is_within(MAX_GROUNDING_BYTES, grounding):
        grounding = None
        notes.append("its groundingMetadata is too large to be kept")
    feedback = _mapping(_either(document, "promptFeedback", "prompt_feedback"))
    inside = _mapping(usage)  # some answers carry these two inside usageMetadata
    return Reply(
        candidate=chosen,
        images=images,
        addresses=tuple(_addresses(parts)),
        text=_text(parts),
        finish_reason=_name(_either(candidate, "finishReason", "finish_reason")),
        finish_message=_string(_either(candidate, "finishMessage", "finish_message"))
        or _string(_either(feedback, "blockReasonMessage", "block_reason_message")),
        block_reason=_name(_either(feedback, "blockReason", "block_reason")),
        usage=usage,
        model_version=_name(_either(document, "modelVersion", "model_version"))
        or _name(_either(inside, "modelVersion", "model_version")),
        response_id=_name(_either(document, "responseId", "response_id"))
        or _name(_either(inside, "responseId", "response_id")),
        grounding=grounding,
        note="; ".join(notes) or None,
    )


def _failure(document: dict[str, Any]) -> AttemptError:
    return read_fault(200, {}, json.dumps({"error": document["error"]}).encode())


def _document(text: str) -> dict[str, Any]:
    """The object that an answer is.

    Raises:
        BadReply: It is none; may be billed.
    """
    document = answer_in(_parse(text))
    if document is None:
        raise BadReply("the answer is JSON but no generateContent answer")
    return document


def why_no_image(reply: Reply) -> AttemptError:
    """Name the reason for an answer without a final image, as an error with its retry rule."""
    said = printable(reply.finish_message or "") or None
    words = f': "{said}"' if said else ""
    # Google says so itself where it does not charge.
    free = said is not None and "not be charged" in said.lower()
    reason = (reply.finish_reason or "").upper()
    kind = TextOnly if reply.text else NoImage
    error: AttemptError
    if reply.block_reason:
        error = PromptBlocked(f"the prompt was refused ({reply.block_reason}){words}")
    elif reason in _REFUSED:
        error = Blocked(f"the picture was refused ({reason}){words}; reword the prompt")
    elif reason == "PUP_LIMITED_DISABLED":
        error = Unauthorized(f"the account is limited for policy violations ({reason}){words}")
    elif reason in _HOPELESS:
        error = NoImage(f"no picture ({reason}){words}: {_HOPELESS[reason]}", tries=0)
    elif reason in _ODD:
        error = kind(f"no picture ({reason}){words}; rewording the prompt may help", tries=1)
    elif reply.addresses:
        where = reply.addresses[0]
        error = NoImage(f"the answer names a picture by its address alone: {where}", tries=0)
    elif reply.images:
        error = NoImage("no final picture, only drafts among the model's thoughts", tries=1)
    elif reply.text and reason in {"STOP", ""}:
        error = TextOnly(f'the model wrote instead of drawing: "{printable(reply.text, 120)}"')
    elif reason in {"NO_IMAGE", "STOP", ""}:
        error = kind(f"the model returned no picture{words}")
    else:
        error = kind(f"no picture ({reason}){words}", tries=1)
    if free:
        error.billed = "no"
    return error


def _parse(text: str) -> Any:
    try:
        document = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        at_end = isinstance(error, json.JSONDecodeError) and error.pos >= len(text.rstrip())
        what = "the answer was cut" if at_end or not text.strip() else "the answer is no JSON"
        raise BadReply(f"{what} after {len(text)} characters besides images") from error
    return _encodable(document) if _SURROGATE.search(text) else document


def _encodable(value: Any) -> Any:
    """The same document with U+FFFD for each lone surrogate, which no file could take."""
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case list():
            return [_encodable(one) for one in value]
        case dict():
            return {_encodable(name): _encodable(one) for name, one in value.items()}
        case _:
            return value


def _integer(digits: str) -> int | None:
    return int(digits) if len(digits) <= _MAX_INT_DIGITS else None


_DECODER: Final = json.JSONDecoder(strict=False, parse_int=_integer)


def _either(mapping: Any, camel: str, snake: str) -> Any:
    if not isinstance(mapping, dict):
        return None
    value = mapping.get(camel)
    return mapping.get(snake) if value is None else value


def _grounding(candidate: Any) -> Any:
    return _either(candidate, "groundingMetadata", "grounding_metadata")


def _is_within(n_bytes: int, value: Any) -> bool:
    """Whether a member that goes into the ledger as it came is of a size for that."""
    return value is None or len(msgspec.json.encode(value)) <= n_bytes


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _name(value: Any) -> str | None:
    """A word of the service's, known or not, as far as a line of the ledger should hold it.

    A number in its place is the same word by its number.
    """
    if type(value) is int:
        value = str(value)
    return printable(value, _MAX_NAME_CHARS) or None if isinstance(value, str) else None


def _parts(candidate: Any) -> list[dict[str, Any]]:
    contents = several(_mapping(candidate).get("content"))
    parts = [part for content in contents for part in several(_mapping(content).get("parts"))]
    return [part for part in parts if isinstance(part, dict)]


def _images(candidate: Any, empty: Container[int]) -> Iterator[tuple[int, bool]]:
    """The numbers of a candidate's images, each with whether it is a thought."""
    for part in _parts(candidate):
        inline = _mapping(_either(part, "inlineData", "inline_data"))
        data = inline.get("data")
        # The stream put its own number here; a server's string never stays in the skeleton.
        if isinstance(data, str) and _NUMBER.fullmatch(data) and int(data) not in empty:
            yield int(data), is_thought(part)


def _last_shown(images: list[tuple[int, bool]]) -> int | None:
    """The last image that is no thought: drafts come before it."""
    return next((index for index, is_hidden in reversed(images) if not is_hidden), None)


def _in_roles(images_of: list[list[tuple[int, bool]]], chosen: int) -> Iterator[ReplyImage]:
    """All images of all candidates, those of the chosen one first."""
    for n in sorted(range(len(images_of)), key=lambda n: n != chosen):
        final = _last_shown(images_of[n]) if n == chosen else None
        for index, is_hidden in images_of[n]:
            shown: Role = "final" if index == final else "draft"
            yield ReplyImage(index=index, role="thought" if is_hidden else shown)


def _addresses(parts: list[dict[str, Any]]) -> Iterator[str]:
    for part in parts:
        file = _mapping(_either(part, "fileData", "file_data"))
        if not is_thought(part) and (uri := _string(_either(file, "fileUri", "file_uri"))):
            yield printable(uri)


def _text(parts: list[dict[str, Any]]) -> str | None:
    said = (_string(part.get("text")) for part in parts if not is_thought(part))
    words = [text[:MAX_TEXT_CHARS] for text in said if text]
    return "\n".join(words)[:MAX_TEXT_CHARS] or None
