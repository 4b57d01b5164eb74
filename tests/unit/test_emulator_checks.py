"""What the emulator refuses, and with which of Google's bodies."""

import base64
import json
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from batchgen.emulator import asked, blobs, body, models
from batchgen.emulator.asked import Asked
from batchgen.emulator.errors import Refused
from batchgen.emulator.signatures import Signer

Json = dict[str, Any]
FLASH, PRO, LITE = "gemini-3.1-flash-image", "gemini-3-pro-image", "gemini-3.1-flash-lite-image"
OLD, NEW = "gemini-2.5-flash-image", "gemini-nano-banana-2.1"


def png(width: int = 4, height: int = 4) -> bytes:
    out = BytesIO()
    Image.new("RGB", (width, height), "red").save(out, "PNG")
    return out.getvalue()


def image_part(content: bytes | None = None, mime_type: str = "image/png") -> Json:
    data = base64.b64encode(png() if content is None else content).decode()
    return {"inlineData": {"mimeType": mime_type, "data": data}}


def request(*parts: Json, **fields: object) -> Json:
    return {"contents": [{"role": "user", "parts": list(parts) or [{"text": "a cat"}]}], **fields}


def configured(**config: object) -> Json:
    return request(generationConfig=config)


def understood(document: object, model_id: str = FLASH) -> Asked:
    model = models.find(model_id)
    assert model is not None
    typed = body.typed(document)
    return asked.understand(typed, model, blobs.collect(document), Signer(0))


def refusal(document: object, model_id: str = FLASH) -> Json:
    """The `error` of the 400 that the request gets."""
    with pytest.raises(Refused) as caught:
        understood(document, model_id)
    assert caught.value.refusal.status == 400
    error: Json = json.loads(caught.value.refusal.body)["error"]
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    return error


def violations(error: Json) -> list[Json]:
    (details,) = error["details"]
    assert details["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    found: list[Json] = details["fieldViolations"]
    return found


@pytest.mark.parametrize(
    ("document", "field", "name"),
    [
        (request(imageConfig={}), None, "imageConfig"),
        (configured(aspectRatio="1:1"), "generation_config", "aspectRatio"),
        (
            configured(imageConfig={"ratio": "1:1"}),
            "generation_config.image_config",
            "ratio",
        ),
        (request({"txt": "a cat"}), "contents[0].parts[0]", "txt"),
    ],
)
def test_an_unknown_field_is_named_with_its_place(
    document: Json, field: str | None, name: str
) -> None:
    (violation,) = violations(refusal(document))
    assert violation.get("field") == field
    assert f'Unknown name "{name}"' in violation["description"]


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "contents"),
        ({"contents": []}, "contents"),
        ({"contents": None}, "contents"),
        ({"contents": [{"role": "user", "parts": []}]}, "contents.parts"),
        ({"contents": [{"role": "user"}]}, "contents.parts"),
        (request({}), "contents[0].parts[0].data"),
        (request({"text": 5}), "contents[0].parts[0].text"),
        ({"contents": "a cat"}, "contents"),
        (configured(responseModalities=["AUDIO"]), "generation_config.response_modalities"),
        (
            request(safetySettings=[{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "X"}]),
            "safety_settings[0].threshold",
        ),
        (
            request(safetySettings=[{"category": "RUDE", "threshold": "OFF"}]),
            "safety_settings[0].category",
        ),
    ],
)
def test_a_bad_value_is_named_with_its_place(document: Json, field: str) -> None:
    assert violations(refusal(document))[0]["field"] == field


@pytest.mark.parametrize(
    ("model_id", "image_config"),
    [
        (FLASH, {"aspectRatio": "7:3"}),
        (PRO, {"aspectRatio": "8:1"}),
        (OLD, {"aspectRatio": "1:4"}),
        (OLD, {"imageSize": "1K"}),
        (PRO, {"imageSize": "512"}),
        (NEW, {"imageSize": "512"}),
        (LITE, {"imageSize": "512"}),
        (LITE, {"imageSize": "2K"}),
        (FLASH, {"imageSize": "512px"}),
        (FLASH, {"imageSize": "1k"}),
    ],
)
def test_geometry_that_the_model_does_not_make_is_refused(
    model_id: str, image_config: Json
) -> None:
    refusal(configured(imageConfig=image_config), model_id)


@pytest.mark.parametrize(
    ("model_id", "thinking"),
    [
        (FLASH, {"thinkingLevel": "LOW"}),
        (FLASH, {"thinkingLevel": "MEDIUM"}),
        (LITE, {"thinkingLevel": "MEDIUM"}),
        (NEW, {"thinkingLevel": "LOW"}),
        (NEW, {"thinkingLevel": "HIGH", "thinkingBudget": 5}),
    ],
)
def test_a_thinking_level_that_the_model_does_not_have_is_refused(
    model_id: str, thinking: Json
) -> None:
    refusal(configured(thinkingConfig=thinking), model_id)


@pytest.mark.parametrize("thinking", [{}, {"includeThoughts": False}, {"thinkingLevel": "HIGH"}])
def test_a_model_without_thinking_refuses_any_thinking_config(thinking: Json) -> None:
    error = refusal(configured(thinkingConfig=thinking), OLD)
    assert error["message"] == "Thinking is not enabled for this model"


@pytest.mark.parametrize("level", ["high", "High", "HIGH"])
def test_thinking_levels_are_taken_in_any_case(level: str) -> None:
    asked_for = understood(configured(thinkingConfig={"thinkingLevel": level}), NEW)
    assert asked_for.thinking == "HIGH"


@pytest.mark.parametrize("mime_type", ["image/jpg", "png", "", "image/gif", "text/plain"])
def test_a_mime_type_that_is_not_taken_is_refused(mime_type: str) -> None:
    assert "MIME type" in refusal(request(image_part(mime_type=mime_type)))["message"]


@pytest.mark.parametrize(
    "data",
    [
        "not base64!",
        "data:image/png;base64,iVBORw0KGgo=",
        "iVBOR",
        base64.b64encode(b"plain text").decode(),
        base64.b64encode(png()[:30]).decode(),
        base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>").decode(),
        "",
    ],
)
def test_what_is_no_image_is_refused(data: str) -> None:
    part = {"inlineData": {"mimeType": "image/png", "data": data}}
    error = refusal(request({"text": "edit"}, part))
    assert error["message"].startswith("Unable to process input image")


def test_a_picture_that_would_unfold_into_gigabytes_is_refused_by_its_header() -> None:
    out = BytesIO()
    Image.new("1", (14_000, 14_000)).save(out, "PNG")
    refusal(request(image_part(out.getvalue())))


@pytest.mark.parametrize(("model_id", "most"), [(OLD, 3), (PRO, 14), (FLASH, 14)])
def test_more_references_than_the_model_takes_are_refused(model_id: str, most: int) -> None:
    parts = [image_part() for _ in range(most)]
    assert understood(request(*parts), model_id).n_images_in == most
    refusal(request(*parts, image_part()), model_id)


@pytest.mark.parametrize(
    ("model_id", "tool"),
    [
        (OLD, {"googleSearch": {}}),
        (LITE, {"google_search": {}}),
        (PRO, {"googleSearch": {"searchTypes": {"imageSearch": {}}}}),
        (FLASH, {"functionDeclarations": [{"name": "f"}]}),
        (FLASH, {"codeExecution": {}}),
    ],
)
def test_a_tool_that_the_model_does_not_have_is_refused(model_id: str, tool: Json) -> None:
    refusal(request(tools=[tool]), model_id)


@pytest.mark.parametrize(
    "config", [{"candidateCount": 2}, {"responseMimeType": "application/json"}]
)
def test_only_one_picture_can_be_asked_for(config: Json) -> None:
    refusal(configured(**config))


def test_a_file_by_address_cannot_be_fetched() -> None:
    refusal(request({"fileData": {"fileUri": "https://www.example.com/a.png"}}))


def test_a_conversation_cannot_end_with_the_model() -> None:
    document = request()
    document["contents"].append({"role": "model", "parts": [{"text": "Done."}]})
    refusal(document)


def test_a_single_message_and_a_single_part_need_no_list() -> None:
    asked_for = understood({"contents": {"parts": {"text": "a vase"}}})
    assert asked_for.prompt == "a vase"


def test_the_body_that_googles_own_client_sends_is_taken_in_its_mixed_spelling() -> None:
    data = image_part()["inlineData"]["data"]
    asked_for = understood(
        {
            "contents": [
                {
                    "parts": [
                        {"text": "hi"},
                        {"inline_data": {"data": data, "mime_type": "image/png"}},
                    ],
                    "role": "user",
                }
            ],
            "systemInstruction": {"parts": [{"text": "sys"}], "role": "user"},
            "tools": [{"googleSearch": {"searchTypes": {"web_search": {}, "image_search": {}}}}],
            "serviceTier": "flex",
            "store": False,
            "labels": {"a_b": "b"},
            "generation_config": {
                "responseModalities": ["IMAGE"],
                "thinkingConfig": {"include_thoughts": True, "thinking_level": "HIGH"},
                "image_config": {"aspectRatio": "16:9", "image_size": "2K"},
            },
        }
    )
    assert asked_for.pixels == (2752, 1536)
    assert asked_for.modalities == {"IMAGE"}
    assert (asked_for.include_thoughts, asked_for.image_search) == (True, True)
    assert asked_for.service_tier == "flex"


def test_without_a_ratio_the_last_reference_decides() -> None:
    parts = [image_part(png(30, 30)), image_part(png(90, 160))]
    assert understood(request({"text": "edit"}, *parts)).ratio == "9:16"


def test_without_a_ratio_and_references_the_picture_is_square() -> None:
    assert understood(request()).pixels == (1024, 1024)


def test_labels_are_the_texts_right_before_the_images() -> None:
    parts = [{"text": "shoe:"}, image_part(), {"text": "bag:"}, image_part(), {"text": "mix them"}]
    assert [ref.label for ref in understood(request(*parts)).references] == ["shoe:", "bag:"]


def test_a_prompt_before_one_image_is_not_its_label() -> None:
    (reference,) = understood(request({"text": "edit this"}, image_part())).references
    assert reference.label == ""


@pytest.mark.parametrize(
    "data",
    [
        base64.urlsafe_b64encode(png()).decode(),
        base64.b64encode(png()).decode().rstrip("="),
    ],
)
def test_both_base64_alphabets_and_missing_padding_are_taken(data: str) -> None:
    part = {"inlineData": {"mimeType": "image/png", "data": data}}
    assert understood(request({"text": "edit"}, part)).n_images_in == 1


def test_the_digest_changes_with_everything_that_changes_the_answer() -> None:
    documents = [
        request(),
        request({"text": "a dog"}),
        request({"text": "a cat"}, image_part()),
        configured(seed=1),
        configured(imageConfig={"imageSize": "512"}),
    ]
    digests = {understood(document).digest for document in documents}
    assert len(digests) == len(documents)
    assert understood(request()).digest == understood(request(store=False)).digest
