"""Raw bodies in either spelling become camelCase, and nothing else about them changes."""

import copy
from typing import Any

import pytest

from batchgen.wire.camel import camelised

CONFIG = "generationConfig"


@pytest.mark.parametrize(
    ("snake", "camel"),
    [
        ({"system_instruction": {"parts": []}}, {"systemInstruction": {"parts": []}}),
        ({"safety_settings": [{"category": "A"}]}, {"safetySettings": [{"category": "A"}]}),
        ({"cached_content": "c"}, {"cachedContent": "c"}),
        ({"service_tier": "flex"}, {"serviceTier": "flex"}),
        ({"tool_config": {}}, {"toolConfig": {}}),
        ({"generation_config": {"top_p": 1, "top_k": 2}}, {CONFIG: {"topP": 1, "topK": 2}}),
        (
            {"generation_config": {"response_modalities": ["IMAGE"]}},
            {CONFIG: {"responseModalities": ["IMAGE"]}},
        ),
        (
            {"generationConfig": {"image_config": {"aspect_ratio": "1:1", "image_size": "2K"}}},
            {CONFIG: {"imageConfig": {"aspectRatio": "1:1", "imageSize": "2K"}}},
        ),
        (
            {CONFIG: {"imageConfig": {"image_output_options": {"mime_type": "m"}}}},
            {CONFIG: {"imageConfig": {"imageOutputOptions": {"mimeType": "m"}}}},
        ),
        (
            {CONFIG: {"thinking_config": {"thinking_level": "LOW", "include_thoughts": True}}},
            {CONFIG: {"thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True}}},
        ),
        ({CONFIG: {"max_output_tokens": 1}}, {CONFIG: {"maxOutputTokens": 1}}),
        (
            {CONFIG: {"candidate_count": 1, "stop_sequences": ["x_y"]}},
            {CONFIG: {"candidateCount": 1, "stopSequences": ["x_y"]}},
        ),
        (
            {CONFIG: {"media_resolution": "M", "response_mime_type": "m"}},
            {CONFIG: {"mediaResolution": "M", "responseMimeType": "m"}},
        ),
        (
            {CONFIG: {"thinking_config": {"thinking_budget": 1}}},
            {CONFIG: {"thinkingConfig": {"thinkingBudget": 1}}},
        ),
        (
            {CONFIG: {"image_config": {"person_generation": "P", "prominent_people": "Q"}}},
            {CONFIG: {"imageConfig": {"personGeneration": "P", "prominentPeople": "Q"}}},
        ),
        (
            {CONFIG: {"imageConfig": {"image_output_options": {"compression_quality": 90}}}},
            {CONFIG: {"imageConfig": {"imageOutputOptions": {"compressionQuality": 90}}}},
        ),
        ({"continuation_token": "t"}, {"continuationToken": "t"}),
        (
            {"tools": [{"google_search": {"search_types": {"image_search": {}}}}]},
            {"tools": [{"googleSearch": {"searchTypes": {"imageSearch": {}}}}]},
        ),
        (
            {"tools": [{"function_declarations": [{"name": "f_g"}]}, {"code_execution": {}}]},
            {"tools": [{"functionDeclarations": [{"name": "f_g"}]}, {"codeExecution": {}}]},
        ),
        (
            {"contents": [{"parts": [{"media_resolution": {"level": "M"}}]}]},
            {"contents": [{"parts": [{"mediaResolution": {"level": "M"}}]}]},
        ),
        (
            {"tools": [{"google_search": {"search_types": {"web_search": {}}}}]},
            {"tools": [{"googleSearch": {"searchTypes": {"webSearch": {}}}}]},
        ),
        (
            {"contents": [{"parts": [{"inline_data": {"mime_type": "m", "data": "d"}}]}]},
            {"contents": [{"parts": [{"inlineData": {"mimeType": "m", "data": "d"}}]}]},
        ),
        (
            {"contents": [{"parts": [{"file_data": {"file_uri": "u", "mime_type": "m"}}]}]},
            {"contents": [{"parts": [{"fileData": {"fileUri": "u", "mimeType": "m"}}]}]},
        ),
        (
            {"contents": {"parts": {"text": "a_b", "thought_signature": "s_s"}}},
            {"contents": {"parts": {"text": "a_b", "thoughtSignature": "s_s"}}},
        ),
    ],
)
def test_known_members_are_respelt_where_the_api_has_them(
    snake: dict[str, Any], camel: dict[str, Any]
) -> None:
    before = copy.deepcopy(snake)
    assert camelised(snake) == camel
    assert camelised(camel) == camel
    assert snake == before


@pytest.mark.parametrize(
    "body",
    [
        {"labels": {"top_k": "a", "mime_type": "b"}},
        {"contents": [{"parts": [{"functionCall": {"args": {"mime_type": 1}}}]}]},
        {"contents": [{"parts": [{"functionResponse": {"response": {"top_k": 1}}}]}]},
        {"contents": [{"parts": [{"partMetadata": {"file_uri": 1}}]}]},
        {CONFIG: {"responseSchema": {"properties": {"image_size": {"any_of": []}}}}},
        {CONFIG: {"responseJsonSchema": {"top_k": 1}}},
        {"tools": [{"functionDeclarations": [{"parameters": {"top_k": {"any_of": []}}}]}]},
        {"of_the_user": {"generation_config": {"top_k": 1}}},
        {"top_k": "not of the body"},
        {"Top_K": 1, "top__k": 2, "_model": 3, "mo-del": 4, "": 5},
        {"contents": "odd", CONFIG: ["odd", 1], "tools": None, "safetySettings": [None, "odd"]},
    ],
)
def test_what_is_free_form_or_unknown_stays_as_it_is(body: dict[str, Any]) -> None:
    assert camelised(body) == body


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"generation_config": {}, "generationConfig": {}},
            "generationConfig and generation_config are the same member: keep one",
        ),
        (
            {CONFIG: {"imageConfig": {"imageSize": 1, "image_size": 2}}},
            f"imageSize and image_size in {CONFIG}.imageConfig are the same member: keep one",
        ),
        (
            {"contents": [{"parts": []}, {"parts": [{"inline_data": {}, "inlineData": {}}]}]},
            "inlineData and inline_data in contents[1].parts[0] are the same member: keep one",
        ),
    ],
)
def test_both_spellings_of_one_member_are_an_error_that_names_them(
    body: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=r"the same member") as told:
        camelised(body)
    assert str(told.value) == message
