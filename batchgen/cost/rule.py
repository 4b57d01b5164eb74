"""The rule by which a call is priced: the service's token counts times dated rates, in Decimal.

Image output is what the details by modality say; the rest of the candidates and the thoughts are
text. Where no details came, the image tokens are inferred from the number and size of the images,
and the figure is marked `inferred`, because pricing image tokens as text would be ten times too
low. A price that nobody knows gives no figure, never zero.

Source: docs/cost.md, with a worked example.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from batchgen.cost.prices import Price
from batchgen.model import CostBasis, Tier, Tokens, Usage

_MICRO: Final = Decimal("0.000001")
_PER: Final = Decimal(1_000_000)
# The words beside an image add about a tenth of its tokens, by which images are told from a count.
_WITH_WORDS: Final = 1.1


@dataclass(frozen=True, slots=True)
class Cost:
    """What one call cost. `usd` is None when, and only when, `basis` is `unknown`."""

    usd: Decimal | None
    basis: CostBasis


UNKNOWN: Final = Cost(None, "unknown")
NOTHING: Final = Cost(Decimal(0).quantize(_MICRO), "inferred")


def count_tokens(
    usage: Usage | None, price: Price | None, *, n_images: int | None, size: str | None
) -> tuple[Tokens | None, CostBasis]:
    """Sort a usage into price classes.

    Args:
        usage: The service's counts; None gives None.
        price: For the tokens of an image, where the details do not tell.
        n_images: Image parts in the answer, drafts and thoughts included; None where there is no
            answer to count them in.
        size: The size that was asked for.

    Returns:
        The tokens, and `inferred` where they are not the service's own figures throughout.
    """
    if usage is None:
        return None, "unknown"
    if usage.candidates_image:  # even where the image was held back: its tokens are no words
        return _count_pictured(usage, usage.candidates_image)
    is_told = n_images is not None or usage.candidates_image is not None
    if n_images is None:
        n_images = 0 if is_told else _likely_images(usage, price, size)
    if n_images:
        return _count_pictured(usage, _image_tokens(usage, price, n_images, size))
    tokens, basis = _count_words(usage)
    return tokens, basis if is_told else "inferred"


def _count_words(usage: Usage) -> tuple[Tokens, CostBasis]:
    """The tokens of an answer without an image.

    On a refusal the candidates mirror the thoughts; the total counts them once.
    """
    prompt, said = _prompt(usage), _output(usage)
    if usage.total is not None:
        said = max(usage.total - prompt - (usage.tool_use or 0), 0)
    thoughts = min(usage.thoughts or 0, said)
    is_output_told = usage.total is not None or usage.candidates is not None
    is_counted = is_output_told and usage.prompt is not None
    tokens = _tokens(usage, text=said - thoughts, image=0, thoughts=thoughts)
    return tokens, "reported" if is_counted else "inferred"


def _count_pictured(usage: Usage, image: int) -> tuple[Tokens, CostBasis]:
    """The tokens of an answer with so many image tokens."""
    text, thoughts = max((_candidates(usage) or 0) - image, 0), _thoughts(usage)
    is_counted = usage.candidates_image and usage.candidates and usage.prompt is not None
    is_counted = is_counted and thoughts == (usage.thoughts or 0)
    tokens = _tokens(usage, text=text, image=image, thoughts=thoughts)
    return tokens, "reported" if is_counted else "inferred"


def _image_tokens(usage: Usage, price: Price | None, n_images: int, size: str | None) -> int:
    """What so many images take of the candidates; what the table says, where there are none."""
    candidates = _candidates(usage)
    if price is None:
        return candidates or 0
    expected = n_images * price.tokens_an_image(size)
    return min(candidates, expected) if candidates else expected


def _likely_images(usage: Usage, price: Price | None, size: str | None) -> int:
    """How many images so many candidates are; none, where they are fewer than any image takes."""
    candidates = _candidates(usage) or 0
    # Candidates that mirror the thoughts are no image.
    if usage.total is None:
        candidates = min(candidates, _output(usage) - (usage.thoughts or 0))
    else:
        beside = _prompt(usage) + (usage.tool_use or 0) + (usage.thoughts or 0)
        candidates = min(candidates, max(usage.total - beside, 0))
    if price is None or candidates < min(price.tokens.by_size.values()):
        return 0
    return max(round(candidates / (price.tokens_an_image(size) * _WITH_WORDS)), 1)


def _tokens(usage: Usage, *, text: int, image: int, thoughts: int) -> Tokens:
    prompt = _prompt(usage)
    input_image = min(usage.prompt_image or 0, prompt)
    return Tokens(
        input_text=prompt + (usage.tool_use or 0) - input_image,
        input_image=input_image,
        output_text=text,
        output_image=image,
        thoughts=thoughts,
    )


def _prompt(usage: Usage) -> int:
    """The tokens of the prompt, from the total where only that was told."""
    if usage.prompt is not None or usage.total is None or usage.candidates is None:
        return usage.prompt or 0
    return max(usage.total - _output(usage) - (usage.tool_use or 0), 0)


def _output(usage: Usage) -> int:
    """Candidates and thoughts; as many of the one as of the other are the same, counted twice."""
    candidates, thoughts = usage.candidates or 0, usage.thoughts or 0
    return thoughts if candidates == thoughts else candidates + thoughts


def _candidates(usage: Usage) -> int | None:
    """The candidates of an answer with an image, from the total where none were told."""
    if usage.candidates or usage.total is None:
        return usage.candidates
    others = (usage.prompt or 0) + (usage.tool_use or 0) + (usage.thoughts or 0)
    return max(usage.total - others, 0)


def _thoughts(usage: Usage) -> int:
    """The thoughts, from what the total has more than its other parts where they were not told."""
    total, prompt, candidates = usage.total, usage.prompt, usage.candidates
    if usage.thoughts is not None or total is None or prompt is None or not candidates:
        return usage.thoughts or 0
    return max(total - prompt - candidates - (usage.tool_use or 0), 0)


def price_tokens(
    tokens: Tokens | None,
    basis: CostBasis,
    price: Price | None,
    *,
    tier: Tier = "standard",
    n_queries: int = 0,
) -> Cost:
    """Put a price on a call, rounded to the micro-dollar.

    Args:
        tokens: By price class; None is an unknown cost.
        basis: Where they are from.
        price: None is an unknown cost.
        tier: How the call was served. Where its rates are unknown, those of a usual call are put
            on one that was to be cheaper, and marked `inferred`; a dearer one has no known cost.
        n_queries: How many different searches on the web the model made.
    """
    if tokens is None or price is None:
        return UNKNOWN
    rates, search_usd = price.rates(tier), price.search_usd(n_queries)
    if tier not in price.tiers:
        basis = "inferred"
    if rates is None or search_usd is None:
        return UNKNOWN
    usd = (
        (tokens.input_text + tokens.input_image) * rates.input
        + (tokens.output_text + tokens.thoughts) * rates.text_output
        + tokens.output_image * rates.image_output
    ) / _PER
    return Cost((usd + search_usd).quantize(_MICRO), basis)
