"""The usual shapes of a line, typed, for the quick way through a log (`plain`).

A shape lets nothing pass that it does not know: what does not fit is read by `foreign`, which makes
the same of what fits.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias

import msgspec

from batchgen.spending.foreign import TIMES, WRAPPERS
from batchgen.spending.span import read_moment

_MAX_LAYERS: Final = 3
_MAX_MEMBERS: Final = 32
_MAX_LAYOUTS: Final = 256
_BARE: Final = b'{"promptTokenCount"'
_NULL: Final = msgspec.Raw(b"null")
_BATCH: Final = frozenset({"key", "response"})
_USAGES: Final = ("usageMetadata", "usage_metadata")
_ANSWERED: Final = ("modelVersion", "model_version")
_UNTOLD: Final = frozenset({"responseId", "response_id"})
# Members of what google-genai dumps; what they say where they are not null is for `foreign`.
_EMPTY: Final = frozenset(
    {"sdk_http_response", "prompt_feedback", "automatic_function_calling_history", "parsed"}
)

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


decode_answer: Final = msgspec.json.Decoder(Answer).decode
decode_candidates: Final = msgspec.json.Decoder(list[_Candidate]).decode
_decode_layer: Final = msgspec.json.Decoder(_Layer).decode
_decode_word: Final = msgspec.json.Decoder(str | None).decode
_decode_usage: Final = msgspec.json.Decoder(Usage).decode
_decode_snake_usage: Final = msgspec.json.Decoder(_SnakeUsage).decode


class Told(NamedTuple):
    """What a line of another shape tells.

    Attributes:
        candidates: Their JSON; None where there are none to look at.
        answered: The model that answered; `asked` is the one that was asked. Maybe empty.
        is_batch: Whether it is a line of a Gemini Batch.
    """

    usage: Usage
    candidates: bytes | None = None
    answered: str = ""
    asked: str = ""
    at: datetime | None = None
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
        is_batch = is_batch or layout.is_batch
        if layout.wrapper is None:
            decode = _decode_snake_usage if layout.is_snake else _decode_usage
            usage = decode(text if layout.usage is None else layer[layout.usage])
            candidates = bytes(layer["candidates"]) if layout.has_candidates else None
            return Told(usage, candidates, answered, asked, at, is_batch)
        text = layer[layout.wrapper]
    return None


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
    known = {*usages, *answered, *wrappers, *TIMES, *_UNTOLD, *_EMPTY, "model", "candidates"}
    if names - known or len(usages) + len(wrappers) != 1 or len(answered) > 1:
        return None
    if wrappers and names & {"candidates", *_EMPTY}:
        return None
    return _Layout(
        usage=usages[0] if usages else None,
        is_snake=usages == ["usage_metadata"],
        has_candidates="candidates" in names,
        answered=answered[0] if answered else None,
        has_asked="model" in names,
        wrapper=wrappers[0] if wrappers else None,
        times=tuple(name for name in TIMES if name in names),
        empty=tuple(names & _EMPTY),
    )
