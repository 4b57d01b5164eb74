"""What a call may cost at most, before it is sent: what it brings along, and one picture.

Source: docs/cost.md.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, NamedTuple

from batchgen.cost.prices import Price, PriceBook
from batchgen.cost.rule import price_tokens
from batchgen.known_models import KnownModels
from batchgen.model import Item, Kind, Tier, Tokens

# A prompt's text is about four characters a token; the spread of text beside an image is 88-650.
_CHARS_PER_TOKEN: Final = 4
TEXT_ALLOWANCE_TOKENS: Final = 650
# What a model that may search mostly searches for at most, and reads of what it found.
SEARCH_ALLOWANCE: Final = 3
_FOUND_TOKENS: Final = 1000
# What decides, beside its words and `extra`, of what kind an item with a prompt is.
_BESIDE_WORDS: Final = (
    *("model", "references", "aspect_ratio", "image_size"),
    *("thinking_level", "include_thoughts", "google_search"),
)
_values_beside_words: Final = attrgetter(*_BESIDE_WORDS)


def estimate_item(
    book: PriceBook, item: Item, *, at: str, turn: int | None = None
) -> Decimal | None:
    """The most that one picture of an item should cost, by the rates of a day.

    Args:
        book: The prices.
        item: As it was written; what its model would not get is not counted.
        at: An ISO stamp or day.
        turn: The turn whose call it is, from 1; None is the last, which carries them all.
    """
    load, known = load_of(item, turn=turn), KnownModels.shipped()
    kind = known.kind(item, load.n_images)
    # What a model thinks by itself is in the allowance for text; a level that was asked is not.
    thoughts = known.thoughts(item.model, kind.thinking).high if kind.thinking else 0
    return estimate(
        book.find(item.model, at=at),
        n_prompt_chars=load.n_chars,
        n_references=load.n_images,
        size=kind.size,
        tier=kind.tier or "standard",
        thoughts=int(thoughts),
        n_queries=SEARCH_ALLOWANCE if kind.search else 0,
    )


def input_tokens(item: Item, *, turn: int | None = None) -> int:
    """About how many tokens a call of an item sends, as a limit of tokens counts them."""
    load = load_of(item, turn=turn)
    return text_tokens(load.n_chars) + load.n_images * _a_reference(item.model)


def kind_and_input(item: Item, *, turn: int | None = None) -> tuple[Kind, int, int]:
    """What kind of picture a call of an item asks for, and what it sends; see `load_of` for `turn`.

    Returns:
        The kind, and about how many tokens of text and of images.
    """
    if item.prompt is None or item.extra is not None:
        kind, n_chars, n_image_tokens = _kind_and_load(item, turn)
    else:
        kind, n_chars, n_image_tokens = _beside_words(*_values_beside_words(item))
        n_chars += len(item.prompt) + len(item.system_instruction or "")
    return kind, text_tokens(n_chars), n_image_tokens


@lru_cache(1024)  # a job of many items mixes few of these
def _beside_words(*values: Any) -> tuple[Kind, int, int]:
    """What `_kind_and_load` tells of an item with a prompt, without its words."""
    beside = dict(zip(_BESIDE_WORDS, values, strict=True))
    return _kind_and_load(Item(id="", prompt="", **beside), None)


def _kind_and_load(item: Item, turn: int | None) -> tuple[Kind, int, int]:
    """The kind of a call, the characters that it sends, and the tokens of its images."""
    load = load_of(item, turn=turn)
    kind = KnownModels.shipped().kind(item, load.n_images)
    return kind, load.n_chars, load.n_images * _a_reference(item.model)


@lru_cache(1024)
def _a_reference(model: str) -> int:
    return KnownModels.shipped().token_counts(model).reference


def estimate(
    price: Price | None,
    *,
    n_prompt_chars: int,
    n_references: int,
    size: str | None,
    tier: Tier = "standard",
    thoughts: int = 0,
    n_queries: int = 0,
) -> Decimal | None:
    """The most that one image of this size should cost; None without a price.

    Who asks to be served in another way may be served as usual all the same. Drafts that nobody
    asked for are not in it, nor searches whose price nobody knows.
    """
    if price is None:
        return None
    tokens = Tokens(
        input_text=text_tokens(n_prompt_chars) + (_FOUND_TOKENS if n_queries else 0),
        input_image=n_references * price.tokens.reference,
        output_text=TEXT_ALLOWANCE_TOKENS,
        thoughts=thoughts,
        output_image=price.tokens_an_image(size),
    )
    n_billed = n_queries if price.knows_searches else 0
    costs = (
        price_tokens(tokens, "inferred", price, tier=one, n_queries=n_billed).usd
        for one in {"standard", tier}
    )
    return max(usd for usd in costs if usd is not None)


def text_tokens(n_chars: int) -> int:
    """About how many tokens a text of so many characters is."""
    return -(-n_chars // _CHARS_PER_TOKEN)


class Load(NamedTuple):
    """What a request brings along."""

    n_chars: int
    n_images: int


def load_of(item: Item, *, turn: int | None = None) -> Load:
    """What the call of a turn brings along; None is the last turn, which carries them all."""
    return _raw(item.request) if item.request is not None else _written(item, turn)


def _written(item: Item, n_turns: int | None) -> Load:
    """The load of the call of a turn: its own words and references and those of earlier turns.

    The pictures that were answered before go along too.
    """
    turns = item.conversation[:n_turns]
    n_chars = len(item.system_instruction or "")
    n_images = max(len(turns) - 1, 0)
    for turn in turns:
        n_chars += len(turn.prompt)
        n_images += len(turn.references)
        for reference in turn.references:
            if reference.label is not None:
                n_chars += len(reference.label)
    return Load(n_chars, n_images)


def _raw(request: Mapping[str, Any]) -> Load:
    """The load of a raw request, by what of it has the API's form."""
    contents = [*_list(request.get("contents")), request.get("systemInstruction")]
    parts = [_map(part) for content in contents for part in _list(_map(content).get("parts"))]
    texts = [text for part in parts if isinstance(text := part.get("text"), str)]
    images = [part for part in parts if "inlineData" in part or "fileData" in part]
    return Load(sum(map(len, texts)), len(images))


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
