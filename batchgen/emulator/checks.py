"""Every check that the real service makes of a request, each with the answer it gives.

A check returns, or raises the refusal that the service would send. Texts are Google's where a
public report quotes them, and plain English where none was found.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from batchgen.emulator import body as wire
from batchgen.emulator import references
from batchgen.emulator.blobs import Blob
from batchgen.emulator.errors import invalid, refused
from batchgen.emulator.models import Model
from batchgen.emulator.signatures import Signer

MODALITIES = ("TEXT", "IMAGE")
_THRESHOLDS = (
    "HARM_BLOCK_THRESHOLD_UNSPECIFIED",
    "BLOCK_LOW_AND_ABOVE",
    "BLOCK_MEDIUM_AND_ABOVE",
    "BLOCK_ONLY_HIGH",
    "BLOCK_NONE",
    "OFF",
)
_MISSING_SIGNATURE = (
    "{kind} part is missing a thought_signature in content position {turn}, part position {part}. "
    "Please refer to https://ai.google.dev/gemini-api/docs/thought-signatures for more details."
)


@dataclass(frozen=True)
class Case:
    """What every check may look at."""

    request: wire.Request
    model: Model
    blobs: Mapping[str, Blob]
    signer: Signer

    @property
    def turns(self) -> list[wire.Content]:
        """The conversation, oldest first."""
        return self.request.contents or []

    @property
    def config(self) -> wire.GenerationConfig:
        """The generationConfig, empty if none was sent."""
        return self.request.generation_config or wire.GenerationConfig()

    @property
    def image_config(self) -> wire.ImageConfig:
        """The imageConfig, empty if none was sent."""
        return self.config.image_config or wire.ImageConfig()

    @property
    def thinking(self) -> wire.ThinkingConfig | None:
        """The thinkingConfig; some models refuse even an empty one."""
        return self.config.thinking_config

    def parts(self) -> Iterator[tuple[str, wire.Part]]:
        """Every part with its path, as the service writes it."""
        for n_turn, turn in enumerate(self.turns):
            for n_part, part in enumerate(turn.parts or []):
                yield f"contents[{n_turn}].parts[{n_part}]", part

    def images(self) -> Iterator[tuple[str, wire.InlineData]]:
        """Every inline image with the path of its part."""
        for at, part in self.parts():
            if part.inline_data is not None:
                yield at, part.inline_data

    @property
    def user_turns(self) -> list[list[wire.Part]]:
        """The parts of each turn that is not the model's."""
        return [turn.parts or [] for turn in self.turns if turn.role != "model"]


def check(case: Case) -> None:
    """Make every check, in the order in which the service complains.

    Raises:
        Refused: The first that failed.
    """
    for one in _CHECKS:
        one(case)


def _has_contents(case: Case) -> None:
    if not case.turns:
        raise invalid(
            "* GenerateContentRequest.contents: contents is not specified", field_name="contents"
        )
    for turn in case.turns:
        if turn.role not in {None, "user", "model"}:
            raise refused(400, "Please use a valid role: user, model.")
        if not turn.parts:
            at = "contents.parts"
            raise invalid(f"* GenerateContentRequest.{at}: {at} must not be empty.", field_name=at)
    if case.turns[-1].role == "model":
        raise refused(400, "Please ensure that single turn requests end with a user role.")


def _every_part_holds_one_thing(case: Case) -> None:
    for at, part in case.parts():
        held = [part.text is not None, part.inline_data is not None, part.file_data is not None]
        if sum(held) > 1:
            raise invalid(f"Invalid value at '{at}' (oneof), oneof field 'data' is already set.")
        if not any(held) and part.thought_signature is None:
            raise invalid(
                f"* GenerateContentRequest.{at}.data: required oneof field 'data' must have one "
                "initialized field",
                field_name=f"{at}.data",
            )
        if part.file_data is not None:
            raise refused(400, "Cannot fetch content from the provided URL.")


def _modalities_fit(case: Case) -> None:
    for asked in case.config.response_modalities or ():
        if asked not in MODALITIES:
            raise invalid(
                "Invalid value at 'generation_config.response_modalities' "
                f'(type.googleapis.com/google.ai.generativelanguage.v1beta.Modality), "{asked}"',
                field_name="generation_config.response_modalities",
            )


def _geometry_fits(case: Case) -> None:
    image, model = case.image_config, case.model
    if image.aspect_ratio is not None and image.aspect_ratio not in model.ratios:
        raise refused(
            400,
            f"`aspectRatio` does not support `{image.aspect_ratio}` as a valid value. Supported "
            f"values for models/{model.id}: {', '.join(model.ratios)}.",
        )
    if image.image_size is None or image.image_size in model.sizes:
        return
    if not model.sizes:
        raise refused(400, f"`imageSize` is not supported for models/{model.id}.")
    raise refused(
        400,
        f"`imageSize` does not support `{image.image_size}` as a valid value. Supported values "
        f"for models/{model.id}: {', '.join(model.sizes)}.",
    )


def _thinking_fits(case: Case) -> None:
    if case.thinking is None:
        return
    if not case.model.thinking_levels:
        raise refused(400, "Thinking is not enabled for this model")
    level = case.thinking.thinking_level
    if level is not None and case.thinking.thinking_budget is not None:
        raise refused(400, "You can only set only one of thinking budget and thinking level.")
    if level is not None and level.upper() not in case.model.thinking_levels:
        raise refused(400, f"Thinking level {level.upper()} is not supported for this model.")


def _output_is_one_picture(case: Case) -> None:
    config, model_id = case.config, case.model.id
    if (config.candidate_count or 1) > 1:
        raise refused(400, f"Multiple candidates is not enabled for models/{model_id}")
    if config.response_mime_type not in {None, "text/plain"}:
        raise refused(400, f"JSON mode is not enabled for models/{model_id}")


def _tools_fit(case: Case) -> None:
    for tool in case.request.tools or ():
        if tool.function_declarations is not None:
            raise refused(400, f"Function calling is not enabled for models/{case.model.id}")
        if tool.google_search is None:
            raise refused(400, f"Tool use is not enabled for models/{case.model.id}")
        kinds = set(tool.google_search.search_types or {})
        if not case.model.web_search:
            raise refused(400, f"Search as tool is not enabled for models/{case.model.id}")
        if "imageSearch" in kinds and not case.model.image_search:
            raise refused(400, f"Image search is not enabled for models/{case.model.id}")


def _thresholds_exist(case: Case) -> None:
    for n, setting in enumerate(case.request.safety_settings or ()):
        if setting.threshold not in _THRESHOLDS:
            at = f"safety_settings[{n}].threshold"
            raise invalid(f"Invalid value at '{at}', \"{setting.threshold}\"", field_name=at)
        if not setting.category.startswith("HARM_CATEGORY_"):
            at = f"safety_settings[{n}].category"
            raise invalid(f"Invalid value at '{at}', \"{setting.category}\"", field_name=at)


def _images_are_labelled(case: Case) -> None:
    for _, inline in case.images():
        if inline.mime_type.lower() not in references.MIME_TYPES:
            known = ", ".join(references.MIME_TYPES)
            raise refused(
                400, f"Unsupported MIME type: {inline.mime_type}. MIME type must be one of {known}."
            )


def _images_decode(case: Case) -> None:
    for at, inline in case.images():
        if case.blobs[inline.data].content is None:
            raise invalid(
                "Unable to process input image. Invalid value at "
                f"'{at}.inline_data.data' (TYPE_BYTES), Base64 decoding failed.",
                field_name=f"{at}.inline_data.data",
            )


def _images_are_not_too_many(case: Case) -> None:
    n_images = sum(part.inline_data is not None for turn in case.user_turns for part in turn)
    if n_images > case.model.max_references:
        raise refused(
            400,
            f"Too many images: models/{case.model.id} takes at most {case.model.max_references}, "
            f"the request has {n_images}.",
        )


def _signatures_hold(case: Case) -> None:
    """Every model turn must bring back its signatures, each on the part it was issued for.

    They are due on the first part after the thoughts and on every image. Positions count from 1.
    """
    if not case.model.signs_parts:
        return
    for turn_at, turn in enumerate(case.turns, start=1):
        if turn.role != "model":
            continue
        first = True
        for part_at, part in enumerate(turn.parts or [], start=1):
            _check_signature(case, part, due=first, at=(turn_at, part_at))
            first = first and bool(part.thought)


def _check_signature(case: Case, part: wire.Part, *, due: bool, at: tuple[int, int]) -> None:
    image = case.blobs[part.inline_data.data] if part.inline_data else None
    if part.thought_signature is None:
        if (due or image) and not part.thought:
            kind = "Image" if image else "Text"
            raise refused(400, _MISSING_SIGNATURE.format(kind=kind, turn=at[0], part=at[1]))
        return
    content = signed_content(part.text, image.sha256 if image else None)
    if not case.signer.accepts(part.thought_signature, case.model.id, content):
        raise refused(400, "Corrupted thought signature.")


def signed_content(text: str | None, image_sha256: str | None) -> bytes:
    """The content of a part, as a signature binds it."""
    return f"image {image_sha256}".encode() if image_sha256 else f"text {text}".encode()


_CHECKS: tuple[Callable[[Case], None], ...] = (
    _has_contents,
    _every_part_holds_one_thing,
    _modalities_fit,
    _geometry_fits,
    _thinking_fits,
    _output_is_one_picture,
    _tools_fit,
    _thresholds_exist,
    _images_are_labelled,
    _images_decode,
    _images_are_not_too_many,
    _signatures_hold,
)
