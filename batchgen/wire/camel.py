"""A raw body of generateContent in one spelling: gateways drop members spelt with underscores.

Only names that the API defines are respelt, each where it defines them. What is free-form stays as
it was written: text, the arguments and results of functions, schemas, labels, metadata.

Source: docs/api-notes.md, section 6 (both spellings are taken by Google, one by gateways).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_SNAKE: Final = re.compile(r"[a-z]+(?:_[a-z]+)+")


@dataclass(frozen=True, slots=True)
class _Message:
    """The members of one kind of object, in camelCase; those that are objects with their kind."""

    plain: tuple[str, ...] = ()
    inner: Mapping[str, "_Message"] = field(default_factory=dict)

    def find(self, name: str) -> str | None:
        """The camelCase name of a member in either spelling; None for one that is not ours."""
        camel = _camel(name) if _SNAKE.fullmatch(name) else name
        return camel if camel in self.plain or camel in self.inner else None


def camelised(body: dict[str, Any]) -> dict[str, Any]:
    """Respell the known members of a body; every other one, and every value, stays as it is.

    Raises:
        ValueError: A member is there in both spellings; the message names them and their place.
    """
    return _respelt(body, _BODY, "")


def _respelt(members: dict[str, Any], kind: _Message, where: str) -> dict[str, Any]:
    respelt: dict[str, Any] = {}
    written: dict[str, str] = {}
    for name, value in members.items():
        camel = kind.find(name) or name
        if camel in respelt:
            both = sorted((written[camel], name))
            place = f" in {where}" if where else ""
            raise ValueError(f"{both[0]} and {both[1]}{place} are the same member: keep one")
        written[camel] = name
        inner = kind.inner.get(camel)
        here = f"{where}.{camel}" if where else camel
        respelt[camel] = value if inner is None else _respelt_value(value, inner, here)
    return respelt


def _respelt_value(value: Any, kind: _Message, where: str) -> Any:
    match value:
        case dict():
            return _respelt(value, kind, where)
        case list():
            return [_respelt_value(one, kind, f"{where}[{n}]") for n, one in enumerate(value)]
        case _:
            return value


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


# --- the shape of a body ------------------------------------------------------------------------
# A member that is named but not described here keeps its value untouched.

_EMPTY = _Message()
_PART = _Message(
    plain=("text", "thought", "thoughtSignature", "partMetadata"),
    inner={
        "inlineData": _Message(("mimeType", "data", "displayName")),
        "fileData": _Message(("fileUri", "mimeType", "displayName")),
        "mediaResolution": _Message(("level", "numTokens")),
        "videoMetadata": _Message(("startOffset", "endOffset", "fps")),
        "functionCall": _Message(("id", "name", "args", "partialArgs", "willContinue")),
        "functionResponse": _Message(("id", "name", "response", "willContinue", "scheduling")),
        "executableCode": _Message(("id", "language", "code")),
        "codeExecutionResult": _Message(("id", "outcome", "output")),
    },
)
_CONTENT = _Message(("role",), {"parts": _PART})
_IMAGE_CONFIG = _Message(
    (
        *("aspectRatio", "imageSize", "personGeneration", "prominentPeople"),
        *("outputMimeType", "outputCompressionQuality"),
    ),
    {"imageOutputOptions": _Message(("mimeType", "compressionQuality"))},
)
_GENERATION_CONFIG = _Message(
    (
        *("responseModalities", "temperature", "topP", "topK", "seed", "maxOutputTokens"),
        *("candidateCount", "stopSequences", "mediaResolution", "responseMimeType"),
        *("responseSchema", "responseJsonSchema", "presencePenalty", "frequencyPenalty"),
        *("responseLogprobs", "logprobs", "speechConfig", "audioTimestamp"),
        "enableEnhancedCivicAnswers",
    ),
    {
        "imageConfig": _IMAGE_CONFIG,
        "thinkingConfig": _Message(("thinkingLevel", "includeThoughts", "thinkingBudget")),
    },
)
_FUNCTION_DECLARATION = _Message(
    (
        *("name", "description", "behavior", "parameters", "parametersJsonSchema"),
        *("response", "responseJsonSchema"),
    )
)
_GOOGLE_SEARCH = _Message(
    ("excludeDomains", "blockingConfidence"),
    {
        "searchTypes": _Message(inner={"webSearch": _EMPTY, "imageSearch": _EMPTY}),
        "timeRangeFilter": _Message(("startTime", "endTime")),
    },
)
_TOOL = _Message(
    ("codeExecution", "urlContext", "computerUse", "enterpriseWebSearch"),
    {
        "googleSearch": _GOOGLE_SEARCH,
        "googleSearchRetrieval": _Message(
            inner={"dynamicRetrievalConfig": _Message(("mode", "dynamicThreshold"))}
        ),
        "googleMaps": _Message(("enableWidget",)),
        "functionDeclarations": _FUNCTION_DECLARATION,
    },
)
_TOOL_CONFIG = _Message(
    inner={
        "functionCallingConfig": _Message(("mode", "allowedFunctionNames")),
        "retrievalConfig": _Message(
            ("languageCode",), {"latLng": _Message(("latitude", "longitude"))}
        ),
    },
)
_BODY = _Message(
    ("model", "cachedContent", "serviceTier", "labels", "store", "continuationToken"),
    {
        "contents": _CONTENT,
        "systemInstruction": _CONTENT,
        "generationConfig": _GENERATION_CONFIG,
        "tools": _TOOL,
        "toolConfig": _TOOL_CONFIG,
        "safetySettings": _Message(("category", "threshold", "method")),
    },
)
