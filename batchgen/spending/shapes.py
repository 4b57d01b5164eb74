"""The usual shapes of a line, typed, for the quick way through a log (`plain`).

A shape lets nothing pass that it does not know: what does not fit is read by `foreign`, which makes
the same of what fits.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias

import msgspec

from batchgen.spending.foreign import TIMES, WRAPPERS, header_of
from batchgen.spending.span import read_moment

_MAX_LAYERS: Final = 3
_MAX_MEMBERS: Final = 32
_MAX_LAYOUTS: Final = 256
_BARE: Final = b'{"promptTokenCount"'
_NULL: Final = msgspec.Raw(b"null")
_BATCH: Final = frozenset({"key", "response"})
_HTTP: Final = "sdk_http_response"
_USAGES: Final = ("usageMetadata", "usage_metadata")
_ANSWERED: Final = ("modelVersion", "model_version")
_UNTOLD: Final = frozenset({"responseId", "response_id"})
# Members of what google-genai dumps; what they say where they are not null is for `foreign`.
_EMPTY: Final = frozenset({"prompt_feedback", "automatic_function_calling_history", "parsed"})

_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
_Layer: TypeAlias = dict[str, msgspec.Raw]


class Detail(msgspec.Struct, gc=False, rename="camel"):
    """Tokens of one modality."""

    modality: Literal["TEXT", "IMAGE", "VIDEO", "AUDIO", "DOCUMENT"]
    token_count: _Count


class Usage(msgspec.Struct, gc=False, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A usageMetadata; what is null is as good as missing."""

    prompt_token_count: _Count
    candidates_token_count: Annotated[int, msgspec.Meta(ge=1, le=10**12)]
    thoughts_token_count: _Count | None = None
    total_token_count: _Count
    prompt_tokens_details: Sequence[Detail] | None = None
    candidates_tokens_details: Sequence[Detail] | None = None
    tool_use_prompt_token_count: _Count | None = None
    traffic_type: str | None = None
    service_tier: str | None = None
    cached_content_token_count: msgspec.Raw = _NULL
    cache_tokens_details: msgspec.Raw = _NULL
    tool_use_prompt_tokens_details: msgspec.Raw = _NULL


# Only fields of its own take part in the renaming of a class: "lower" leaves them as they are.
class _SnakeDetail(Detail, rename="lower"):
    token_count: _Count


class _SnakeUsage(Usage, kw_only=True, rename="lower"):
    prompt_token_count: _Count
    candidates_token_count: Annotated[int, msgspec.Meta(ge=1, le=10**12)]
    thoughts_token_count: _Count | None = None
    total_token_count: _Count
    prompt_tokens_details: Sequence[_SnakeDetail] | None = None
    candidates_tokens_details: Sequence[_SnakeDetail] | None = None
    tool_use_prompt_token_count: _Count | None = None
    traffic_type: str | None = None
    service_tier: str | None = None
    cached_content_token_count: msgspec.Raw = _NULL
    cache_tokens_details: msgspec.Raw = _NULL
    tool_use_prompt_tokens_details: msgspec.Raw = _NULL


class Answer(msgspec.Struct, gc=False, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """An answer of the API."""

    candidates: msgspec.Raw
    usage_metadata: Usage
    model_version: str
    create_time: str = "Z"
    response_id: str = ""


class _Blob(msgspec.Struct, gc=False, forbid_unknown_fields=True, rename="camel"):
    mime_type: Literal["image/png", "image/jpeg", "image/webp"]
    data: msgspec.Raw = msgspec.Raw()


class _Part(msgspec.Struct, gc=False, forbid_unknown_fields=True, rename="camel"):
    inline_data: _Blob | None = None
    text: str = ""
    thought: bool = False
    thought_signature: str = ""


class _Content(msgspec.Struct, gc=False, kw_only=True, forbid_unknown_fields=True):
    parts: list[_Part]
    role: str = ""


class _Candidate(
    msgspec.Struct, gc=False, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    content: _Content
    finish_reason: str = ""
    index: int = 0


class _SnakeBlob(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    mime_type: Literal["image/png", "image/jpeg", "image/webp"]
    data: msgspec.Raw = _NULL
    display_name: msgspec.Raw = _NULL


class _SnakePart(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    inline_data: _SnakeBlob | None = None
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    code_execution_result: None = None
    executable_code: None = None
    file_data: None = None
    function_call: None = None
    function_response: None = None
    media_resolution: None = None
    video_metadata: None = None


class _SnakeContent(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    parts: list[_SnakePart]
    role: str | None = None


class _SnakeCandidate(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    content: _SnakeContent
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int | None = None
    grounding_metadata: None = None
    avg_logprobs: msgspec.Raw = _NULL
    citation_metadata: msgspec.Raw = _NULL
    logprobs_result: msgspec.Raw = _NULL
    safety_ratings: msgspec.Raw = _NULL
    token_count: msgspec.Raw = _NULL
    url_context_metadata: msgspec.Raw = _NULL


class _Http(msgspec.Struct, gc=False):
    headers: dict[str, str] | None = None


decode_answer: Final = msgspec.json.Decoder(Answer).decode
_decode_candidates: Final = msgspec.json.Decoder(list[_Candidate]).decode
_decode_snake_candidates: Final = msgspec.json.Decoder(list[_SnakeCandidate]).decode
_decode_http: Final = msgspec.json.Decoder(_Http | None).decode
_decode_layer: Final = msgspec.json.Decoder(_Layer).decode
_decode_word: Final = msgspec.json.Decoder(str | None).decode
_decode_usage: Final = msgspec.json.Decoder(Usage).decode
_decode_snake_usage: Final = msgspec.json.Decoder(_SnakeUsage).decode


def count_images(candidates: bytes) -> int:
    """How many images there are in the one candidate; 0 if none of them is the picture.

    Raises:
        ValidationError, ValueError: It is of another shape, or there are more of them.
        MsgspecError, UnicodeDecodeError, RecursionError: They are no JSON.
    """
    parts: Sequence[_Part | _SnakePart]
    if b'"inline_data"' in candidates:
        (dumped,) = _decode_snake_candidates(candidates)
        parts = dumped.content.parts
    else:
        (candidate,) = _decode_candidates(candidates)
        parts = candidate.content.parts
    images = [part for part in parts if part.inline_data is not None]
    has_picture = any(not part.thought for part in images)
    return len(images) if has_picture else 0


class Told(msgspec.Struct, gc=False):
    """What a line of another shape tells.

    Attributes:
        candidates: Their JSON; None where there are none to look at.
        answered: The model that answered; `asked` is the one that was asked. Maybe empty.
        header: How the service says that it served the call.
        is_batch: Whether it is a line of a Gemini Batch.
    """

    usage: Usage
    candidates: bytes | None = None
    answered: str = ""
    asked: str = ""
    at: datetime | None = None
    header: str | None = None
    is_batch: bool = False


class _Layout(NamedTuple):
    """Where in a layer is what, by the names of its members.

    Attributes:
        usage: None if the layer itself is one, or wraps what has one.
        empty: What has to be null.
    """

    usage: str | None = None
    is_snake: bool = False
    has_candidates: bool = False
    answered: str | None = None
    has_asked: bool = False
    has_http: bool = False
    wrapper: str | None = None
    times: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    is_batch: bool = False


def read_told(line: bytes) -> Told | None:
    """What a line tells, if it is a usage, or an answer or a usage with names around it.

    Returns:
        None if it is anything else.

    Raises:
        MsgspecError, UnicodeDecodeError, RecursionError: The same, or it is no JSON.
    """
    if line.startswith(_BARE):  # one look less
        return Told(_decode_usage(line))
    text: bytes | msgspec.Raw = line
    answered = asked = ""
    header: str | None = None
    at: datetime | None = None
    is_batch = False
    for _ in range(_MAX_LAYERS):
        layer = _decode_layer(text)
        if len(layer) > _MAX_MEMBERS:
            return None
        layout = _layout(tuple(layer))
        if layout is None or any(layer[name] != _NULL for name in layout.empty):
            return None
        if layout.answered is not None:
            answered = _decode_word(layer[layout.answered]) or answered
        if layout.has_asked:
            asked = _decode_word(layer["model"]) or asked
        for name in layout.times:
            if (moment := read_moment(msgspec.json.decode(layer[name]))) is not None:
                at = moment
                break
        if layout.has_http and (http := _decode_http(layer[_HTTP])) is not None:
            header = _header(http) or header
        is_batch = is_batch or layout.is_batch
        if layout.wrapper is None:
            decode = _decode_snake_usage if layout.is_snake else _decode_usage
            usage = decode(text if layout.usage is None else layer[layout.usage])
            candidates = bytes(layer["candidates"]) if layout.has_candidates else None
            return Told(usage, candidates, answered, asked, at, header, is_batch)
        text = layer[layout.wrapper]
    return None


def _header(http: _Http) -> str | None:
    return header_of({_HTTP: {"headers": http.headers}})


@lru_cache(_MAX_LAYOUTS)
def _layout(members: tuple[str, ...]) -> _Layout | None:
    """How a layer with such members is read; None if it takes `foreign` to do it."""
    names = frozenset(members)
    if names == _BATCH:
        return _Layout(wrapper="response", is_batch=True)
    if "promptTokenCount" in names or "prompt_token_count" in names:
        return _Layout(is_snake="prompt_token_count" in names)
    usages, answered, wrappers = (
        [name for name in known if name in names] for known in (_USAGES, _ANSWERED, WRAPPERS)
    )
    known = {*usages, *answered, *wrappers, *TIMES, *_UNTOLD, *_EMPTY, _HTTP, "model", "candidates"}
    if names - known or len(usages) + len(wrappers) != 1 or len(answered) > 1:
        return None
    if wrappers and names & {"candidates", _HTTP, *_EMPTY}:
        return None
    return _Layout(
        usage=usages[0] if usages else None,
        is_snake=usages == ["usage_metadata"],
        has_candidates="candidates" in names,
        answered=answered[0] if answered else None,
        has_asked="model" in names,
        has_http=_HTTP in names,
        wrapper=wrappers[0] if wrappers else None,
        times=tuple(name for name in TIMES if name in names),
        empty=tuple(names & _EMPTY),
    )
