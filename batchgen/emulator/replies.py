"""The body of a 200: candidates, parts, signatures and grounding.

`compose` is pure: what was asked, the fault to build in and a seed give one reply.

Shape: a GenerateContentResponse, see docs/api-notes.md, section 1. Members are in
no fixed order and some parts vary from one request to the next, because the real ones do.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeAlias

import pybase64

from batchgen.emulator import faults, usage
from batchgen.emulator.asked import Asked
from batchgen.emulator.checks import signed_content
from batchgen.emulator.counts import Tally
from batchgen.emulator.dice import Dice
from batchgen.emulator.faults import Changing, without_magic_words
from batchgen.emulator.models import MimeType, Pixels
from batchgen.emulator.pictures import Picture, encoded
from batchgen.emulator.signatures import Signer

Json: TypeAlias = dict[str, Any]

_DRAWN_BY = "drawn by the batchgen emulator"
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


@dataclass(frozen=True)
class _Drawn:
    """An image as it goes into a part."""

    content: bytes
    mime_type: str
    thought: bool = False


def compose(
    asked: Asked, change: Changing | None, *, seed: int, signer: Signer, response_id: str
) -> Reply:
    """The answer to a valid request."""
    dice = Dice(seed, asked.digest)
    per_image = asked.model.image_tokens[asked.size]
    too_small = asked.max_output_tokens is not None and asked.max_output_tokens < per_image
    match change:
        case faults.Block(reason):
            reply = _blocked(asked, reason)
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


def _blocked(asked: Asked, reason: str) -> Reply:
    tokens = usage.of_block(asked)
    document = {
        "promptFeedback": {"blockReason": reason, "safetyRatings": []},
        "usageMetadata": usage.metadata(tokens),
    }
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
    drawn = list(_drawn(asked, change, n_pictures))
    parts = list(_parts(asked, drawn, signer, dice))
    if isinstance(change, faults.Spelling):
        parts = [_snake_case(part) for part in parts]
    tokens = usage.of_pictures(asked, n_pictures, dice)
    document = {
        "candidates": [_candidate(asked, parts)],
        "usageMetadata": usage.metadata(tokens, null=usage.null_details(asked, dice)),
    }
    # One picture is the answer, however many drafts stand before it.
    return Reply(document, Tally(tokens, 1))


# --- parts


def _candidate(asked: Asked, parts: list[Json]) -> Json:
    candidate: Json = {
        "content": {"parts": parts, "role": "model"},
        "finishReason": "STOP",
        "index": 0,
    }
    if asked.web_search:
        candidate["groundingMetadata"] = _grounding(asked)
    return candidate


def _parts(asked: Asked, drawn: list[_Drawn], signer: Signer, dice: Dice) -> Iterator[Json]:
    """Thoughts, then text and images in one of the layouts seen: text may stand on either side."""
    if any(image.thought for image in drawn):
        yield {"text": "**Composing the picture**\n\nPlacing the subject first.", "thought": True}
    with_text = "TEXT" in asked.modalities
    layout = dice.choice("layout", ("before", "after", "around")) if with_text else "none"
    before = dice.choice("opening", _OPENINGS) if layout in {"before", "around"} else ""
    after = _CLOSING if layout in {"after", "around"} else ""
    thoughts = [image for image in drawn if image.thought]
    finals = [image for image in drawn if not image.thought]
    for image in thoughts:
        yield _image_part(asked, image, signer, dice)
    if before:
        yield _signed({"text": before}, asked, signer, signed_content(before, None))
    for image in finals:
        yield _image_part(asked, image, signer, dice)
    if after:
        yield {"text": after}


def _image_part(asked: Asked, image: _Drawn, signer: Signer, dice: Dice) -> Json:
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


def _grounding(asked: Asked) -> Json:
    query = " ".join(without_magic_words(asked.prompt).split()[:8]) or "image"
    link = {"uri": "https://www.example.com/article", "title": "example.com"}
    grounding: Json = {
        "webSearchQueries": [query, f"{query} photo"],
        "groundingChunks": [{"web": link}],
        "searchEntryPoint": {"renderedContent": '<div class="container">Search results</div>'},
        "groundingSupports": [],
    }
    if asked.image_search:
        image = {
            "sourceUri": "https://www.example.com/gallery",
            "imageUri": "https://www.example.com/gallery/1.jpg",
            "title": "A picture",
            "domain": "example.com",
        }
        grounding["imageSearchQueries"] = [query]
        grounding["groundingChunks"].append({"image": image})
    return grounding


# --- drawing


def _drawn(asked: Asked, change: Changing | None, n_pictures: int) -> Iterator[_Drawn]:
    """The images in the order of the parts: a thought if wanted, drafts, the final one."""
    model = asked.model
    if asked.include_thoughts and model.thinking_levels:
        small = (max(1, asked.pixels[0] // 2), max(1, asked.pixels[1] // 2))
        picture = _picture(asked, small, note="a thought, ")
        yield _Drawn(encoded(picture, model.mime_type), model.mime_type, thought=True)
    pixels = _other_ratio(asked.pixels) if change == faults.WrongSize() else asked.pixels
    for n in range(1, n_pictures + 1):
        note = f"draft {n} of {n_pictures}, " if n < n_pictures else ""
        content = encoded(_picture(asked, pixels, note=note), model.mime_type)
        yield _spoiled(content, model.mime_type, change)


def _picture(asked: Asked, pixels: Pixels, *, note: str) -> Picture:
    geometry = [asked.ratio, asked.size, f"{pixels[0]}x{pixels[1]}"]
    return Picture(
        pixels=pixels,
        prompt=without_magic_words(asked.prompt),
        facts=(asked.model.id, " · ".join(filter(None, geometry)), note + _DRAWN_BY),
        references=asked.references,
        look=asked.look,
    )


def _other_ratio(pixels: Pixels) -> Pixels:
    square = abs(pixels[0] - pixels[1]) < min(pixels) / 10
    return (1264, 848) if square else (1024, 1024)


def _spoiled(content: bytes, mime_type: MimeType, change: Changing | None) -> _Drawn:
    match change:
        case faults.MimeLabel(label):
            return _Drawn(content, label)
        case faults.BadImage("truncated"):
            return _Drawn(content[: len(content) * 3 // 5], mime_type)
        case faults.BadImage("not_image"):
            return _Drawn(b"<html><body>This is not an image.</body></html>", mime_type)
        case faults.BadImage("svg"):
            svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>'
            return _Drawn(svg, mime_type)
        case _:
            return _Drawn(content, mime_type)
