"""The request body as typed records; either spelling is taken.

What is not in the API gets Google's complaint.

Fields that the emulator takes without acting on them (`labels`, `store`, …) are declared all the
same: the real service takes them, and refuses what it does not know.
"""

import re
from typing import Any, TypeAlias

import msgspec

from batchgen.emulator.errors import invalid

Json: TypeAlias = dict[str, Any]


class _Message(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    pass


class InlineData(_Message, frozen=True):
    """Bytes in the request, as base64."""

    mime_type: str = ""
    data: str = ""
    display_name: str | None = None


class FileData(_Message, frozen=True):
    """A file by address."""

    file_uri: str = ""
    mime_type: str | None = None


class Part(_Message, frozen=True):
    """One part of a turn; a thought and a signature ride on the part they belong to."""

    text: str | None = None
    inline_data: InlineData | None = None
    file_data: FileData | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    media_resolution: Json | None = None
    video_metadata: Json | None = None


class Content(_Message, frozen=True):
    """One turn."""

    role: str | None = None
    parts: list[Part] | None = None


class ImageConfig(_Message, frozen=True):
    """What the picture is to be. The last three belong to Vertex; they are taken and ignored."""

    aspect_ratio: str | None = None
    image_size: str | None = None
    person_generation: str | None = None
    prominent_people: str | None = None
    image_output_options: Json | None = None


class ThinkingConfig(_Message, frozen=True):
    """How much the model is to think."""

    thinking_level: str | None = None
    include_thoughts: bool | None = None
    thinking_budget: int | None = None


class GenerationConfig(_Message, frozen=True):
    """How the answer is to be made."""

    response_modalities: list[str] | None = None
    image_config: ImageConfig | None = None
    thinking_config: ThinkingConfig | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: float | None = None
    seed: int | None = None
    max_output_tokens: int | None = None
    candidate_count: int | None = None
    stop_sequences: list[str] | None = None
    media_resolution: str | None = None
    response_mime_type: str | None = None
    response_schema: Json | None = None
    response_json_schema: Any = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_logprobs: bool | None = None
    logprobs: int | None = None


class GoogleSearch(_Message, frozen=True):
    """Grounding; `searchTypes` says in what."""

    search_types: Json | None = None
    time_range_filter: Json | None = None


class Tool(_Message, frozen=True):
    """A tool. Image models take only the search."""

    google_search: GoogleSearch | None = None
    function_declarations: list[Json] | None = None
    code_execution: Json | None = None
    url_context: Json | None = None
    google_search_retrieval: Json | None = None


class SafetySetting(_Message, frozen=True):
    """A threshold for a category of harm."""

    category: str = ""
    threshold: str = ""


class Request(_Message, frozen=True):
    """The body of generateContent."""

    contents: list[Content] | None = None
    system_instruction: Content | None = None
    generation_config: GenerationConfig | None = None
    tools: list[Tool] | None = None
    tool_config: Json | None = None
    safety_settings: list[SafetySetting] | None = None
    cached_content: str | None = None
    service_tier: str | None = None
    labels: dict[str, str] | None = None
    store: bool | None = None
    model: str | None = None


def read(raw: bytes) -> object:
    """The JSON of a body.

    Raises:
        Refused: It is not JSON, or not UTF-8.
        RecursionError: It is nested too deeply.
    """
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"Invalid JSON payload received. {error}"
        raise invalid(message) from error


def typed(body: object) -> Request:
    """The typed request.

    Raises:
        Refused: A field is unknown or of the wrong type.
    """
    try:
        return msgspec.convert(_with_lists(camelised(body)), Request, strict=False)
    except msgspec.ValidationError as error:
        raise _google_complaint(str(error)) from error
    except RecursionError as error:
        raise invalid("Invalid JSON payload received. Nested too deeply.") from error


def _with_lists(body: object) -> object:
    """The same with a list around a single message, and around a single part."""
    if not isinstance(body, dict):
        return body
    contents = body.get("contents")
    turns = [contents] if isinstance(contents, dict) else contents
    if not isinstance(turns, list):
        return body
    return {**body, "contents": [_with_list_of_parts(turn) for turn in turns]}


def _with_list_of_parts(turn: object) -> object:
    if isinstance(turn, dict) and isinstance(turn.get("parts"), dict):
        return {**turn, "parts": [turn["parts"]]}
    return turn


def camelised(body: object) -> object:
    """The same body with every field of the API in camelCase; other names stay as they are.

    A null means an absent field, as in protobuf's JSON.
    """
    if isinstance(body, dict):
        return {
            _CAMEL.get(name, name): value if name == "labels" else camelised(value)
            for name, value in body.items()
            if value is not None
        }
    if isinstance(body, list):
        return [camelised(value) for value in body]
    return body


def _snake_to_camel() -> dict[str, str]:
    messages: list[type[_Message]] = [InlineData, FileData, Part, Content, ImageConfig]
    messages += [ThinkingConfig, GenerationConfig, GoogleSearch, Tool, SafetySetting, Request]
    fields = [field for message in messages for field in msgspec.structs.fields(message)]
    return {field.name: field.encode_name for field in fields}


_CAMEL = _snake_to_camel() | {"web_search": "webSearch", "image_search": "imageSearch"}
_UNKNOWN_FIELD = re.compile(
    r"Object contains unknown field `(?P<name>.*?)`(?: - at `\$\.?(?P<at>.*)`)?"
)
_WRONG_TYPE = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<at>.*)`)?\Z")


def _google_complaint(found: str) -> Exception:
    """What the service says where msgspec says `found`: paths in snake_case, in quotes."""
    if unknown := _UNKNOWN_FIELD.match(found):
        at = _snake_path(unknown["at"])
        place = f" at '{at}'" if at else ""
        what = f'Unknown name "{unknown["name"]}"{place}: Cannot find field.'
        message = f"Invalid JSON payload received. {what}"
        return invalid(message, field_name=at)
    wrong = _WRONG_TYPE.match(found)
    at = _snake_path(wrong["at"]) if wrong else ""
    what = wrong["what"] if wrong else found
    if not at:
        return invalid(f"Invalid JSON payload received. {what}")
    return invalid(f"Invalid value at '{at}' ({what})", field_name=at)


def _snake_path(path: str | None) -> str:
    return re.sub(r"[A-Z]", lambda letter: "_" + letter[0].lower(), path or "")
