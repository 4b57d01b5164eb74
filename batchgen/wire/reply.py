"""What a whole answer says: its images, its words, and why there may be no picture."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from batchgen.errors import AttemptError, BadReply, Blocked, NoImage, TextOnly, Unauthorized
from batchgen.sanitize import printable
from batchgen.wire.fault import read_fault

MAX_TEXT_CHARS: Final = 64 << 10
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
    """An image part of an answer: `index` numbers the sinks in order of arrival."""

    index: int
    thought: bool


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of generateContent, read from its skeleton; every member may be missing."""

    images: tuple[ReplyImage, ...] = ()
    text: str | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    block_reason: str | None = None
    usage: Any = None
    model_version: str | None = None
    response_id: str | None = None
    grounding: Any = None

    @property
    def final(self) -> ReplyImage | None:
        """The last image that is no thought: drafts come before it."""
        shown = [image for image in self.images if not image.thought]
        return shown[-1] if shown else None


def read_reply(skeleton: bytes) -> Reply:
    """Read the skeleton of a 200.

    Only a document that does not parse, or is no answer at all, is refused; one odd member never
    costs a picture that was paid for.

    Raises:
        BadReply: Cut, malformed or nonsensical; may be billed.
        AttemptError: The 200 carries an `error` object; classified as its own code says.
    """
    document = _parse(skeleton)
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    if not isinstance(document, dict):
        raise BadReply("the answer is JSON but no generateContent answer")
    if document.get("error"):
        raise read_fault(200, {}, skeleton)
    usage = _either(document, "usageMetadata", "usage_metadata")
    candidate = _first(document.get("candidates"))
    parts = [part for part in _parts(candidate) if isinstance(part, dict)]
    feedback = _mapping(_either(document, "promptFeedback", "prompt_feedback"))
    inside = _mapping(usage)  # some answers carry these two inside usageMetadata
    return Reply(
        images=tuple(_images(parts)),
        text=_text(parts),
        finish_reason=_string(_either(candidate, "finishReason", "finish_reason")),
        finish_message=_string(_either(candidate, "finishMessage", "finish_message")),
        block_reason=_string(_either(feedback, "blockReason", "block_reason")),
        usage=usage,
        model_version=_string(_either(document, "modelVersion", "model_version"))
        or _string(_either(inside, "modelVersion", "model_version")),
        response_id=_string(_either(document, "responseId", "response_id"))
        or _string(_either(inside, "responseId", "response_id")),
        grounding=_either(candidate, "groundingMetadata", "grounding_metadata"),
    )


def why_no_image(reply: Reply) -> AttemptError:
    """Name the reason for an answer without a final image, as an error with its retry rule."""
    said = printable(reply.finish_message or "") or None
    words = f': "{said}"' if said else ""
    # Google says so itself where it does not charge.
    free = said is not None and "not be charged" in said.lower()
    reason = reply.finish_reason or ""
    error: AttemptError
    if reply.block_reason:
        error = Blocked(f"the prompt was refused ({printable(reply.block_reason)}){words}")
    elif reason in _REFUSED:
        error = Blocked(f"the picture was refused ({reason}){words}; reword the prompt")
    elif reason == "PUP_LIMITED_DISABLED":
        error = Unauthorized(f"the account is limited for policy violations ({reason}){words}")
    elif reason in _HOPELESS:
        error = NoImage(f"no picture ({reason}): {_HOPELESS[reason]}", tries=0)
    elif reason in _ODD:
        error = NoImage(f"no picture ({reason}){words}; rewording the prompt may help", tries=1)
    elif any(image.thought for image in reply.images):
        error = NoImage("no final picture, only drafts among the model's thoughts", tries=1)
    elif reply.text and reason in {"STOP", ""}:
        error = TextOnly(f'the model wrote instead of drawing: "{printable(reply.text, 120)}"')
    elif reason in {"NO_IMAGE", "STOP", ""}:
        error = NoImage(f"the model returned no picture{words}")
    else:
        error = NoImage(f"no picture ({printable(reason, 60)}){words}", tries=1)
    if free:
        error.billed = "no"
    return error


def _parse(skeleton: bytes) -> Any:
    text = skeleton.decode("utf-8", "replace")
    try:
        document = json.loads(text, strict=False, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        at_end = isinstance(error, json.JSONDecodeError) and error.pos >= len(skeleton.rstrip())
        what = "the answer was cut" if at_end or not skeleton.strip() else "the answer is no JSON"
        raise BadReply(f"{what} after {len(skeleton)} bytes besides images") from error
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


def _either(mapping: Any, camel: str, snake: str) -> Any:
    if not isinstance(mapping, dict):
        return None
    value = mapping.get(camel)
    return mapping.get(snake) if value is None else value


def _first(candidates: Any) -> Any:
    return candidates[0] if isinstance(candidates, list) and candidates else None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _parts(candidate: Any) -> list[Any]:
    content = _mapping(_mapping(candidate).get("content"))
    parts = content.get("parts")
    return parts if isinstance(parts, list) else []


def _images(parts: list[dict[str, Any]]) -> Iterator[ReplyImage]:
    for part in parts:
        inline = _mapping(_either(part, "inlineData", "inline_data"))
        data = inline.get("data")
        # The stream put its own number here; a server's string never stays in the skeleton.
        if isinstance(data, str) and _NUMBER.fullmatch(data):
            yield ReplyImage(
                index=int(data),
                thought=part.get("thought") is True,
            )


def _text(parts: list[dict[str, Any]]) -> str | None:
    words = [
        text
        for part in parts
        if part.get("thought") is not True and (text := _string(part.get("text")))
    ]
    return "\n".join(words)[:MAX_TEXT_CHARS] or None
