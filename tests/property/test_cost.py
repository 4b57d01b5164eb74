"""Whatever a service counts, its cost is none that could not be."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from batchgen.cost import PriceBook, PriceList, count_tokens, price_tokens
from batchgen.model import Usage
from batchgen.wire.usage import read_tier, read_usage

if TYPE_CHECKING:
    from batchgen.cost import Cost
    from batchgen.model import Tokens

BOOK = PriceBook.shipped()
TODAY = "2026-11-21"
MODELS = st.sampled_from(sorted(BOOK.models))
SIZES = st.sampled_from([None, "512", "1K", "2K", "4K", "8K"])
N_IMAGES = st.none() | st.integers(0, 10)
SMALL = st.integers(0, 20_000)

# What may stand where a count should.
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0, 1.0, 1.5, float("nan"), 1e300, "7", "x", 10**12, [], {}]
)
COUNTS = SMALL | ODD
DETAILS = st.none() | st.lists(
    st.fixed_dictionaries(
        {"modality": st.sampled_from(["TEXT", "IMAGE", "AUDIO", "image", "", None])},
        optional={"tokenCount": COUNTS, "token_count": COUNTS},
    ),
    max_size=3,
)
USAGES = st.fixed_dictionaries(
    {},
    optional={
        "promptTokenCount": COUNTS,
        "candidatesTokenCount": COUNTS,
        "candidates_token_count": COUNTS,
        "thoughtsTokenCount": COUNTS,
        "toolUsePromptTokenCount": COUNTS,
        "totalTokenCount": COUNTS,
        "promptTokensDetails": DETAILS,
        "candidatesTokensDetails": DETAILS,
        "trafficType": st.sampled_from(
            [None, "ON_DEMAND", "ON_DEMAND_FLEX", "ON_DEMAND_PRIORITY", "NEW"]
        ),
    },
)


def settled(
    raw: Any, model: str, n_images: int | None, size: str | None, multiplier: str = "1"
) -> tuple[Tokens | None, Cost]:
    book = BOOK.under(PriceList("a gateway", {}, Decimal(multiplier)))
    price = book.find(model, at=TODAY)
    tokens, basis = count_tokens(read_usage(raw), price, n_images=n_images, size=size)
    return tokens, price_tokens(tokens, basis, price, tier=read_tier(raw))


@given(raw=USAGES, model=MODELS, n_images=N_IMAGES, size=SIZES)
def test_a_cost_is_never_negative_and_unknown_only_for_a_reason(
    raw: dict[str, Any], model: str, n_images: int | None, size: str | None
) -> None:
    tokens, cost = settled(raw, model, n_images, size)
    price = BOOK.find(model, at=TODAY)
    assert price is not None
    is_known = read_usage(raw) is not None and read_tier(raw) in {*price.tiers, "flex"}
    assert (cost.usd is not None) == (cost.basis != "unknown") == is_known
    assert cost.usd is None or cost.usd >= 0
    if tokens is not None:
        counts = (
            *(tokens.input_text, tokens.input_image, tokens.output_text),
            *(tokens.output_image, tokens.thoughts),
        )
        assert min(counts) >= 0


@given(raw=USAGES, model=MODELS, n_images=st.integers(1, 10), size=SIZES)
def test_tokens_of_a_picture_that_came_are_never_priced_as_words(
    raw: dict[str, Any], model: str, n_images: int, size: str | None
) -> None:
    tokens, _ = settled(raw, model, n_images, size)
    usage = read_usage(raw)
    if tokens is None or usage is None:
        return
    if usage.candidates_image:
        assert tokens.output_image == usage.candidates_image
        return
    # The candidates go to the pictures first; only what they do not take is words.
    price = BOOK.find(model, at=TODAY)
    assert price is not None
    assert tokens.output_image > 0
    if tokens.output_text:
        assert tokens.output_image == n_images * price.tokens_an_image(size)


@st.composite
def consistent(draw: st.DrawFn) -> tuple[Usage, int | None]:
    """A usage whose total is the sum of its parts, as of an answer, and the pictures in it."""
    n_images = draw(N_IMAGES)
    image, words = (n_images or 0) * 1120, draw(SMALL)
    prompt, tool_use, thoughts = draw(SMALL), draw(SMALL), draw(SMALL)
    usage = Usage(
        prompt=prompt,
        prompt_image=draw(st.none() | st.integers(0, prompt)),
        tool_use=tool_use,
        candidates=image + words,
        candidates_image=draw(st.sampled_from([image, None])) if n_images else None,
        thoughts=thoughts,
        total=prompt + tool_use + image + words + thoughts,
    )
    return usage, n_images


@given(given_=consistent(), size=SIZES)
def test_what_is_counted_is_counted_once(
    given_: tuple[Usage, int | None], size: str | None
) -> None:
    usage, n_images = given_
    price = BOOK.find("gemini-3-pro-image", at=TODAY)
    tokens, _ = count_tokens(usage, price, n_images=n_images, size=size)
    assert tokens is not None
    assert tokens.input_text + tokens.input_image == (usage.prompt or 0) + (usage.tool_use or 0)
    output = tokens.output_text + tokens.output_image + tokens.thoughts
    assert output == (usage.candidates or 0) + (usage.thoughts or 0)


@given(raw=USAGES, model=MODELS, n_images=N_IMAGES, size=SIZES)
def test_a_multiplier_multiplies_the_cost_and_leaves_the_tokens(
    raw: dict[str, Any], model: str, n_images: int | None, size: str | None
) -> None:
    tokens, cost = settled(raw, model, n_images, size)
    same, tenfold = settled(raw, model, n_images, size, "10")
    assert same == tokens
    assert tenfold.basis == cost.basis
    if cost.usd is None or tenfold.usd is None:
        assert cost.usd is tenfold.usd is None
    else:
        # Each is rounded to the millionth, the one before and the other after.
        assert abs(tenfold.usd - 10 * cost.usd) <= Decimal("0.0000055")
