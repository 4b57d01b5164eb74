"""What a call costs: prices, the rule that puts them on token counts, and what to expect.

prices     the book: rates by model, day and tier, with what a person laid over it
rule       a usage becomes tokens by price class, and those become a cost
estimate   the most that a call should cost, before it is sent
"""

from batchgen.cost.estimate import estimate, estimate_item, input_tokens, kind_and_input
from batchgen.cost.prices import Price, PriceBook, PriceList, Rates
from batchgen.cost.rule import NOTHING, UNKNOWN, Cost, count_tokens, price_tokens

__all__ = [
    "NOTHING",
    "UNKNOWN",
    "Cost",
    "Price",
    "PriceBook",
    "PriceList",
    "Rates",
    "count_tokens",
    "estimate",
    "estimate_item",
    "input_tokens",
    "kind_and_input",
    "price_tokens",
]
