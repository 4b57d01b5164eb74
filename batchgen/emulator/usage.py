"""Token counts as the real models report them, oddities included.

On success candidatesTokenCount is 88 to 630 above the sum of its details, which list images only;
on a refusal it repeats thoughtsTokenCount; details are null at times. totalTokenCount is right in
every case.

Source: docs/api-notes.md, section 2; measured on the same backend by a gateway.
"""

from typing import Any, Literal, TypeAlias

from batchgen.emulator.asked import Asked
from batchgen.emulator.counts import Tokens
from batchgen.emulator.dice import Dice

Json: TypeAlias = dict[str, Any]

_UNCATEGORISED = (88, 630)
_REFUSAL_THOUGHTS = (50, 400)
_TOOL_USE = (120, 900)
_NULL_DETAILS_ONE_IN = 8


def of_pictures(asked: Asked, n_pictures: int, dice: Dice) -> Tokens:
    """The tokens of an answer with pictures; drafts count, a thought's image does not."""
    image = n_pictures * asked.model.image_tokens[asked.size]
    candidates = image + dice.integer("uncategorised", *_UNCATEGORISED)
    return _summed(asked, candidates, _thoughts(asked, dice), dice, image=image)


def of_words(asked: Asked, dice: Dice) -> Tokens:
    """The tokens of an answer without a picture that is none of a refusal."""
    candidates = dice.integer("words", 8, 40)
    return _summed(asked, candidates, _thoughts(asked, dice), dice)


def of_refusal(asked: Asked, dice: Dice) -> Tokens:
    """The tokens of a finish without a picture: thinking, reported twice and summed once."""
    spent = dice.integer("refusal", *_REFUSAL_THOUGHTS)
    prompt_image = _prompt_image(asked)
    prompt = asked.text_tokens + prompt_image
    return Tokens(
        prompt=prompt,
        prompt_image=prompt_image,
        candidates=spent,
        thoughts=spent if _thoughts(asked, dice) else 0,
        total=prompt + spent,
    )


def of_block(asked: Asked) -> Tokens:
    """The tokens of a blocked prompt: it was read, nothing was made."""
    prompt_image = _prompt_image(asked)
    prompt = asked.text_tokens + prompt_image
    return Tokens(prompt=prompt, prompt_image=prompt_image, total=prompt)


def null_details(asked: Asked, dice: Dice) -> tuple[str, ...]:
    """The details members that are null in this answer; the prompt alone decides."""
    if not Dice(dice.seed, asked.look).one_in("null details", _NULL_DETAILS_ONE_IN):
        return ()
    both = ("promptTokensDetails", "candidatesTokensDetails")
    return both if dice.one_in("both null", 2) else both[1:]


def metadata(tokens: Tokens, *, null: tuple[str, ...] = ()) -> Json:
    """The usageMetadata member. A count of nothing is absent, as protobuf's JSON has it."""
    counted = {
        "promptTokenCount": tokens.prompt,
        "candidatesTokenCount": tokens.candidates,
        "totalTokenCount": tokens.total,
    }
    if tokens.thoughts:
        counted["thoughtsTokenCount"] = tokens.thoughts
    details = {"promptTokensDetails": _prompt_details(tokens)}
    if tokens.image:
        details["candidatesTokensDetails"] = [_detail("IMAGE", tokens.image)]
    if tokens.tool_use:
        counted["toolUsePromptTokenCount"] = tokens.tool_use
        details["toolUsePromptTokensDetails"] = [_detail("TEXT", tokens.tool_use)]
    return {**counted, **details, **dict.fromkeys(null)}


def spoiled(document: Json, fault: Literal["missing", "null_details", "strings"]) -> Json:
    """The document with a fault in its usageMetadata."""
    found = document["usageMetadata"]
    match fault:
        case "missing":
            return {name: value for name, value in document.items() if name != "usageMetadata"}
        case "null_details":
            nulls = {name: None for name in found if name.endswith("Details")}
            return {**document, "usageMetadata": {**found, **nulls}}
        case "strings":
            strings = {
                name: str(value) if isinstance(value, int) else value
                for name, value in found.items()
            }
            return {**document, "usageMetadata": strings}


def _summed(asked: Asked, candidates: int, thoughts: int, dice: Dice, *, image: int = 0) -> Tokens:
    prompt_image = _prompt_image(asked)
    prompt = asked.text_tokens + prompt_image
    tool_use = dice.integer("tool use", *_TOOL_USE) if asked.web_search else 0
    return Tokens(
        prompt=prompt,
        prompt_image=prompt_image,
        candidates=candidates,
        image=image,
        thoughts=thoughts,
        tool_use=tool_use,
        total=prompt + candidates + thoughts + tool_use,
    )


def _thoughts(asked: Asked, dice: Dice) -> int:
    span = asked.model.thought_tokens.get(asked.thinking or "")
    return dice.integer("thoughts", *span) if span else 0


def _prompt_image(asked: Asked) -> int:
    return asked.n_images_in * asked.model.input_image_tokens


def _prompt_details(tokens: Tokens) -> list[Json]:
    text = tokens.prompt - tokens.prompt_image
    details = [_detail("TEXT", text)] if text else []
    return details + ([_detail("IMAGE", tokens.prompt_image)] if tokens.prompt_image else [])


def _detail(modality: str, n_tokens: int) -> Json:
    return {"modality": modality, "tokenCount": n_tokens}
