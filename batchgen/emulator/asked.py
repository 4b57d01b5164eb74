"""What a request asks for, once it has passed every check."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

from batchgen.emulator import body as wire
from batchgen.emulator import references as refs
from batchgen.emulator.blobs import Blob
from batchgen.emulator.checks import MODALITIES, Case, check
from batchgen.emulator.errors import refused
from batchgen.emulator.models import Model, Pixels
from batchgen.emulator.references import Reference
from batchgen.emulator.signatures import Signer

_CHARACTERS_PER_TOKEN = 4
_NOT_AN_IMAGE = (
    "Unable to process input image. Please retry or report in "
    "https://developers.generativeai.google/guide/troubleshooting"
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A valid request, in the terms of the one who draws and counts.

    Attributes:
        prompt: All text of the last user turn; it is what the picture shows.
        look: Names the prompt and its images; pictures of one look share colours and pattern.
        digest: Names everything that changes the answer; equal digests get equal pictures.
    """

    model: Model
    prompt: str
    references: tuple[Reference, ...]
    ratio: str
    size: str
    pixels: Pixels
    modalities: frozenset[str]
    thinking: str | None
    include_thoughts: bool
    web_search: bool
    image_search: bool
    max_output_tokens: int | None
    text_tokens: int
    n_images_in: int
    service_tier: str
    look: str
    digest: str

    def without_image_config(self) -> "Asked":
        """The same, had it come without imageConfig: the model chooses the size and the ratio."""
        ratio, size = _ratio_like(self.model, self.references), self.model.default_size
        return replace(self, ratio=ratio, size=size, pixels=self.model.pixels(ratio, size))


def last_user_texts(request: wire.Request) -> tuple[str, ...]:
    """The text parts of the last turn that is not the model's."""
    turns = [turn for turn in request.contents or [] if turn.role != "model"]
    parts = (turns[-1].parts or []) if turns else []
    return tuple(part.text for part in parts if part.text)


def understand(
    request: wire.Request, model: Model, blobs: Mapping[str, Blob], signer: Signer
) -> Asked:
    """Check a request as the service does, and say what it asks for.

    Raises:
        Refused: The first check that failed.
    """
    case = Case(request, model, blobs, signer)
    check(case)
    references = tuple(_references(case))
    config, image = case.config, case.image_config
    ratio = image.aspect_ratio or _ratio_like(model, references)
    size = image.image_size or model.default_size
    texts = list(_texts(case))
    search = _search(case)
    return Asked(
        model=model,
        prompt="\n".join(last_user_texts(request)),
        references=references,
        ratio=ratio,
        size=size,
        pixels=model.pixels(ratio, size),
        modalities=frozenset(config.response_modalities or MODALITIES),
        thinking=_thinking_level(case),
        include_thoughts=bool(case.thinking and case.thinking.include_thoughts),
        web_search=search is not None,
        image_search=search is not None and "imageSearch" in (search.search_types or {}),
        max_output_tokens=config.max_output_tokens,
        text_tokens=sum(max(1, len(text) // _CHARACTERS_PER_TOKEN) for text in texts),
        n_images_in=sum(1 for _ in case.images()),
        service_tier=(request.service_tier or "standard").lower(),
        look=_hash(*texts, *(reference.sha256 for reference in references)),
        digest=_digest(case),
    )


def _texts(case: Case) -> Iterator[str]:
    system = case.request.system_instruction
    yield from (part.text for part in (system.parts or [] if system else []) if part.text)
    yield from (part.text for _, part in case.parts() if part.text)


def _references(case: Case) -> Iterator[Reference]:
    """The images of the last user turn; without any, the picture that is being edited."""
    parts = case.user_turns[-1]
    if not any(part.inline_data for part in parts):
        answers = [turn.parts or [] for turn in case.turns if turn.role == "model"]
        parts = [part for part in (answers[-1] if answers else []) if part.inline_data][-1:]
    images = [part.inline_data for part in parts if part.inline_data]
    for inline, label in zip(images, _labels(parts), strict=True):
        blob = case.blobs[inline.data]
        try:
            yield refs.read(blob.content or b"", blob.sha256, label)
        except refs.NotAnImage as error:
            raise refused(400, _NOT_AN_IMAGE) from error


def _labels(parts: list[wire.Part]) -> list[str]:
    """The text right before each image, if every image has one and a prompt is left over."""
    before = [None, *parts]
    labels = [
        (previous.text if previous else None) or ""
        for previous, part in zip(before, parts, strict=False)
        if part.inline_data
    ]
    n_texts = sum(bool(part.text) for part in parts)
    return labels if all(labels) and n_texts > len(labels) else [""] * len(labels)


def _ratio_like(model: Model, references: tuple[Reference, ...]) -> str:
    if not references:
        return "1:1"
    return model.nearest_ratio(references[-1].width, references[-1].height)


def _thinking_level(case: Case) -> str | None:
    level = case.thinking.thinking_level if case.thinking else None
    return level.upper() if level else case.model.default_thinking


def _search(case: Case) -> wire.GoogleSearch | None:
    found = [tool.google_search for tool in case.request.tools or () if tool.google_search]
    return found[0] if found else None


def _digest(case: Case) -> str:
    """A hash of the request in which each image stands as its hash, and signatures count not."""
    turns = [
        f"{turn.role} {part.text} "
        + (case.blobs[part.inline_data.data].sha256 if part.inline_data else "")
        for turn in case.turns
        for part in turn.parts or []
    ]
    request = case.request
    rest = (request.system_instruction, request.generation_config, request.tools)
    return _hash(case.model.id, *turns, *(repr(field) for field in rest))


def _hash(*texts: str) -> str:
    joined = "\0".join(texts).encode("utf-8", "surrogatepass")
    return sha256(joined).hexdigest()
