"""The quick way for most lines of a log: whole answers with a picture, and counts that tell of one.

A line goes this way only if all of its members are of the usual kind; what it comes to is what
`foreign` and `price_tokens` make of it, to the micro-dollar. Everything else is handed back.

Cost: about two microseconds a line, a third of which is its decoding (`benchmarks`, `cost`).
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from batchgen.known_models import plain_name
from batchgen.model import Outcome, Tokens
from batchgen.spending.foreign import Foreign, look_at
from batchgen.spending.pricing import MICRO, WholeRates
from batchgen.spending.tally import Call, Sums, Tally
from batchgen.wire.usage import told_tier

# What is longer holds an image, and goes the way on which nothing is held twice.
_MAX_BYTES: Final = 16 << 10
_MAX_REMEMBERED: Final = 4096
# Half of what is finer is no exact float any more.
_FINEST: Final = 10**22
_UTC: Final = "Z"

_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=10**12)]


class _Detail(msgspec.Struct, gc=False):
    modality: Literal["TEXT", "IMAGE", "VIDEO", "AUDIO", "DOCUMENT"]
    tokenCount: _Count  # noqa: N815 - the API's own names


class _Usage(msgspec.Struct, gc=False, kw_only=True, forbid_unknown_fields=True):
    promptTokenCount: _Count  # noqa: N815
    candidatesTokenCount: Annotated[int, msgspec.Meta(ge=1, le=10**12)]  # noqa: N815
    thoughtsTokenCount: _Count | None = None  # noqa: N815
    totalTokenCount: _Count  # noqa: N815
    promptTokensDetails: list[_Detail] = []  # noqa: N815
    candidatesTokensDetails: list[_Detail] = []  # noqa: N815
    toolUsePromptTokenCount: _Count = 0  # noqa: N815
    trafficType: str = ""  # noqa: N815


class _Answer(msgspec.Struct, gc=False, kw_only=True, forbid_unknown_fields=True):
    candidates: msgspec.Raw
    usageMetadata: _Usage  # noqa: N815
    modelVersion: str  # noqa: N815
    createTime: str = _UTC  # noqa: N815
    responseId: str = ""  # noqa: N815


class _Blob(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    mimeType: Literal["image/png", "image/jpeg", "image/webp"]  # noqa: N815
    data: msgspec.Raw = msgspec.Raw()


class _Part(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    inlineData: _Blob | None = None  # noqa: N815
    text: str = ""
    thought: bool = False
    thoughtSignature: str = ""  # noqa: N815


class _Content(msgspec.Struct, gc=False, kw_only=True, forbid_unknown_fields=True):
    parts: list[_Part]
    role: str = ""


class _Candidate(msgspec.Struct, gc=False, kw_only=True, forbid_unknown_fields=True):
    content: _Content
    finishReason: str = ""  # noqa: N815
    index: int = 0


_decode_usage = msgspec.json.Decoder(_Usage).decode
_decode_candidates = msgspec.json.Decoder(list[_Candidate]).decode


@dataclass(slots=True)
class _Slot:
    """Calls of one kind: what they have in common, and what they came to.

    Attributes:
        sums: Of the group that they belong to.
        rates: What a token costs: input, text and image output; their scale, and half of it.
        input: Tokens that were sent, images included.
        n_expected: How many tokens their images take, where the details do not say.
    """

    sums: Sums
    rates: tuple[int, int, int, int, float]
    n_expected: int
    n: int = 0
    input: int = 0
    input_image: int = 0
    output_text: int = 0
    output_image: int = 0
    thoughts: int = 0
    micro_usd: int = 0
    micro_inferred_usd: int = 0

    def hand_over(self) -> None:
        """Add what they came to to the sums of their group."""
        tokens = Tokens(
            input_text=self.input - self.input_image,
            input_image=self.input_image,
            output_text=self.output_text,
            output_image=self.output_image,
            thoughts=self.thoughts,
        )
        usd, inferred_usd = (
            Decimal(micro) / MICRO for micro in (self.micro_usd, self.micro_inferred_usd)
        )
        self.sums.add_pictures(self.n, tokens, usd, inferred_usd)


# By the look of an answer, its model, its day and its traffic type.
_Kind: TypeAlias = tuple[int, str, str, str]


@dataclass(slots=True)
class Plain:
    """Adds up the plain lines of a log, and hands back the others.

    Attributes:
        n_lines: How many lines there were, once they are at an end.
    """

    tally: Tally
    foreign: Foreign
    n_lines: int = 0
    _looks: dict[bytes, int] = field(default_factory=dict)
    _slots: dict[_Kind, _Slot | None] = field(default_factory=dict)
    _outside: Sums = field(default_factory=Sums)
    _untimed: Sums = field(default_factory=Sums)

    def odd_lines(self, lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
        """Count the plain lines; yield the others with their numbers, from 1."""
        decode = msgspec.json.Decoder(_Answer).decode
        looks, slots = self._looks, self._slots
        number = 0
        try:
            for number, line in enumerate(lines, 1):
                try:
                    answer = decode(line)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                    if not self._take_bare(line):
                        yield number, line
                    continue
                usage, at = answer.usageMetadata, answer.createTime
                if at[-1:] != _UTC or _has_more(usage):
                    yield number, line
                    continue
                candidates = bytes(answer.candidates)
                try:
                    n_images = looks[candidates]
                except KeyError:
                    n_images = self._look(candidates)
                kind = (n_images, answer.modelVersion, at[:10], usage.trafficType)
                try:
                    slot = slots[kind]
                except KeyError:
                    slot = slots[kind] = self._slot(kind)
                if slot is None:
                    yield number, line
                else:
                    _add(slot, usage)
        finally:
            self.n_lines = number

    def end(self) -> None:
        """Hand everything over to the tally; afterwards nothing may be added."""
        for slot in filter(None, self._slots.values()):
            slot.hand_over()
        self.tally.n_outside += self._outside.attempts
        self.tally.n_untimed += self._untimed.attempts
        self._slots.clear()

    def _take_bare(self, line: bytes) -> bool:
        """Count a usageMetadata by itself, if its details tell of a picture; whether it was one."""
        try:
            usage = _decode_usage(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        details = usage.candidatesTokensDetails
        is_picture = any(one.modality == "IMAGE" and one.tokenCount for one in details)
        if not is_picture or _has_more(usage):
            return False
        kind = (1, "", _UTC, usage.trafficType)
        if kind not in self._slots:
            self._slots[kind] = self._slot(kind)
        if (slot := self._slots[kind]) is None:
            return False
        _add(slot, usage)
        return True

    def _look(self, candidates: bytes) -> int:
        """How many images candidates hold, which is remembered; 0 for what goes the other way."""
        n_images = 0
        if len(candidates) > _MAX_BYTES:
            return n_images
        with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            n_images = _n_images(candidates)
        if len(self._looks) >= _MAX_REMEMBERED:
            self._looks.clear()
        self._looks[candidates] = n_images
        return n_images

    def _slot(self, kind: _Kind) -> _Slot | None:
        """Where calls of a kind go; None if it takes more to say what they cost."""
        n_images, model, written, traffic = kind
        day = None if written == _UTC else _midnight(written)
        asked = None if model else self.foreign.assumed.model
        price = self.foreign.pricer.find(model or None, asked, None if day is None else written)
        if not n_images or price is None or (day is None and written != _UTC):
            return None
        told = told_tier({"trafficType": traffic})
        tier = told or self.foreign.assumed.tier or "standard"
        sums = self._sums(model or asked or "", day)
        if sums is None or tier not in price.tiers:
            return None
        rates = WholeRates.of(price.tiers[tier])
        if rates.scale > _FINEST:
            return None
        n_expected = n_images * price.tokens_an_image(self.foreign.assumed.size)
        whole = (rates.input, rates.text_output, rates.image_output, rates.scale, rates.scale / 2)
        return _Slot(sums, whole, n_expected)

    def _sums(self, model: str, day: datetime | None) -> Sums | None:
        """The sums that calls of a model and day go into; None if a part of the day counts."""
        span = self.tally.span
        if span.is_bounded:
            if day is None:
                return self._untimed
            is_inside = span.has_all_of(day)
            if not is_inside:
                return None if is_inside is None else self._outside
        name = plain_name(model.strip())
        return self.tally.sums_of(Call(model=name, at=day, outcome=Outcome.IMAGE, basis="reported"))


def _n_images(candidates: bytes) -> int:
    """How many images candidates hold; 0 unless one of them is the picture, and all is plain.

    Raises:
        MsgspecError, UnicodeDecodeError, RecursionError: They are no JSON.
    """
    try:
        (candidate,) = _decode_candidates(candidates)
    except (msgspec.ValidationError, ValueError):
        seen = look_at({"candidates": msgspec.json.decode(candidates)})
        is_plain = seen.outcome is Outcome.IMAGE and not seen.n_queries
        return seen.n_images or 0 if is_plain else 0
    images = [part for part in candidate.content.parts if part.inlineData is not None]
    has_picture = any(not part.thought for part in images)
    return len(images) if has_picture else 0


def _has_more(usage: _Usage) -> bool:
    """Whether the total tells of thoughts that nothing else does."""
    if usage.thoughtsTokenCount is not None:
        return False
    known = usage.promptTokenCount + usage.candidatesTokenCount + usage.toolUsePromptTokenCount
    return usage.totalTokenCount > known


def _add(slot: _Slot, usage: _Usage) -> None:
    """Count a call with a picture, as `count_tokens` and `price_tokens` do."""
    input_rate, text_rate, image_rate, scale, half = slot.rates
    shown = drawn = 0
    for detail in usage.promptTokensDetails:
        if detail.modality == "IMAGE":
            shown += detail.tokenCount
    for detail in usage.candidatesTokensDetails:
        if detail.modality == "IMAGE":
            drawn += detail.tokenCount
    n_reported = drawn
    said = usage.candidatesTokenCount
    if not n_reported:
        drawn = min(said, slot.n_expected)
    words = said - drawn if said > drawn else 0
    prompt = usage.promptTokenCount
    if shown > prompt:  # noqa: PLR1730 - a third of the time of min()
        shown = prompt
    sent = prompt + usage.toolUsePromptTokenCount
    thoughts = usage.thoughtsTokenCount or 0
    fractions = sent * input_rate + (words + thoughts) * text_rate + drawn * image_rate
    micro_usd, rest = divmod(fractions, scale)
    if rest > half or (rest == half and micro_usd & 1):  # a half goes to the even one
        micro_usd += 1
    slot.n += 1
    slot.input += sent
    slot.input_image += shown
    slot.output_text += words
    slot.output_image += drawn
    slot.thoughts += thoughts
    slot.micro_usd += micro_usd
    if not n_reported:
        slot.micro_inferred_usd += micro_usd


def _midnight(written: str) -> datetime | None:
    """The beginning of an ISO day; None if it is none."""
    try:
        return datetime.strptime(written, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
