"""Prices and estimates, worked out by hand. What calls cost stands in tests/golden/costs.yaml."""

from __future__ import annotations

import re
from decimal import Decimal
from importlib import resources
from typing import Any

import pytest
import yaml

from batchgen.cost import (
    UNKNOWN,
    PriceBook,
    PriceList,
    count_tokens,
    estimate,
    estimate_item,
    kind_and_input,
    price_tokens,
)
from batchgen.cost.prices import read_price
from batchgen.model import Item, Kind, Reference, Tokens, Turn
from batchgen.wire.usage import read_usage

BOOK = PriceBook.shipped()
TODAY = "2026-11-21T03:00:04.120Z"
PRO = "gemini-3-pro-image"  # per million: 2 in, 12 text, 120 image; 1120 an image, 2000 in 4K
FLASH = "gemini-3.1-flash-image"  # 0.50 in, 3 text, 60 image; 747, 1120, 1680, 2520


def tokens(
    text: int = 0, image: int = 0, out: int = 0, out_image: int = 0, thoughts: int = 0
) -> Tokens:
    return Tokens(
        input_text=text,
        input_image=image,
        output_text=out,
        output_image=out_image,
        thoughts=thoughts,
    )


@pytest.mark.parametrize("raw", [None, {}, [], "x", {"promptTokenCount": None}, {"x": 1}])
def test_no_usage_is_an_unknown_cost_and_never_nothing(raw: Any) -> None:
    price = BOOK.find(PRO, at=TODAY)
    counted, basis = count_tokens(read_usage(raw), price, n_images=1, size=None)
    assert (counted, basis) == (None, "unknown")
    assert price_tokens(counted, basis, price) == UNKNOWN
    assert UNKNOWN.usd is None


def test_a_model_without_a_price_has_tokens_and_no_cost() -> None:
    price = BOOK.find("someone-elses-model", at=TODAY)
    assert price is None
    assert price_tokens(tokens(20, 0, 110, 1120, 200), "reported", price) == UNKNOWN
    assert estimate(price, n_prompt_chars=10, n_references=0, size=None) is None


@pytest.mark.parametrize(
    ("size", "usd"),
    [
        ("512", "0.044820"),
        (None, "0.067200"),
        ("1K", "0.067200"),
        ("2K", "0.100800"),
        ("4K", "0.151200"),
    ],
)
def test_a_flash_image_costs_by_its_size(size: str | None, usd: str) -> None:
    # 747, 1120, 1680 and 2520 tokens at 60 a million
    price = BOOK.find(FLASH, at=TODAY)
    counted, basis = count_tokens(
        read_usage({"candidatesTokenCount": 2520, "totalTokenCount": 2520}),
        price,
        n_images=1,
        size=size,
    )
    assert counted is not None
    only_image = Tokens(output_image=counted.output_image)
    assert str(price_tokens(only_image, basis, price).usd) == usd


@pytest.mark.parametrize(
    ("model", "usd_an_image"),
    [
        ("gemini-2.5-flash-image", "0.038700"),
        ("gemini-3-pro-image", "0.134400"),
        ("gemini-3-pro-image-preview", "0.134400"),
        ("nano-banana-pro-preview", "0.134400"),
        ("models/gemini-3-pro-image", "0.134400"),
        ("gemini-3.1-flash-image-preview", "0.067200"),
        ("gemini-3.1-flash-lite-image", "0.033600"),
        ("gemini-nano-banana-2.1", "0.033600"),
    ],
)
def test_the_list_price_of_one_image(model: str, usd_an_image: str) -> None:
    price = BOOK.find(model, at=TODAY)
    assert price is not None
    image = Tokens(output_image=price.tokens_an_image(None))
    assert str(price_tokens(image, "reported", price).usd) == usd_an_image


def test_the_first_name_with_a_price_counts() -> None:
    assert BOOK.find(None, "", "unheard-of", FLASH, PRO, at=TODAY) == BOOK.find(FLASH, at=TODAY)


@pytest.mark.parametrize(
    ("at", "first_or_second"),
    [
        ("2025-01-01T00:00:00.000Z", 0),
        ("2026-01-31T23:59:59.999Z", 0),
        ("2026-02-01T00:00:00.000Z", 1),
        ("2026-02-01", 1),
        ("2030-01-01T00:00:00.000Z", 1),
    ],
)
def test_a_call_is_priced_by_the_rates_of_its_day(at: str, first_or_second: int) -> None:
    written = {"input": 2, "text_output": 12, "image_output": 120, "valid_from": "2025-11-20"}
    dearer = {**written, "image_output": 240, "valid_from": "2026-02-01"}
    book = PriceBook((PriceList.of("here", {"models": {"m": {"rates": [dearer, written]}}}),))
    found = book.find("m", at=at)
    assert found is not None
    assert found.standard.image_output == (120, 240)[first_or_second]


def test_the_estimate_covers_prompt_references_picture_and_words() -> None:
    # 100 characters are 25 tokens, two references 1120, 650 words: (25+1120)*2 + 650*12 + 240000
    price = BOOK.find(PRO, at=TODAY)
    assert str(estimate(price, n_prompt_chars=100, n_references=2, size="4K")) == "0.250090"


def item(model: str, **fields: Any) -> Item:
    if not fields.keys() & {"turns", "request"}:
        fields = {"prompt": "x" * 400} | fields
    return Item(id="a", model=model, **fields)


REFERENCE = Reference(path="/a.png")
WORDS = 650 * 12  # the words beside a picture, at the rate of Pro


@pytest.mark.parametrize(
    ("model", "fields", "micro_usd"),
    [
        # 400 characters are 100 tokens at 2; a reference 560; 1120 image tokens at 120, in 4K 2000
        (PRO, {}, 200 + WORDS + 134400),
        ("models/Gemini-3-Pro-Image-Preview", {}, 200 + WORDS + 134400),
        (PRO, {"image_size": "4K", "references": (REFERENCE,)}, 200 + 1120 + WORDS + 240000),
        (PRO, {"system_instruction": "y" * 40}, 220 + WORDS + 134400),
        (PRO, {"references": (Reference(path="/a.png", label="z" * 8),)}, 1324 + WORDS + 134400),
        # merged last, so it is what is sent
        (
            PRO,
            {"extra": {"generationConfig": {"imageConfig": {"imageSize": "4K"}}}},
            200 + WORDS + 240000,
        ),
        # the last call of two turns: 20 tokens of words, a reference, and the picture of the first
        (
            PRO,
            {"turns": (Turn(prompt="x" * 40, references=(REFERENCE,)), Turn(prompt="y" * 40))},
            40 + 2 * 1120 + WORDS + 134400,
        ),
        # a raw request: 10 + 20 tokens of words, two pictures, its own size
        (
            PRO,
            {
                "request": {
                    "contents": [
                        {
                            "role": "user",
                            "parts": [
                                {"text": "x" * 40},
                                {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
                                {"fileData": {"fileUri": "https://example.com/a.png"}},
                            ],
                        }
                    ],
                    "systemInstruction": {"parts": [{"text": "y" * 80}]},
                    "generationConfig": {"imageConfig": {"imageSize": "4K"}},
                }
            },
            60 + 2 * 1120 + WORDS + 240000,
        ),
        # whatever is not of the API's form counts nothing, and breaks nothing
        (PRO, {"request": {"contents": None}}, WORDS + 134400),
        (
            PRO,
            {"request": {"contents": [None, {"parts": [7, {"text": 7}]}], "generationConfig": []}},
            WORDS + 134400,
        ),
        # the size is left out for this model: 100 * 0.3 + 650 * 2.5 + 1290 * 30
        ("gemini-2.5-flash-image", {"image_size": "4K"}, 30 + 1625 + 38700),
    ],
)
def test_the_estimate_of_an_item_counts_what_its_call_brings_along(
    model: str, fields: dict[str, Any], micro_usd: int
) -> None:
    assert estimate_item(BOOK, item(model, **fields), at=TODAY) == Decimal(micro_usd) / 1_000_000


def test_items_that_are_alike_but_for_their_words_each_count_their_own() -> None:
    labelled = (Reference(path="/a.png", label="z" * 4), REFERENCE)
    alike = [
        item(PRO, references=references, prompt="x" * n_prompt, system_instruction=instruction)
        for references in ((), labelled)
        for n_prompt, instruction in ((4, None), (8, None), (8, "y" * 3), (4, None))
    ]
    kind, larger = Kind(), Kind(references=2)
    assert [kind_and_input(one) for one in alike] == [
        *((kind, 1, 0), (kind, 2, 0), (kind, 3, 0), (kind, 1, 0)),
        *((larger, 2, 1120), (larger, 3, 1120), (larger, 4, 1120), (larger, 2, 1120)),
    ]
    size_4k = {"generationConfig": {"imageConfig": {"imageSize": "4K"}}}
    assert kind_and_input(item(PRO, extra=size_4k)) == (Kind(size="4K"), 100, 0)


@pytest.mark.parametrize(
    ("tier", "times"),
    [
        ("PRIORITY", "1.8"),
        ("SERVICE_TIER_PRIORITY", "1.8"),
        ("flex", "1"),  # the most that it should cost: it may be served as usual
        ("PROVISIONED", "1"),
        (7, "1"),
    ],
)
def test_the_estimate_of_a_dearer_way_to_be_served_is_by_its_rates(tier: Any, times: str) -> None:
    expected = Decimal(20 + WORDS + 134400) * Decimal(times) / 1_000_000
    asking = item(PRO, prompt="x" * 40, extra={"serviceTier": tier})
    assert estimate_item(BOOK, asking, at=TODAY) == expected
    body = {"contents": [{"parts": [{"text": "x" * 40}]}], "serviceTier": tier}
    assert estimate_item(BOOK, item(PRO, request=body), at=TODAY) == expected


@pytest.mark.parametrize(("turn", "more"), [(1, 0), (2, 20 + 1120), (None, 20 + 1120)])
def test_the_estimate_of_a_turn_covers_it_and_the_turns_before(turn: int | None, more: int) -> None:
    turns = (Turn(prompt="x" * 40), Turn(prompt="y" * 40))
    expected = Decimal(20 + more + WORDS + 134400) / 1_000_000
    assert estimate_item(BOOK, item(PRO, turns=turns), at=TODAY, turn=turn) == expected


def test_a_price_of_a_model_that_nobody_knows_counts_the_most_that_an_image_takes() -> None:
    written = {"input": "2", "text_output": "12", "image_output": "120"}
    price = read_price("my-model", written)
    assert {price.tokens_an_image(size) for size in (None, "512", "4K")} == {3780}
    book = PriceBook((PriceList.of("here", {"models": {"models/My-Model": written}}),))
    # 100 * 2 + 1120 * 2 + 650 * 12 + 3780 * 120
    expected = Decimal(200 + 2240 + 7800 + 453600) / 1_000_000
    assert estimate_item(book, item("my-model", references=(REFERENCE,)), at=TODAY) == expected
    assert estimate_item(book, item("another"), at=TODAY) is None


def test_huge_counts_are_priced_exactly() -> None:
    price = BOOK.find(PRO, at=TODAY)
    cost = price_tokens(tokens(10**12, 0, 0, 10**12), "reported", price)
    assert str(cost.usd) == "122000000.000000"


def test_every_price_of_the_book_has_a_source_and_plausible_rates() -> None:
    for dated in PriceList.shipped().prices.values():
        for price in dated:
            assert re.fullmatch(r"20\d\d-\d\d-\d\d", str(price.checked))
            assert price.source
            assert price.tokens.default_size in price.tokens.by_size
            for rates in price.tiers.values():
                assert 0 < rates.input < rates.text_output < rates.image_output


def test_entries_of_the_book_are_dated_in_order_and_all_their_tiers_have_a_source() -> None:
    text = resources.files("batchgen").joinpath("prices.yaml").read_text("utf-8")
    for entry in yaml.safe_load(text)["models"].values():
        days = [str(rates["valid_from"]) for rates in entry["rates"]]
        assert days == sorted(set(days))
        tiers = [one for rates in entry["rates"] for one in rates.values() if isinstance(one, dict)]
        assert tiers
        assert all(one["source"] for one in tiers)
