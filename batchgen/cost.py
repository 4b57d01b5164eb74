"""What a call cost: the service's token counts times dated prices, in Decimal.

The rule: image output is what the details by modality say; the rest of the candidates and the
thoughts are text. Where no details came, the image tokens are inferred
from the number and size of the images and the figure is marked `inferred`, because pricing image
tokens as text would be ten times too low. A price that nobody knows gives no figure, never zero.

Source: docs/api-notes.md, section 2, with a worked example.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from importlib import resources
from typing import Any, Final, NamedTuple

import yaml

from batchgen.known_models import KnownModels, plain_name
from batchgen.model import CostBasis, Item, Tokens, Usage

_MICRO: Final = Decimal("0.000001")
_PER: Final = Decimal(1_000_000)
# A prompt's text is about four characters a token; the spread of text beside an image is 88-650.
_CHARS_PER_TOKEN: Final = 4
_TEXT_ALLOWANCE_TOKENS: Final = 650


@dataclass(frozen=True, slots=True)
class Price:
    """One model's rates, USD per million tokens, and how many tokens its images take.

    Attributes:
        image_tokens: Output tokens an image by size; `default_size` is what no size means.
        reference_tokens: Input tokens a reference image.
    """

    input: Decimal
    text_output: Decimal
    image_output: Decimal
    image_tokens: Mapping[str, int]
    default_size: str
    reference_tokens: int

    def tokens_an_image(self, size: str | None) -> int:
        """Output tokens of one image of this size; the dearest where the size is unknown."""
        asked = self.image_tokens.get(size or self.default_size)
        return asked if asked is not None else max(self.image_tokens.values())


@dataclass(frozen=True, slots=True)
class Cost:
    """What one attempt cost. `usd` is None when, and only when, `basis` is `unknown`."""

    usd: Decimal | None
    basis: CostBasis


UNKNOWN: Final = Cost(None, "unknown")
NOTHING: Final = Cost(Decimal(0).quantize(_MICRO), "inferred")


class PriceBook:
    """Prices by model name and day; a name without an entry has no price.

    The shipped book is `batchgen/prices.yaml`, with the source and date of every figure; what an
    image counts is in `batchgen/known_models.yaml`.
    """

    def __init__(self, prices: Mapping[str, Mapping[str, Price]]) -> None:
        """Keep prices by model, in any spelling, and by the day they are valid from."""
        self._prices = {plain_name(model): sorted(dated.items()) for model, dated in prices.items()}

    @classmethod
    def shipped(cls) -> "PriceBook":
        """Load the book that comes with batchgen."""
        text = resources.files("batchgen").joinpath("prices.yaml").read_text("utf-8")
        prices: dict[str, Mapping[str, Price]] = {}
        for model, entry in yaml.load(text, Loader=yaml.CBaseLoader)["models"].items():  # noqa: S506 - it makes text only
            dated = {rates["valid_from"]: read_price(model, rates) for rates in entry["rates"]}
            known = KnownModels.shipped().find(model)
            prices.update(dict.fromkeys([model, *(known.aliases if known else ())], dated))
        return cls(prices)

    def estimate(self, item: Item, *, at: str, turn: int | None = None) -> Decimal | None:
        """The most that one picture of an item should cost, by the rates of a day.

        Args:
            item: As it was written; what its model would not get is not counted.
            at: An ISO stamp or day.
            turn: The turn whose call it is, from 1; None is the last, which carries them all.
        """
        asked = _raw(item.request) if item.request is not None else _written(item, turn)
        return estimate(
            self.find(item.model, at=at),
            n_prompt_chars=asked.n_chars,
            n_references=asked.n_images,
            size=asked.size,
        )

    @staticmethod
    def input_tokens(item: Item, *, turn: int | None = None) -> int:
        """About how many tokens a call of an item sends, as a limit of tokens counts them."""
        asked = _raw(item.request) if item.request is not None else _written(item, turn)
        reference_tokens = KnownModels.shipped().token_counts(item.model).reference
        return _text_tokens(asked.n_chars) + asked.n_images * reference_tokens

    def find(self, *models: str | None, at: str) -> Price | None:
        """The price that the first of these names that has one had at a moment.

        Args:
            models: Names, the best first.
            at: An ISO stamp or day. Before the first day of the book its first price counts.
        """
        for model in models:
            if model and (dated := self._prices.get(plain_name(model))):
                valid = [price for day, price in dated if day <= at]
                return valid[-1] if valid else dated[0][1]
        return None


def count_tokens(
    usage: Usage | None, price: Price | None, *, n_images: int, size: str | None
) -> tuple[Tokens | None, CostBasis]:
    """Sort a usage into price classes.

    Args:
        usage: The service's counts; None gives None.
        price: For the tokens of an image, where the details do not tell.
        n_images: Image parts in the answer, drafts and thoughts included.
        size: The size that was asked for.

    Returns:
        The tokens, and `inferred` where they are not the service's own figures throughout.
    """
    if usage is None:
        return None, "unknown"
    tool_use, thoughts = usage.tool_use or 0, usage.thoughts or 0
    prompt, candidates = _prompt(usage), _candidates(usage)
    input_image = min(usage.prompt_image or 0, prompt)
    inputs = {"input_text": prompt + tool_use - input_image, "input_image": input_image}
    if n_images == 0:
        # On a refusal the candidates mirror the thoughts; the total counts them once.
        said = max(usage.candidates or 0, thoughts)
        output = said if usage.total is None else max(usage.total - prompt - tool_use, 0)
        thoughts = min(thoughts, output)
        return Tokens(**inputs, output_text=output - thoughts, thoughts=thoughts), "reported"
    if usage.candidates_image:
        image = usage.candidates_image
    elif price is not None:
        expected = n_images * price.tokens_an_image(size)
        image = expected if candidates is None else min(candidates, expected)
    else:
        image = candidates or 0
    text = max((candidates or 0) - image, 0)
    counted = usage.candidates_image and None not in {usage.prompt, usage.candidates}
    tokens = Tokens(**inputs, output_text=text, output_image=image, thoughts=thoughts)
    return tokens, "reported" if counted else "inferred"


def _prompt(usage: Usage) -> int:
    """The tokens of the prompt, from the total where only that was told."""
    if usage.prompt is not None or usage.total is None or usage.candidates is None:
        return usage.prompt or 0
    outputs = usage.candidates + (usage.thoughts or 0)
    return max(usage.total - outputs - (usage.tool_use or 0), 0)


def _candidates(usage: Usage) -> int | None:
    """The tokens of the candidates, from the total where only that was told; None if unknown."""
    if usage.candidates is not None or usage.total is None:
        return usage.candidates
    others = (usage.prompt or 0) + (usage.tool_use or 0) + (usage.thoughts or 0)
    return max(usage.total - others, 0)


def price_tokens(tokens: Tokens | None, basis: CostBasis, price: Price | None) -> Cost:
    """Put a price on tokens, rounded to the micro-dollar."""
    if tokens is None or price is None:
        return UNKNOWN
    usd = (
        (tokens.input_text + tokens.input_image) * price.input
        + (tokens.output_text + tokens.thoughts) * price.text_output
        + tokens.output_image * price.image_output
    ) / _PER
    return Cost(usd.quantize(_MICRO), basis)


def estimate(
    price: Price | None, *, n_prompt_chars: int, n_references: int, size: str | None
) -> Decimal | None:
    """The most that one image of this size should cost; None without a price.

    Drafts that nobody asked for are not in it.
    """
    if price is None:
        return None
    tokens = Tokens(
        input_text=_text_tokens(n_prompt_chars),
        input_image=n_references * price.reference_tokens,
        output_text=_TEXT_ALLOWANCE_TOKENS,
        output_image=price.tokens_an_image(size),
    )
    return price_tokens(tokens, "inferred", price).usd


def _text_tokens(n_chars: int) -> int:
    return -(-n_chars // _CHARS_PER_TOKEN)


class _Load(NamedTuple):
    """What a request brings along, and the size that it asks for."""

    n_chars: int
    n_images: int
    size: str | None


def _written(item: Item, n_turns: int | None) -> _Load:
    """The load of the call of a turn: its own words and references and those of earlier turns.

    The pictures that were answered before go along too.
    """
    turns = item.conversation[:n_turns]
    references = [reference for turn in turns for reference in turn.references]
    texts = [turn.prompt for turn in turns]
    texts += [reference.label or "" for reference in references]
    return _Load(
        n_chars=sum(map(len, texts)) + len(item.system_instruction or ""),
        n_images=len(references) + max(len(turns) - 1, 0),
        size=_size(item.extra) or KnownModels.shipped().as_sent(item).image_size,
    )


def _raw(request: Mapping[str, Any]) -> _Load:
    """The load of a raw request, by what of it has the API's form."""
    contents = [*_list(request.get("contents")), request.get("systemInstruction")]
    parts = [_map(part) for content in contents for part in _list(_map(content).get("parts"))]
    texts = [text for part in parts if isinstance(text := part.get("text"), str)]
    images = [part for part in parts if "inlineData" in part or "fileData" in part]
    return _Load(sum(map(len, texts)), len(images), _size(request))


def _size(body: Any) -> str | None:
    """The imageSize of a body, or of a piece of one."""
    size = _map(_map(_map(body).get("generationConfig")).get("imageConfig")).get("imageSize")
    return size if isinstance(size, str) else None


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def read_price(model: str, rates: Mapping[str, str]) -> Price:
    """A price of a model, from rates as they stand in a price book.

    What its images count is what the table of known models says; of a model that it lacks, the
    most that any does, because dear is better than cheap.

    Raises:
        ValueError: A rate is no number.
    """
    tokens = KnownModels.shipped().token_counts(model)
    return Price(
        input=_usd(rates["input"]),
        text_output=_usd(rates["text_output"]),
        image_output=_usd(rates["image_output"]),
        image_tokens=tokens.by_size,
        default_size=tokens.default_size,
        reference_tokens=tokens.reference,
    )


def _usd(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is no price") from error
