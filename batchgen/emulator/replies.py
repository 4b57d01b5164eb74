"""The body of a 200: candidates, parts and signatures.

`compose` is pure: what was asked, the fault to build in and a seed give one reply.

Shape: a GenerateContentResponse, see docs/api-notes.md, section 1. Members are in
no fixed order and some parts vary from one request to the next, because the real ones do.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, TypeAlias

import pybase64

from batchgen.emulator import faults, grounding, usage
from batchgen.emulator.asked import Asked
from batchgen.emulator.checks import signed_content
from batchgen.emulator.counts import Tally
from batchgen.emulator.dice import Dice
from batchgen.emulator.drawing import Drawn, drawn
from batchgen.emulator.faults import Changing
from batchgen.emulator.signatures import Signer

Json: TypeAlias = dict[str, Any]

_OPENINGS = ("Here is the image you asked for.", "Got it! Here's the image:", "Of course! ")
_CLOSING = "Let me know if you would like any changes."
_WORDS_ONLY = "Got it! Here's the image:"
_NOT_SHOWN = (
    "Unable to show the generated image. The model could not generate the image based on the "
    "prompt provided. You will not be charged for this request. Try rephrasing the prompt."
)
_FINISH_MESSAGES = {
    "IMAGE_OTHER": _NOT_SHOWN,
    "IMAGE_SAFETY": (
        "Unable to show the generated image. The image was filtered out because it violated "
        "Google's Generative AI Prohibited Use policy. You will not be charged for this request. "
        "Try rephrasing the prompt."
    ),
    "IMAGE_PROHIBITED_CONTENT": (
        "Unable to show the generated image due to interests of third-party content providers. "
        "You will not be charged for this request. Support code: 35561574."
    ),
}
# What stands in `content` beside a reason without a picture; everything else gets a bare role.
_REFUSED_CONTENT: dict[str, Json] = {
    "NO_IMAGE": {"parts": None},
    "IMAGE_SAFETY": {"parts": None},
    "IMAGE_OTHER": {},
}


@dataclass(frozen=True)
class Reply:
    """A document, and what it adds to the counts."""

    document: Json
    tally: Tally


def compose(
    asked: Asked, change: Changing | None, *, seed: int, signer: Signer, response_id: str
) -> Reply:
    """The answer to a valid request."""
    dice = Dice(seed, asked.digest)
    if change == faults.WrongSize("dropped"):
        asked = asked.without_image_config()
    if change == faults.Signatures("missing"):  # what is left looks like a model that signs nothing
        asked = replace(asked, model=replace(asked.model, signs_parts=False))
    per_image = asked.model.image_tokens[asked.size]
    too_small = asked.max_output_tokens is not None and asked.max_output_tokens < per_image
    match change:
        case faults.Block(reason, message):
            reply = _blocked(asked, reason, message)
        case faults.Finish(reason):
            reply = _refused(asked, reason, dice)
        case _ if "IMAGE" in asked.modalities and too_small:
            reply = _refused(asked, "MAX_TOKENS", dice)
        case faults.TextOnly():
            reply = _words(asked, signer, dice)
        case _ if "IMAGE" not in asked.modalities:
            reply = _words(asked, signer, dice)
        case _:
            reply = _pictures(asked, change, signer, dice)
    document = {**reply.document, "modelVersion": asked.model.id, "responseId": response_id}
    if isinstance(change, faults.Usage):
        document = usage.spoiled(document, change.fault)
    return Reply(document, reply.tally)


# --- the four kinds of answer


def _blocked(asked: Asked, reason: str, message: str | None) -> Reply:
    tokens = usage.of_block(asked)
    feedback: Json = {"blockReason": reason, "safetyRatings": []}
    if message is not None:
        feedback["blockReasonMessage"] = message
    document = {"promptFeedback": feedback, "usageMetadata": usage.metadata(tokens)}
    return Reply(document, Tally(tokens, 0))


def _refused(asked: Asked, reason: str, dice: Dice) -> Reply:
    tokens = usage.of_refusal(asked, dice)
    candidate: Json = {
        "content": _REFUSED_CONTENT.get(reason, {"role": "model"}),
        "finishReason": reason,
        "index": 0,
    }
    if reason in _FINISH_MESSAGES:
        candidate["finishMessage"] = _FINISH_MESSAGES[reason]
    document = {"candidates": [candidate], "usageMetadata": usage.metadata(tokens)}
    return Reply(document, Tally(tokens, 0))


def _words(asked: Asked, signer: Signer, dice: Dice) -> Reply:
    tokens = usage.of_words(asked, dice)
    part = _signed({"text": _WORDS_ONLY}, asked, signer, signed_content(_WORDS_ONLY, None))
    document = {
        "candidates": [_candidate(asked, [part])],
        "usageMetadata": usage.metadata(tokens),
    }
    return Reply(document, Tally(tokens, 0))


def _pictures(asked: Asked, change: Changing | None, signer: Signer, dice: Dice) -> Reply:
    n_pictures = change.n_pictures if isinstance(change, faults.Drafts) else 1
    parts = list(_parts(asked, list(drawn(asked, change, n_pictures)), signer, dice))
    if isinstance(change, faults.Spelling):
        parts = [_snake_case(part) for part in parts]
    if isinstance(change, faults.FileUri):
        parts = [_by_address(part) for part in parts]
    reason = change.reason if isinstance(change, faults.FinishWithPicture) else "STOP"
    candidates = [_candidate(asked, parts, reason)]
    if isinstance(change, faults.Candidates):
        candidates = [{"finishReason": "STOP", "index": 0}, {**candidates[0], "index": 1}]
    tokens = usage.of_pictures(asked, n_pictures, dice)
    document = {
        "candidates": candidates,
        "usageMetadata": usage.metadata(tokens, null=usage.null_details(asked, dice)),
    }
    # One picture is the answer, however many drafts stand before it; a thought is none.
    return Reply(document, Tally(tokens, 0 if isinstance(change, faults.ThoughtsOnly) else 1))


# --- parts


def _candidate(asked: Asked, parts: list[Json], reason: str = "STOP") -> Json:
    candidate: Json = {
        "content": {"parts": parts, "role": "model"},
        "finishReason": reason,
        "index": 0,
    }
    if asked.web_search:
        candidate["groundingMetadata"] = grounding.metadata(asked, parts)
    return candidate


def _parts(asked: Asked, images: list[Drawn], signer: Signer, dice: Dice) -> Iterator[Json]:
    """Thoughts, then text and images in one of the layouts seen: text may stand on either side."""
    thoughts = [image for image in images if image.thought]
    finals = [image for image in images if not image.thought]
    if thoughts:
        yield {"text": "**Composing the picture**\n\nPlacing the subject first.", "thought": True}
    with_text = finals and "TEXT" in asked.modalities
    layout = dice.choice("layout", ("before", "after", "around")) if with_text else "none"
    before = dice.choice("opening", _OPENINGS) if layout in {"before", "around"} else ""
    after = _CLOSING if layout in {"after", "around"} else ""
    for image in thoughts:
        yield _image_part(asked, image, signer, dice)
    if before:
        yield _signed({"text": before}, asked, signer, signed_content(before, None))
    for image in finals:
        yield _image_part(asked, image, signer, dice)
    if after:
        yield {"text": after}


def _image_part(asked: Asked, image: Drawn, signer: Signer, dice: Dice) -> Json:
    data = pybase64.b64encode(image.content).decode("ascii")
    inline = {"inlineData": {"mimeType": image.mime_type, "data": data}}
    flag = {"thought": True} if image.thought else {}
    # A client that decides at the data whether to keep it must meet the flag after it, too.
    part = {**inline, **flag} if dice.one_in("flag last", 2) else {**flag, **inline}
    content = signed_content(None, sha256(image.content).hexdigest())
    return _signed(part, asked, signer, content)


def _signed(part: Json, asked: Asked, signer: Signer, content: bytes) -> Json:
    if not asked.model.signs_parts:
        return part
    return {**part, "thoughtSignature": signer.sign(asked.model.id, content)}


def _snake_case(part: Json) -> Json:
    renamed = {"inlineData": "inline_data", "thoughtSignature": "thought_signature"}
    part = {renamed.get(name, name): value for name, value in part.items()}
    if "inline_data" in part:
        inline = part["inline_data"]
        part["inline_data"] = {"mime_type": inline["mimeType"], "data": inline["data"]}
    return part


def _by_address(part: Json) -> Json:
    """The same part with its image elsewhere, at an address where nothing is."""
    if "inlineData" not in part:
        return part
    mime_type, data = part["inlineData"]["mimeType"], part["inlineData"]["data"]
    name = sha256(data.encode()).hexdigest()[:32]
    uri = f"https://storage.example.com/{name}.{mime_type.removeprefix('image/')}"
    address = {"mimeType": mime_type, "fileUri": uri}
    return {
        **{"fileData" if key == "inlineData" else key: value for key, value in part.items()},
        "fileData": address,
    }
