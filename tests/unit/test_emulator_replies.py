"""The body of a 200: token arithmetic, parts and signatures, the shapes of refusals."""

import base64
import json
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pytest
from PIL import Image

from batchgen.emulator import asked, blobs, body, faults, faults_file, models, replies
from batchgen.emulator.asked import Asked
from batchgen.emulator.errors import Refused
from batchgen.emulator.faults import Action, Changing, Seen
from batchgen.emulator.replies import Reply
from batchgen.emulator.signatures import Signer

Json: TypeAlias = dict[str, Any]
FLASH, PRO, LITE = "gemini-3.1-flash-image", "gemini-3-pro-image", "gemini-3.1-flash-lite-image"
OLD, NEW = "gemini-2.5-flash-image", "gemini-nano-banana-2.1"
SMALL: Json = {"imageConfig": {"imageSize": "512"}}
PICTURE_ONLY: Json = {"responseModalities": ["IMAGE"]}
SEARCH: Json = {"tools": [{"googleSearch": {}}]}


def image_part(pixels: tuple[int, int] = (4, 4)) -> Json:
    out = BytesIO()
    Image.new("RGB", pixels, "red").save(out, "PNG")
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
    answer = reply(request() | SEARCH)
    tokens = answer.tally.tokens
    assert tokens.tool_use > 0
    assert tokens.total == tokens.prompt + tokens.candidates + tokens.tool_use


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


@pytest.mark.parametrize(
    "change",
    [
        None,
        faults.TextOnly(),
        faults.ThoughtsOnly(),
        faults.FinishWithPicture("IMAGE_SAFETY"),
    ],
)
def test_pictures_and_words_of_a_search_are_grounded(change: Changing | None) -> None:
    (candidate,) = reply(request() | SEARCH, change=change).document["candidates"]
    assert candidate["groundingMetadata"]["webSearchQueries"]
    (candidate,) = reply(request(), change=change).document["candidates"]
    assert "groundingMetadata" not in candidate


def test_a_refusal_tells_of_no_search() -> None:
    answer = reply(request() | SEARCH, change=faults.Finish("IMAGE_SAFETY"))
    (candidate,) = answer.document["candidates"]
    assert "groundingMetadata" not in candidate
    assert answer.tally.tokens.tool_use == 0


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


# --- every reason that the API names

FINISH_REASONS = (
    "FINISH_REASON_UNSPECIFIED",
    "STOP",
    "MAX_TOKENS",
    "SAFETY",
    "RECITATION",
    "LANGUAGE",
    "OTHER",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MALFORMED_FUNCTION_CALL",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_OTHER",
    "NO_IMAGE",
    "IMAGE_RECITATION",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
    "MALFORMED_RESPONSE",
    "ESCALATION",
    "PUP_LIMITED_DISABLED",
    "CONTINUATION",
    "MODEL_ARMOR",
)
BLOCK_REASONS = (
    "BLOCKED_REASON_UNSPECIFIED",
    "BLOCK_REASON_UNSPECIFIED",
    "SAFETY",
    "OTHER",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "IMAGE_SAFETY",
    "MODEL_ARMOR",
    "JAILBREAK",
)


def by_word(word: str) -> Action | None:
    return faults.magic_word(Seen((f"a cat [[{word}]]",), FLASH, 1, 1))


def by_rule(tmp_path: Path, text: str) -> Action:
    path = tmp_path / "faults.yaml"
    path.write_text(f"- {{{text}}}\n")
    (rule,) = faults_file.load(path)
    return rule.action


@pytest.mark.parametrize("reason", FINISH_REASONS)
def test_every_finish_reason_can_be_had_without_a_picture(tmp_path: Path, reason: str) -> None:
    change = by_rule(tmp_path, f"finish_reason: {reason}")
    assert change == by_word(reason) == faults.Finish(reason)
    answer = reply(request(config=PICTURE_ONLY), NEW, faults.Finish(reason))
    (candidate,) = json.loads(json.dumps(answer.document))["candidates"]
    assert candidate["finishReason"] == reason
    assert not candidate["content"].get("parts")
    assert answer.tally.n_images == 0
    counted = usage(answer)
    assert counted["totalTokenCount"] == (
        counted["promptTokenCount"] + counted["thoughtsTokenCount"]
    )


@pytest.mark.parametrize("reason", [*FINISH_REASONS, "NEW_REASON"])
def test_every_finish_reason_can_be_had_beside_a_picture(tmp_path: Path, reason: str) -> None:
    change = by_rule(tmp_path, f"finish_with_picture: {reason}")
    assert change == faults.FinishWithPicture(reason)
    answer = reply(request(config=PICTURE_ONLY | SMALL), change=faults.FinishWithPicture(reason))
    (candidate,) = answer.document["candidates"]
    assert candidate["finishReason"] == reason
    (part,) = parts(answer)
    assert image_of(part).size == (512, 512)
    assert (answer.tally.n_images, answer.tally.tokens.image) == (1, 747)


@pytest.mark.parametrize("reason", BLOCK_REASONS)
def test_every_block_reason_can_be_had(tmp_path: Path, reason: str) -> None:
    change = by_rule(tmp_path, f"block_reason: {reason}")
    assert change == by_word(f"BLOCKED={reason}") == faults.Block(reason)
    answer = reply(request(), change=faults.Block(reason))
    assert "candidates" not in answer.document
    assert answer.document["promptFeedback"] == {"blockReason": reason, "safetyRatings": []}
    assert answer.tally.n_images == 0


def test_a_block_says_the_message_of_its_rule() -> None:
    feedback = reply(request(), change=faults.Block("SAFETY", "Not this.")).document[
        "promptFeedback"
    ]
    assert feedback["blockReasonMessage"] == "Not this."


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


@pytest.mark.parametrize("include_thoughts", [False, True])
@pytest.mark.parametrize("model_id", [FLASH, OLD])
def test_thoughts_alone_hold_the_only_picture_and_cost_as_much_as_one(
    model_id: str,
    include_thoughts: bool,  # noqa: FBT001
) -> None:
    config: Json = {"imageConfig": {"aspectRatio": "3:2"}}
    if include_thoughts and model_id != OLD:
        config["thinkingConfig"] = {"includeThoughts": True}
    answer = reply(request(config=config), model_id, faults.ThoughtsOnly())
    text, image = parts(answer)
    assert answer.document["candidates"][0]["finishReason"] == "STOP"
    assert text["thought"] is image["thought"] is True
    model = models.find(model_id)
    assert model is not None
    assert image_of(image).size == model.pixels("3:2", model.default_size)
    assert answer.tally.tokens.image == model.image_tokens[model.default_size]
    assert answer.tally.n_images == 0


def test_a_second_candidate_holds_what_the_first_does_not() -> None:
    answer = reply(request(), change=faults.Candidates("second"))
    first, second = answer.document["candidates"]
    assert first == {"finishReason": "STOP", "index": 0}
    assert (second["finishReason"], second["index"]) == ("STOP", 1)
    assert any("inlineData" in part for part in second["content"]["parts"])
    assert answer.tally.n_images == 1


def test_a_picture_by_address_is_nowhere_inline() -> None:
    config = SMALL | {"thinkingConfig": {"includeThoughts": True}}
    answer = reply(request(config=config), change=faults.FileUri())
    assert not any("inlineData" in part for part in parts(answer))
    thought, picture = (part for part in parts(answer) if "fileData" in part)
    assert thought["thought"] is True
    assert set(picture) == {"fileData", "thoughtSignature"}
    assert picture["fileData"]["mimeType"] == "image/png"
    uris = {part["fileData"]["fileUri"] for part in (thought, picture)}
    assert len(uris) == 2
    assert all(uri.startswith("https://storage.example.com/") for uri in uris)
    assert (answer.tally.n_images, answer.tally.tokens.image) == (1, 747)


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
    (part,) = parts(reply(request(config=config), change=faults.WrongSize("ratio")))
    width, height = image_of(part).size
    assert width / height > 1.05


@pytest.mark.parametrize(
    ("extra", "pixels"), [([], (1024, 1024)), ([image_part((90, 160))], (768, 1376))]
)
def test_a_dropped_image_config_leaves_size_and_ratio_to_the_model(
    extra: list[Json], pixels: tuple[int, int]
) -> None:
    config = PICTURE_ONLY | {"imageConfig": {"aspectRatio": "16:9", "imageSize": "512"}}
    answer = reply(request("a cat", *extra, config=config), change=faults.WrongSize("dropped"))
    (part,) = parts(answer)
    assert image_of(part).size == pixels
    assert answer.tally.tokens.image == 1120


def test_a_dropped_image_config_changes_no_request_that_had_none() -> None:
    document = request(config=PICTURE_ONLY)
    assert reply(document, change=faults.WrongSize("dropped")) == reply(document)


def test_a_wrong_label_leaves_the_bytes_alone() -> None:
    config = PICTURE_ONLY | SMALL
    (part,) = parts(reply(request(config=config), change=faults.MimeLabel("image/jpeg")))
    assert part["inlineData"]["mimeType"] == "image/jpeg"
    assert image_of(part).format == "PNG"


@pytest.mark.parametrize("fault", ["truncated", "not_image", "svg", "heic", "empty"])
def test_a_bad_image_is_valid_base64_of_what_no_decoder_reads(
    fault: Literal["truncated", "not_image", "svg", "heic", "empty"],
) -> None:
    config = PICTURE_ONLY | SMALL
    (part,) = parts(reply(request(config=config), change=faults.BadImage(fault)))
    with pytest.raises((OSError, SyntaxError)):
        image_of(part)


def test_an_empty_image_keeps_its_place_and_its_label() -> None:
    config = PICTURE_ONLY | SMALL
    (part,) = parts(reply(request(config=config), change=faults.BadImage("empty")))
    assert part["inlineData"] == {"mimeType": "image/png", "data": ""}


def test_a_heic_image_says_so_in_its_label_and_its_first_bytes() -> None:
    config = PICTURE_ONLY | SMALL
    (part,) = parts(reply(request(config=config), change=faults.BadImage("heic")))
    assert part["inlineData"]["mimeType"] == "image/heic"
    assert base64.b64decode(part["inlineData"]["data"])[4:12] == b"ftypheic"


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


def test_an_answer_that_lost_its_signatures_is_not_taken_back() -> None:
    for text in prompts(4):
        document = request(text)
        whole = reply(document)
        bare = reply(document, change=faults.Signatures("missing"))
        without = [
            {name: value for name, value in part.items() if name != "thoughtSignature"}
            for part in parts(whole)
        ]
        assert parts(bare) == without
        assert bare.tally == whole.tally
        answer = bare.document["candidates"][0]["content"]
        assert "part is missing a thought_signature" in complaint([*document["contents"], answer])


@pytest.mark.parametrize("modalities", [["TEXT"], ["IMAGE"]])
def test_words_and_thoughts_can_come_unsigned_too(modalities: list[str]) -> None:
    thinking = {"thinkingConfig": {"includeThoughts": True}}
    config = SMALL | thinking | {"responseModalities": modalities}
    answer = reply(request(config=config), change=faults.Signatures("missing"))
    assert not any("thoughtSignature" in part for part in parts(answer))


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
