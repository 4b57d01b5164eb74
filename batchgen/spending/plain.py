"""The quick way for most lines of a log: answers with a picture, and counts that tell of one.

A line goes this way only if all of its members are of the usual kind; what it comes to is what
`foreign` and `price_tokens` make of it, to the micro-dollar. Everything else is handed back.

Cost: about two microseconds for an answer of the API, a third of which is its decoding
(`benchmarks`, `cost`); up to ten where it was dumped in snake_case or has something around it.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from batchgen.known_models import plain_name
from batchgen.model import Outcome, Tokens
from batchgen.spending.foreign import Foreign, look_at
from batchgen.spending.pricing import MICRO, WholeRates
from batchgen.spending.shapes import Usage, count_images, decode_answer, read_told
from batchgen.spending.tally import Call, Sums, Tally
from batchgen.wire.usage import told_tier

# What is longer holds an image, and goes the way on which nothing is held twice.
_MAX_BYTES: Final = 16 << 10
_MAX_REMEMBERED: Final = 4096
# Half of what is finer is no exact float any more.
_FINEST: Final = 10**22
_UTC: Final = "Z"


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
    is_batch: bool = False
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


class _Kind(NamedTuple):
    """What the calls of a slot have in common.

    Attributes:
        day: In UTC; `Z` if nothing tells it.
    """

    n_images: int
    answered: str
    day: str
    traffic: str | None
    service: str | None = None
    asked: str = ""
    header: str | None = None
    is_batch: bool = False


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
    _slots: dict[tuple[object, ...], _Slot | None] = field(default_factory=dict)
    _outside: Sums = field(default_factory=Sums)
    _untimed: Sums = field(default_factory=Sums)

    def odd_lines(self, lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
        """Count the plain lines; yield the others with their numbers, from 1."""
        decode = decode_answer
        looks, slots = self._looks, self._slots
        number = 0
        try:
            for number, line in enumerate(lines, 1):
                try:
                    answer = decode(line)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                    if not self._take_other(line):
                        yield number, line
                    continue
                usage, at = answer.usage_metadata, answer.create_time
                if at[-1:] != _UTC or (usage.thoughts_token_count is None and _has_more(usage)):
                    yield number, line
                    continue
                candidates = bytes(answer.candidates)
                try:
                    n_images = looks[candidates]
                except KeyError:
                    n_images = self._look(candidates)
                kind = (
                    n_images,
                    answer.model_version,
                    at[:10],
                    usage.traffic_type,
                    usage.service_tier,
                )
                try:
                    slot = slots[kind]
                except KeyError:
                    slot = slots[kind] = self._slot(_Kind(*kind))
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
            self.foreign.counts.n_batch += slot.n if slot.is_batch else 0
        self.tally.n_outside += self._outside.attempts
        self.tally.n_untimed += self._untimed.attempts
        self._slots.clear()

    def _take_other(self, line: bytes) -> bool:
        """Count a line of another shape, if it tells of a picture; whether it was one."""
        if len(line) > _MAX_BYTES:
            return False
        try:
            told = read_told(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        if told is None or _has_more(told.usage):
            return False
        if told.is_batch and "item" in self.tally.by:
            return False
        usage = told.usage
        if told.candidates is None:
            n_images = _names_image(usage)
        elif (n_images := self._looks.get(told.candidates, -1)) < 0:
            n_images = self._look(told.candidates)
        kind = (
            n_images,
            told.answered,
            _UTC if told.at is None else told.at.date().isoformat(),
            usage.traffic_type,
            usage.service_tier,
            told.asked,
            told.header,
            told.is_batch,
        )
        try:
            slot = self._slots[kind]
        except KeyError:
            slot = self._slots[kind] = self._slot(_Kind(*kind))
        if slot is None:
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
        assumed = self.foreign.assumed
        day = None if kind.day == _UTC else _midnight(kind.day)
        is_dated = day is not None
        asked = kind.asked or (None if kind.answered else assumed.model)
        model = kind.answered or asked or ""
        price = self.foreign.pricer.find(
            kind.answered or None, asked, kind.day if is_dated else None
        )
        is_odd = (model and not model.strip()) or (not is_dated and kind.day != _UTC)
        if not kind.n_images or price is None or is_odd:
            return None
        pricer = self.foreign.pricer
        if asked and not pricer.knows(kind.answered, kind.day if is_dated else None):
            return None  # then the figure is inferred
        told = told_tier({"trafficType": kind.traffic, "serviceTier": kind.service}, kind.header)
        tier = told or assumed.tier or ("batch" if kind.is_batch else "standard")
        sums = self._sums(model, day)
        if sums is None or tier not in price.tiers:
            return None
        rates = WholeRates.of(price.tiers[tier])
        if rates.scale > _FINEST:
            return None
        n_expected = kind.n_images * price.tokens_an_image(assumed.size)
        whole = (rates.input, rates.text_output, rates.image_output, rates.scale, rates.scale / 2)
        return _Slot(sums, whole, n_expected, is_batch=kind.is_batch)

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
        return count_images(candidates)
    except (msgspec.ValidationError, ValueError):
        seen = look_at({"candidates": msgspec.json.decode(candidates)})
        is_plain = seen.outcome is Outcome.IMAGE and not seen.n_queries
        return seen.n_images or 0 if is_plain else 0


def _names_image(usage: Usage) -> int:
    """1 if the details tell of a picture, else 0."""
    for one in usage.candidates_tokens_details or ():
        if one.modality == "IMAGE" and one.token_count:
            return 1
    return 0


def _has_more(usage: Usage) -> bool:
    """Whether the total tells of thoughts that nothing else does."""
    if usage.thoughts_token_count is not None:
        return False
    known = usage.prompt_token_count + usage.candidates_token_count
    return usage.total_token_count > known + (usage.tool_use_prompt_token_count or 0)


def _add(slot: _Slot, usage: Usage) -> None:
    """Count a call with a picture, as `count_tokens` and `price_tokens` do."""
    input_rate, text_rate, image_rate, scale, half = slot.rates
    shown = drawn = 0
    for detail in usage.prompt_tokens_details or ():
        if detail.modality == "IMAGE":
            shown += detail.token_count
    for detail in usage.candidates_tokens_details or ():
        if detail.modality == "IMAGE":
            drawn += detail.token_count
    n_reported = drawn
    said = usage.candidates_token_count
    if not n_reported:
        drawn = min(said, slot.n_expected)
    words = said - drawn if said > drawn else 0
    prompt = usage.prompt_token_count
    if shown > prompt:  # noqa: PLR1730 - a third of the time of min()
        shown = prompt
    sent = prompt + (usage.tool_use_prompt_token_count or 0)
    thoughts = usage.thoughts_token_count or 0
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
