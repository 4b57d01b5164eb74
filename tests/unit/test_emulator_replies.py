"""The body of a 200: token arithmetic, parts and signatures, the shapes of refusals."""

import base64
from io import BytesIO
from typing import Any, Literal, TypeAlias

import pytest
from PIL import Image

from batchgen.emulator import asked, blobs, body, faults, models, replies
from batchgen.emulator.asked import Asked
from batchgen.emulator.errors import Refused
from batchgen.emulator.faults import Changing
from batchgen.emulator.replies import Reply
from batchgen.emulator.signatures import Signer

Json: TypeAlias = dict[str, Any]
FLASH, PRO, LITE = "gemini-3.1-flash-image", "gemini-3-pro-image", "gemini-3.1-flash-lite-image"
OLD, NEW = "gemini-2.5-flash-image", "gemini-nano-banana-2.1"
SMALL: Json = {"imageConfig": {"imageSize": "512"}}
PICTURE_ONLY: Json = {"responseModalities": ["IMAGE"]}


def image_part() -> Json:
    out = BytesIO()
    Image.new("RGB", (4, 4), "red").save(out, "PNG")
    data = base64.b64encode(out.getvalue()).decode()
    return {"inlineData": {"mimeType": "image/png", "data": data}}


def request(text: str = "a cat", *parts: Json, config: Json = SMALL) -> Json:
    turn = {"role": "user", "parts": [{"text": text}, *parts]}
    return {"contents": [turn], "generationConfig": config}


def understood(document: object, model_id: str = FLASH, *, seed: int = 0) -> Asked:
    model = models.find(model_id)
    assert model is not None
    typed = body.typed(document)
    return asked.understand(typed, model, blobs.collect(document), Signer(seed))


def reply(
    document: Json, model_id: str = FLASH, change: Changing | None = None, *, seed: int = 0
) -> Reply:
    asked_for = understood(document, model_id, seed=seed)
    signer = Signer(seed)
    return replies.compose(asked_for, change, seed=seed, signer=signer, response_id="id")


def parts(answer: Reply) -> list[Json]:
    found: list[Json] = answer.document["candidates"][0]["content"]["parts"]
    return found


def usage(answer: Reply) -> Json:
    found: Json = answer.document["usageMetadata"]
    return found


def image_of(part: Json) -> Image.Image:
    image = Image.open(BytesIO(base64.b64decode(part["inlineData"]["data"], validate=True)))
    image.load()
    return image


def prompts(n: int) -> list[str]:
    return [f"prompt {k}" for k in range(n)]


# --- tokens


@pytest.mark.parametrize(
    ("model_id", "config", "per_image", "thoughts"),
    [
        (FLASH, SMALL, 747, None),
        (FLASH, {"thinkingConfig": {"thinkingLevel": "HIGH"}}, 1120, (700, 800)),
        (LITE, {"imageConfig": {"aspectRatio": "1:8"}}, 1120, None),
        (NEW, {"imageConfig": {"aspectRatio": "2:3"}}, 1120, (200, 400)),
        (NEW, {"thinkingConfig": {"thinkingLevel": "MINIMAL"}}, 1120, None),
        (PRO, {"responseModalities": ["IMAGE"]}, 1120, (50, 400)),
        (OLD, {"responseModalities": ["IMAGE"]}, 1290, None),
    ],
)
def test_tokens_are_those_of_the_model_and_the_total_is_their_sum(
    model_id: str, config: Json, per_image: int, thoughts: tuple[int, int] | None
) -> None:
    answer = reply(request("tokens, please", image_part(), config=config), model_id)
    model = models.find(model_id)
    assert model is not None
    counted, tokens = usage(answer), answer.tally.tokens
    assert counted["promptTokenCount"] == 3 + model.input_image_tokens
    assert tokens.image == per_image
    assert 88 <= counted["candidatesTokenCount"] - per_image <= 630
    if thoughts is None:
        assert "thoughtsTokenCount" not in counted
    else:
        assert thoughts[0] <= counted["thoughtsTokenCount"] <= thoughts[1]
    assert counted["totalTokenCount"] == tokens.total
    assert tokens.total == tokens.prompt + tokens.candidates + tokens.thoughts


def test_prompt_details_add_up_and_candidate_details_list_images_only() -> None:
    full = next(
        counted
        for text in prompts(20)
        if (counted := usage(reply(request(text, image_part()))))["candidatesTokensDetails"]
    )
    by_modality = {d["modality"]: d["tokenCount"] for d in full["promptTokensDetails"]}
    assert sum(by_modality.values()) == full["promptTokenCount"]
    assert by_modality["IMAGE"] == 1120
    assert full["candidatesTokensDetails"] == [{"modality": "IMAGE", "tokenCount": 747}]


def test_details_are_null_for_some_prompts_and_always_for_the_same() -> None:
    null = [
        text
        for text in prompts(30)
        if usage(reply(request(text)))["candidatesTokensDetails"] is None
    ]
    assert 1 <= len(null) <= 12
    image = {"imageSize": "512", "aspectRatio": "4:1"}
    again = reply(request(null[0], config={"imageConfig": image}))
    assert usage(again)["candidatesTokensDetails"] is None


def test_every_draft_is_counted_and_one_picture_is_the_answer() -> None:
    answer = reply(request(), change=faults.Drafts(3))
    assert answer.tally.n_images == 1
    assert answer.tally.tokens.image == 3 * 747
    images = [part for part in parts(answer) if "inlineData" in part]
    assert len({part["inlineData"]["data"] for part in images}) == 3


def test_a_refusal_reports_its_thoughts_twice_and_totals_them_once() -> None:
    answer = reply(request(config=PICTURE_ONLY), NEW, faults.Finish("NO_IMAGE"))
    counted = usage(answer)
    assert counted["candidatesTokenCount"] == counted["thoughtsTokenCount"]
    assert counted["totalTokenCount"] == (
        counted["promptTokenCount"] + counted["thoughtsTokenCount"]
    )


def test_a_search_feeds_its_results_back_as_prompt_tokens() -> None:
    document = request() | {"tools": [{"googleSearch": {}}]}
    answer = reply(document)
    tokens = answer.tally.tokens
    assert tokens.tool_use > 0
    assert tokens.total == tokens.prompt + tokens.candidates + tokens.tool_use
    grounding = answer.document["candidates"][0]["groundingMetadata"]
    assert grounding["webSearchQueries"]
    assert grounding["groundingChunks"][0]["web"]["uri"]
    assert grounding["searchEntryPoint"]["renderedContent"]
    assert "imageSearchQueries" not in grounding


def test_an_image_search_names_its_queries_and_its_sources() -> None:
    search: Json = {"googleSearch": {"searchTypes": {"webSearch": {}, "imageSearch": {}}}}
    grounding = reply(request() | {"tools": [search]}).document["candidates"][0][
        "groundingMetadata"
    ]
    assert grounding["imageSearchQueries"]
    assert grounding["groundingChunks"][1]["image"]["imageUri"]


@pytest.mark.parametrize("fault", ["missing", "null_details", "strings"])
def test_a_usage_fault_hides_what_the_counts_still_know(
    fault: Literal["missing", "null_details", "strings"],
) -> None:
    answer = reply(request(), change=faults.Usage(fault))
    assert answer.tally.tokens.image == 747
    counted: Json = answer.document.get("usageMetadata", {})
    match fault:
        case "missing":
            assert "usageMetadata" not in answer.document
        case "null_details":
            assert counted["promptTokensDetails"] is None
            assert counted["candidatesTokensDetails"] is None
        case "strings":
            assert counted["totalTokenCount"] == str(answer.tally.tokens.total)


# --- parts


def test_text_stands_beside_the_picture_on_either_side() -> None:
    layouts = {
        tuple("text" if "text" in part else "image" for part in parts(reply(request(text))))
        for text in prompts(20)
    }
    assert layouts == {("text", "image"), ("image", "text"), ("text", "image", "text")}


def test_without_the_text_modality_there_is_only_the_picture() -> None:
    answer = reply(request(config=PICTURE_ONLY | SMALL))
    assert [set(part) for part in parts(answer)] == [{"inlineData", "thoughtSignature"}]


def test_without_the_image_modality_there_are_only_words() -> None:
    answer = reply(request(config=SMALL | {"responseModalities": ["TEXT"]}))
    assert [set(part) for part in parts(answer)] == [{"text", "thoughtSignature"}]
    assert answer.tally.n_images == 0


def test_thoughts_come_when_asked_for_and_their_flag_on_either_side_of_the_data() -> None:
    config = {"thinkingConfig": {"includeThoughts": True}, **SMALL}
    orders = set()
    for text in prompts(12):
        answer = reply(request(text, config=config))
        (thought,) = (p for p in parts(answer) if p.get("thought") and "inlineData" in p)
        orders.add(list(thought).index("thought") > list(thought).index("inlineData"))
        assert image_of(thought).size == (256, 256)
        assert answer.tally.n_images == 1
    assert orders == {True, False}


def test_no_thoughts_come_unasked() -> None:
    assert not any("thought" in part for text in prompts(8) for part in parts(reply(request(text))))


def test_the_name_answered_is_the_ga_name() -> None:
    answer = reply(request(), "gemini-3.1-flash-image-preview")
    assert answer.document["modelVersion"] == FLASH
    assert answer.document["responseId"] == "id"


def test_the_same_request_and_seed_give_the_same_document() -> None:
    assert reply(request(), seed=4) == reply(request(), seed=4)
    assert reply(request(), seed=4) != reply(request(), seed=5)


@pytest.mark.parametrize(("model_id", "format_"), [(PRO, "JPEG"), (OLD, "PNG"), (FLASH, "PNG")])
def test_the_label_is_true_and_of_the_models_kind(model_id: str, format_: str) -> None:
    config = {"responseModalities": ["IMAGE"], "imageConfig": {"aspectRatio": "16:9"}}
    (part,) = parts(reply(request(config=config), model_id))
    assert image_of(part).format == format_
    assert part["inlineData"]["mimeType"] == f"image/{format_.lower()}"


def test_a_limit_below_the_pictures_tokens_leaves_no_picture() -> None:
    answer = reply(request(config=SMALL | {"maxOutputTokens": 500}))
    assert answer.document["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert answer.tally.n_images == 0


# --- faults of the content


@pytest.mark.parametrize(
    ("reason", "content"),
    [
        ("NO_IMAGE", {"parts": None}),
        ("IMAGE_SAFETY", {"parts": None}),
        ("IMAGE_OTHER", {}),
        ("STOP", {"role": "model"}),
        ("NEW_REASON", {"role": "model"}),
    ],
)
def test_a_finish_without_a_picture_has_the_shape_that_was_seen(reason: str, content: Json) -> None:
    answer = reply(request(), change=faults.Finish(reason))
    (candidate,) = answer.document["candidates"]
    assert (candidate["finishReason"], candidate["content"]) == (reason, content)
    assert answer.tally.n_images == 0


@pytest.mark.parametrize("reason", ["IMAGE_OTHER", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT"])
def test_refused_pictures_say_that_they_are_not_charged(reason: str) -> None:
    (candidate,) = reply(request(), change=faults.Finish(reason)).document["candidates"]
    assert "You will not be charged for this request." in candidate["finishMessage"]


def test_a_blocked_prompt_has_no_candidates_and_cost_nothing_but_itself() -> None:
    answer = reply(request(), change=faults.Block("OTHER"))
    assert "candidates" not in answer.document
    assert answer.document["promptFeedback"] == {"blockReason": "OTHER", "safetyRatings": []}
    assert usage(answer)["candidatesTokenCount"] == 0
    assert usage(answer)["totalTokenCount"] == usage(answer)["promptTokenCount"]


def test_text_only_is_a_stop_with_words() -> None:
    answer = reply(request(), change=faults.TextOnly())
    assert answer.document["candidates"][0]["finishReason"] == "STOP"
    assert [set(part) for part in parts(answer)] == [{"text", "thoughtSignature"}]
    assert "candidatesTokensDetails" not in usage(answer)


def test_snake_spelling_renames_the_members_of_parts() -> None:
    image = next(
        part
        for part in parts(reply(request(), change=faults.Spelling("snake")))
        if "text" not in part
    )
    assert set(image) == {"inline_data", "thought_signature"}
    assert set(image["inline_data"]) == {"mime_type", "data"}


def test_a_wrong_size_has_another_ratio() -> None:
    config = PICTURE_ONLY | SMALL
    (part,) = parts(reply(request(config=config), change=faults.WrongSize()))
    width, height = image_of(part).size
    assert width / height > 1.05


def test_a_wrong_label_leaves_the_bytes_alone() -> None:
    config = PICTURE_ONLY | SMALL
    (part,) = parts(reply(request(config=config), change=faults.MimeLabel("image/jpeg")))
    assert part["inlineData"]["mimeType"] == "image/jpeg"
    assert image_of(part).format == "PNG"


@pytest.mark.parametrize("fault", ["truncated", "not_image", "svg"])
def test_a_bad_image_is_valid_base64_of_what_no_decoder_reads(
    fault: Literal["truncated", "not_image", "svg"],
) -> None:
    config = PICTURE_ONLY | SMALL
    (part,) = parts(reply(request(config=config), change=faults.BadImage(fault)))
    with pytest.raises((OSError, SyntaxError)):
        image_of(part)


# --- signatures


def conversation(*, model_id: str = FLASH, include_thoughts: bool = False) -> list[Json]:
    """A first turn and its answer in which text comes first, then the picture, then text."""
    config: Json = {"imageConfig": {"imageSize": "512"} if model_id == FLASH else {}}
    if include_thoughts:
        config["thinkingConfig"] = {"includeThoughts": True}
    for text in prompts(40):
        document = request(text, config=config)
        answer = reply(document, model_id)
        texts = [("text" in p) for p in parts(answer) if not p.get("thought")]
        if texts == [True, False, True]:
            return [*document["contents"], answer.document["candidates"][0]["content"]]
    pytest.fail("no prompt gave that layout")


def edited(contents: list[Json], model_id: str = FLASH) -> Asked:
    turn = {"role": "user", "parts": [{"text": "make it blue"}]}
    return understood({"contents": [*contents, turn], "generationConfig": SMALL}, model_id)


def complaint(contents: list[Json]) -> str:
    with pytest.raises(Refused) as caught:
        edited(contents)
    assert caught.value.refusal.status == 400
    return caught.value.refusal.body.decode()


def test_the_first_part_and_every_image_are_signed() -> None:
    answer = reply(request(), change=faults.Drafts(3))
    signed = ["thoughtSignature" in part for part in parts(answer)]
    images = ["inlineData" in part for part in parts(answer)]
    assert signed[0]
    assert all(has for has, image in zip(signed, images, strict=True) if image)


@pytest.mark.parametrize("include_thoughts", [False, True])
def test_an_answer_sent_back_as_it_came_is_taken(include_thoughts: bool) -> None:  # noqa: FBT001
    contents = conversation(include_thoughts=include_thoughts)
    assert edited(contents).ratio == "1:1"
    assert edited(contents).references[0].width == 512


def test_thoughts_may_be_left_out_of_an_answer_sent_back() -> None:
    question, answer = conversation(include_thoughts=True)
    kept = [part for part in answer["parts"] if not part.get("thought")]
    assert len(kept) < len(answer["parts"])
    edited([question, {**answer, "parts": kept}])


def test_a_url_safe_copy_of_the_signatures_is_taken() -> None:
    question, answer = conversation()
    safe = [
        {**part, "thoughtSignature": part["thoughtSignature"].translate(str.maketrans("+/", "-_"))}
        if "thoughtSignature" in part
        else part
        for part in answer["parts"]
    ]
    edited([question, {**answer, "parts": safe}])


def test_a_missing_signature_is_named_by_its_position_counted_from_one() -> None:
    question, answer = conversation()
    text, image, *rest = answer["parts"]
    bare_text, bare_image = {"text": text["text"]}, {"inlineData": image["inlineData"]}
    first = complaint([question, {**answer, "parts": [bare_text, image, *rest]}])
    assert "Text part is missing a thought_signature in content position 2, part position 1." in (
        first
    )
    second = complaint([question, {**answer, "parts": [text, bare_image, *rest]}])
    assert "Image part is missing a thought_signature in content position 2, part position 2." in (
        second
    )


def test_a_turn_that_the_model_never_said_is_refused() -> None:
    question = request()["contents"][0]
    foreign = {"role": "model", "parts": [image_part()]}
    assert "Image part is missing a thought_signature in content position 2, part position 1." in (
        complaint([question, foreign])
    )


def test_a_forged_signature_is_refused() -> None:
    question, answer = conversation()
    for forged in ("c2ln", "context_engineering_is_the_way_to_go", "", "%%%"):
        parts_ = [{**answer["parts"][0], "thoughtSignature": forged}, *answer["parts"][1:]]
        assert "Corrupted thought signature." in complaint([question, {**answer, "parts": parts_}])


def test_a_signature_on_another_part_is_refused() -> None:
    question, answer = conversation()
    text, image, *rest = answer["parts"]
    swapped = [
        {**text, "thoughtSignature": image["thoughtSignature"]},
        {**image, "thoughtSignature": text["thoughtSignature"]},
    ]
    complaint([question, {**answer, "parts": [*swapped, *rest]}])


def test_a_signature_of_another_models_answer_is_refused() -> None:
    contents = conversation(model_id=NEW)
    complaint(contents)


def test_the_oldest_model_neither_signs_nor_asks_for_signatures() -> None:
    answer = reply(request(config=PICTURE_ONLY), OLD)
    assert [set(part) for part in parts(answer)] == [{"inlineData"}]
    question = request()["contents"][0]
    content = answer.document["candidates"][0]["content"]
    turn = {"role": "user", "parts": [{"text": "make it blue"}]}
    assert understood({"contents": [question, content, turn]}, OLD).n_images_in == 1
