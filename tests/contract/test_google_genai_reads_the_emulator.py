"""Google's own client, pointed at the emulator: what it reads must be what was drawn."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any, TypeAlias

import pytest
from google import genai
from google.genai import errors, types
from PIL import Image

from batchgen.emulator import Emulator, Settings

Client: TypeAlias = Any  # nearly all members of its types are optional; the asserts see to that
Response: TypeAlias = Any

FLASH = "gemini-3.1-flash-image"


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(Settings(latency_s=(0, 0))) as running:
        yield running


@pytest.fixture(scope="module")
def client(emulator: Emulator) -> Iterator[Client]:
    with genai.Client(
        api_key="a key", vertexai=False, http_options={"base_url": emulator.base_url}
    ) as client:
        yield client


def config(ratio: str = "16:9", size: str | None = "512") -> types.GenerateContentConfig:
    image = types.ImageConfig(aspect_ratio=ratio, image_size=size)
    return types.GenerateContentConfig(image_config=image)


def pictures(response: Response) -> list[Image.Image]:
    found: list[Image.Image] = []
    for part in response.parts:
        if part.inline_data is None or part.thought:
            continue
        image = part.as_image()
        opened = Image.open(BytesIO(image.image_bytes))
        opened.load()
        found.append(opened)
    return found


@pytest.mark.parametrize(
    ("model", "size", "pixels"),
    [
        (FLASH, "512", (688, 384)),
        ("gemini-3-pro-image-preview", "1K", (1376, 768)),
        ("gemini-2.5-flash-image", None, (1344, 768)),
        ("gemini-nano-banana-2.1", "1K", (1376, 768)),
    ],
)
def test_it_reads_a_picture_of_the_right_pixels(
    client: Client, model: str, size: str | None, pixels: tuple[int, int]
) -> None:
    response = client.models.generate_content(
        model=model, contents="a cat", config=config(size=size)
    )
    (image,) = pictures(response)
    assert image.size == pixels
    assert response.candidates[0].finish_reason == types.FinishReason.STOP
    assert response.model_version == model.removesuffix("-preview")


def test_it_reads_usage_by_modality(client: Client) -> None:
    counted = [
        client.models.generate_content(
            model=FLASH, contents=f"prompt {n}", config=config()
        ).usage_metadata
        for n in range(4)
    ]
    detailed = [usage for usage in counted if usage.candidates_tokens_details]
    assert detailed
    for usage in detailed:
        (image,) = usage.candidates_tokens_details
        assert (image.modality, image.token_count) == (types.MediaModality.IMAGE, 747)
        assert usage.candidates_token_count > 747
        assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count


def test_it_sends_references_and_every_option_it_has_for_pictures(client: Client) -> None:
    reference = Image.new("RGB", (90, 160), "teal")
    response = client.models.generate_content(
        model=FLASH,
        contents=["Image 1:", reference, "in the style of Image 1"],
        config=types.GenerateContentConfig(
            system_instruction="You draw.",
            response_modalities=["IMAGE"],
            image_config=types.ImageConfig(image_size="512"),
            thinking_config=types.ThinkingConfig(
                thinking_level=types.ThinkingLevel.HIGH, include_thoughts=True
            ),
            safety_settings=[
                types.SafetySetting(
                    category=types.HarmCategory.HARM_CATEGORY_HARASSMENT,
                    threshold=types.HarmBlockThreshold.BLOCK_ONLY_HIGH,
                )
            ],
            tools=[types.Tool(google_search=types.GoogleSearch())],
            seed=3,
        ),
    )
    (image,) = pictures(response)
    assert image.size == (384, 688)
    assert any(part.thought for part in response.parts)
    assert response.candidates[0].grounding_metadata.web_search_queries
    assert 700 <= response.usage_metadata.thoughts_token_count <= 800


@pytest.mark.parametrize("model", [FLASH, "gemini-3-pro-image", "gemini-2.5-flash-image"])
def test_a_chat_of_two_turns_works_with_its_signatures(client: Client, model: str) -> None:
    size = "512" if model == FLASH else None
    chat = client.chats.create(model=model, config=config("4:3", size))
    (first,) = pictures(chat.send_message("a cat"))
    (second,) = pictures(chat.send_message("make it blue"))
    assert first.size == second.size
    assert first.tobytes() != second.tobytes()


def test_a_history_without_its_signatures_is_refused(client: Client) -> None:
    chat = client.chats.create(model=FLASH, config=config())
    chat.send_message("a cat")
    for part in chat.get_history()[1].parts:
        part.thought_signature = None
    with pytest.raises(errors.ClientError, match="is missing a thought_signature") as caught:
        chat.send_message("make it blue")
    assert caught.value.code == 400


def test_it_reads_a_block_a_refusal_and_an_error(client: Client) -> None:
    def ask(text: str, model: str = FLASH) -> Response:
        return client.models.generate_content(model=model, contents=text, config=config())

    assert ask("x [[BLOCKED=SAFETY]]").prompt_feedback.block_reason == types.BlockedReason.SAFETY
    assert ask("x [[NO_IMAGE]]").candidates[0].finish_reason == types.FinishReason.NO_IMAGE
    with pytest.raises(errors.ClientError) as caught:
        ask("x", "gemini-9")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


@pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")  # its own
async def test_its_asynchronous_client_reads_pictures_too(emulator: Emulator) -> None:
    client = genai.Client(
        api_key="a key", vertexai=False, http_options={"base_url": emulator.base_url}
    )
    async with client.aio as asynchronous:
        response = await asynchronous.models.generate_content(
            model=FLASH, contents="a cat", config=config()
        )
    client.close()
    (image,) = pictures(response)
    assert image.size == (688, 384)
