"""The tables of `batchgen cost`, in whatever room there is."""

import re
from decimal import Decimal

import pytest

from batchgen.cost import PriceBook
from batchgen.model import Outcome, Tokens
from batchgen.paper import Paper, columns
from batchgen.spending import Span, Tally
from batchgen.spending.price_tables import prices_as_table
from batchgen.spending.tables import as_table
from batchgen.spending.tally import Call

TOKENS = Tokens(input_text=20, output_text=110, output_image=1120, thoughts=200)
CALL = Call(
    model="gemini-3-pro-image",
    item="hero",
    outcome=Outcome.IMAGE,
    n_images=1,
    tokens=TOKENS,
    usd=Decimal("0.138160"),
    basis="reported",
)


def tally_of(*by: str, n: int = 1, **more: object) -> Tally:
    """One call many times over."""
    tally = Tally(by, Span())
    call = Call(**{**{name: getattr(CALL, name) for name in CALL.__struct_fields__}, **more})
    sums = tally.add(call)
    assert sums is not None
    if n > 1:
        many = Tokens(
            **{name: (n - 1) * getattr(TOKENS, name) for name in TOKENS.__struct_fields__}
        )
        sums.add_pictures(n - 1, many, (n - 1) * Decimal("0.138160"), Decimal(0))
    return tally


def test_what_nobody_has_anything_of_is_left_out() -> None:
    head, row, line, total = as_table(tally_of("model"), Paper(200))
    assert re.split(" {2,}", head) == [
        *("model", "calls", "images", "text in", "text out", "img out", "thoughts"),
        *("cost", "per image"),
    ]
    figures = ["1", "1", "20", "110", "1,120", "200", "$0.1382", "$0.1382"]
    assert row.split() == ["gemini-3-pro-image", *figures]
    assert total.split() == ["total", *figures]
    assert line == "-" * len(head)


def test_a_group_that_has_nothing_of_what_another_has_shows_a_dash() -> None:
    tally = tally_of("outcome")
    tally.add(Call(outcome=Outcome.NO_IMAGE, usd=Decimal("0.01"), basis="reported"))
    tally.add(Call(outcome=Outcome.TIMEOUT, usd=Decimal("0.15"), basis="inferred", billed="maybe"))
    head, image, no_image, timeout, _, total = [
        line.split() for line in as_table(tally, Paper(200))
    ]
    assert head[-3:] == ["image", "waste", "maybe"]
    assert (image[-2:], no_image[-2:], timeout[-2:]) == (
        ["–", "–"],
        ["$0.0100", "–"],
        ["–", "$0.1500"],
    )
    assert total[-2:] == ["$0.0100", "$0.1500"]


@pytest.mark.parametrize("n", [1, 1000, 3_000_000])
@pytest.mark.parametrize("by", [("model",), ("model", "day", "run"), ("item", "model", "tag:sku")])
def test_a_table_fits_80_columns_and_no_figure_of_money_is_cut(by: tuple[str, ...], n: int) -> None:
    long = {"item": "i" * 180, "model": "m" * 90, "tags": {"sku": "猫" * 40}, "run": "r" * 25}
    tally = tally_of(*by, n=n, **long)
    lines = list(as_table(tally, Paper(80)))
    assert [line for line in lines if columns(line) > 80] == []
    cost = n * Decimal("0.138160")
    assert sum(f" ${cost:,.2f}" in line for line in lines) == 2 or f" ${cost:,.4f}" in lines[1]
    assert lines[1].split()[-1] == "$0.1382"


def test_counts_that_do_not_fit_are_told_in_three_digits() -> None:
    by = ("item", "model", "run", "tag:sku")
    tally = tally_of(*by, n=30_000_000, item="i" * 180, model="m" * 90, tags={"sku": "s" * 40})
    lines = list(as_table(tally, Paper(80)))
    assert lines[-1].split() == ["total", "600.0M", "3.3G", "33.6G", "6.0G"]
    wide = list(as_table(tally, Paper(250)))
    assert "33,600,000,000" in wide[-1]


def test_the_prices_fit_80_columns() -> None:
    lines = list(prices_as_table(PriceBook.shipped(), "2026-11-28", Paper(80)))
    assert [line for line in lines if columns(line) > 80] == []
    assert "gemini-3-pro-image           priority    3.6  21.6    216  14 queries   [6]" in lines
    assert (
        "[6] since 2026-01-05, checked 2026-11-21: litellm 1.109.1 (batchgen/prices.yaml)" in lines
    )
