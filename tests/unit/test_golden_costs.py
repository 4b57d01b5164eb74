"""Every answer of tests/golden/costs.yaml costs what a person worked out."""

from __future__ import annotations

from decimal import Decimal

import pytest

from batchgen.cost import PriceBook, PriceList, count_tokens, price_tokens
from batchgen.model import Tokens
from batchgen.wire.grounding import count_queries
from batchgen.wire.usage import read_tier, read_usage
from tests.golden_costs import Golden, arithmetic, golden_costs, in_usd

CASES = golden_costs()


def test_there_are_as_many_cases_as_were_written_and_each_is_its_own() -> None:
    assert len(CASES) >= 130
    assert len({golden.case for golden in CASES}) == len(CASES)


@pytest.mark.parametrize("golden", CASES, ids=lambda golden: golden.case)
def test_the_sum_by_hand_comes_to_the_figure(golden: Golden) -> None:
    assert (golden.work is None) == (golden.usd is None) == (golden.basis == "unknown")
    if golden.work is not None:
        assert in_usd(golden.work) == golden.usd


@pytest.mark.parametrize("golden", CASES, ids=lambda golden: golden.case)
def test_the_product_comes_to_the_figure(golden: Golden) -> None:
    book = PriceBook.shipped().under(PriceList.of("the case", golden.prices))
    price = book.find(golden.answered, golden.model, at=golden.at)
    tokens, basis = count_tokens(
        read_usage(golden.usage), price, n_images=golden.images, size=golden.size
    )
    assert tokens == (None if golden.tokens is None else Tokens(**golden.tokens))
    if basis == "reported" and not book.knows(golden.answered, at=golden.at):
        basis = "inferred"
    tier = read_tier(golden.usage, golden.header)
    n_queries = count_queries(golden.grounding)
    cost = price_tokens(tokens, basis, price, tier=tier, n_queries=n_queries)
    figure = None if cost.usd is None else str(cost.usd)
    assert (figure, cost.basis) == (golden.usd, golden.basis)


@pytest.mark.parametrize(
    ("work", "value"), [("1 + 2*3", "7"), ("(1+2) * 0.3", "0.9"), ("7 - 1/4", "6.75")]
)
def test_a_sum_is_worked_out_exactly(work: str, value: str) -> None:
    assert arithmetic(work) == Decimal(value)


@pytest.mark.parametrize("work", ["2**9", "x", "f(1)", "-1", "'1'", "True", "1 if 1 else 2"])
def test_what_is_more_than_a_sum_is_not_worked_out(work: str) -> None:
    with pytest.raises(ValueError, match="more than a sum"):
        arithmetic(work)
