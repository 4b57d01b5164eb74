"""The shipped prices are those of genai-prices, a package that others keep.

It is asked for its own data alone: it can fetch newer ones, and here it must not.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import genai_prices
import pytest

from batchgen.cost import PriceBook, PriceList, price_tokens
from batchgen.model import Tier, Tokens

if TYPE_CHECKING:
    from decimal import Decimal

IDS: Final = sorted(PriceList.shipped().prices)
MILLION: Final = 1_000_000
# What is priced, by us and by them.
UNITS: Final = {
    "input": (Tokens(input_text=MILLION), {"input_tokens": MILLION}),
    "references": (Tokens(input_image=MILLION), {"input_tokens": MILLION}),
    "words": (Tokens(output_text=MILLION), {"output_tokens": MILLION}),
    "thoughts": (Tokens(thoughts=MILLION), {"output_tokens": MILLION}),
    "pictures": (
        Tokens(output_image=MILLION),
        {"output_tokens": MILLION, "output_image_tokens": MILLION},
    ),
    "searches": (Tokens(), {"web_searches": 1000}),
}
# Their batch rates begin on 2026-10-14 and -15: before that they give the standard ones.
DAYS: Final[dict[Tier, tuple[str, ...]]] = {
    "standard": ("2026-01-04", "2026-01-05", "2026-06-01", "2026-11-21"),
    "batch": ("2026-10-15", "2026-11-21"),
}
# Where we know better, or less: by model and what is priced.
DIFFERENT: Final = {
    ("gemini-2.5-flash-image", "batch"): "they lack it and give the standard rates; Google halves",
    ("gemini-2.5-flash-image", "searches"): "billed by the answer, which they cannot say",
    (
        "gemini-3.1-flash-lite-image",
        "searches",
    ): "it has none; to them they are free, to us unknown",
    ("nano-banana-pro-preview", "id"): "an id of gemini-3-pro-image that they do not know",
}
# What is known of an id holds for an older one of the same model.
OLDER_ID: Final = {"gemini-2.5-flash-image-preview": "gemini-2.5-flash-image"}


def theirs(model: str, day: str, tier: Tier, unit: str) -> Decimal | None:
    try:
        return genai_prices.calc_price(
            genai_prices.Usage(**UNITS[unit][1]),
            model,
            provider_id="google",
            genai_request_timestamp=datetime.fromisoformat(day).replace(tzinfo=UTC),
            price_context={"processing": "batch"} if tier == "batch" else None,
        ).total_price
    except LookupError:
        return None


def ours(model: str, day: str, tier: Tier, unit: str) -> Decimal | None:
    n_queries = 1000 if unit == "searches" else 0
    price = PriceBook.shipped().find(model, at=day)
    return price_tokens(UNITS[unit][0], "reported", price, tier=tier, n_queries=n_queries).usd


def reason(model: str, tier: Tier, unit: str) -> tuple[str, str] | None:
    """Which of the known differences this one would be."""
    name = OLDER_ID.get(model, model)
    kinds = ("id", unit, "batch") if tier == "batch" else ("id", unit)
    return next(((name, kind) for kind in kinds if (name, kind) in DIFFERENT), None)


ALL: Final = [
    (model, day, tier, unit)
    for model in IDS
    for tier, days in DAYS.items()
    for day in days
    for unit in UNITS
]


@pytest.mark.parametrize("model", IDS)
def test_a_shipped_price_is_that_of_genai_prices(model: str) -> None:
    asked = [one for one in ALL if one[0] == model]
    unknown = [one for one in asked if reason(model, *one[2:]) is None and theirs(*one) is None]
    assert not unknown
    differing = {one: (ours(*one), theirs(*one)) for one in asked if ours(*one) != theirs(*one)}
    assert not {one: both for one, both in differing.items() if reason(model, *one[2:]) is None}


def test_every_difference_that_is_excused_is_still_there() -> None:
    found = {reason(one[0], *one[2:]) for one in ALL if ours(*one) != theirs(*one)}
    assert found == set(DIFFERENT)


def test_searches_by_pro_were_free_until_both_say_so() -> None:
    days = ("2025-12-31", "2026-01-04", "2026-01-05", "2026-11-21")
    told = [ours("gemini-3-pro-image", day, "standard", "searches") for day in days]
    assert told == [0, 0, 14, 14]
    assert told == [theirs("gemini-3-pro-image", day, "standard", "searches") for day in days]


ALONE: Final = """
import sys
sent = []
sys.addaudithook(lambda event, _: event.startswith("socket.") and sent.append(event))
import genai_prices
genai_prices.calc_price(genai_prices.Usage(input_tokens=1), "gemini-3-pro-image")
import socket, threading
assert not sent, sent
assert threading.active_count() == 1
socket.socket().close()
assert sent, "the hook hears nothing"
"""


def test_genai_prices_asks_nobody() -> None:
    subprocess.run([sys.executable, "-c", ALONE], check=True, timeout=30)
