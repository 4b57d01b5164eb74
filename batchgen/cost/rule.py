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
_CHEAPER: Final = frozenset({"batch", "flex"})


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
    if n_images is None:
        return _count_unseen(usage, price, size)
    return _count_pictured(usage, price, n_images, size) if n_images else _count_words(usage)


def _count_words(usage: Usage) -> tuple[Tokens, CostBasis]:
    """The tokens of an answer without an image.

    On a refusal the candidates mirror the thoughts; the total counts them once.
    """
    thoughts = usage.thoughts or 0
    said = max(usage.candidates or 0, thoughts)
    if usage.total is not None:
        said = max(usage.total - _prompt(usage) - (usage.tool_use or 0), 0)
    thoughts = min(thoughts, said)
    return _tokens(usage, text=said - thoughts, image=0, thoughts=thoughts), "reported"


def _count_pictured(
    usage: Usage, price: Price | None, n_images: int, size: str | None
) -> tuple[Tokens, CostBasis]:
    candidates = _candidates(usage)
    if usage.candidates_image:
        image = usage.candidates_image
    elif price is not None:
        expected = n_images * price.tokens_an_image(size)
        image = expected if candidates is None else min(candidates, expected)
    else:
        image = candidates or 0
    text = max((candidates or 0) - image, 0)
    tokens = _tokens(usage, text=text, image=image, thoughts=usage.thoughts or 0)
    is_counted = usage.candidates_image and None not in {usage.prompt, usage.candidates}
    return tokens, "reported" if is_counted else "inferred"


def _count_unseen(usage: Usage, price: Price | None, size: str | None) -> tuple[Tokens, CostBasis]:
    """The tokens of an answer of which only the counts are there.

    How many images it held is told by its details, else by its candidates.
    """
    if usage.candidates_image is not None:
        return (
            _count_pictured(usage, price, 1, size)
            if usage.candidates_image
            else _count_words(usage)
        )
    n_images = _likely_images(usage, price, size)
    if not n_images:
        return _count_words(usage)[0], "inferred"
    return _count_pictured(usage, price, n_images, size)


def _likely_images(usage: Usage, price: Price | None, size: str | None) -> int:
    """How many images so many candidates are; none, where they are fewer than any image takes."""
    candidates = _candidates(usage) or 0
    if usage.total is not None:  # candidates that mirror the thoughts are no image
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
    outputs = usage.candidates + (usage.thoughts or 0)
    return max(usage.total - outputs - (usage.tool_use or 0), 0)


def _candidates(usage: Usage) -> int | None:
    """The tokens of the candidates, from the total where only that was told; None if unknown."""
    if usage.candidates is not None or usage.total is None:
        return usage.candidates
    others = (usage.prompt or 0) + (usage.tool_use or 0) + (usage.thoughts or 0)
    return max(usage.total - others, 0)


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
    rates, search_usd = price.tiers.get(tier), price.search_usd(n_queries)
    if rates is None and tier in _CHEAPER:
        rates, basis = price.standard, "inferred"
    if rates is None or search_usd is None:
        return UNKNOWN
    usd = (
        (tokens.input_text + tokens.input_image) * rates.input
        + (tokens.output_text + tokens.thoughts) * rates.text_output
        + tokens.output_image * rates.image_output
    ) / _PER
    return Cost((usd + search_usd).quantize(_MICRO), basis)
