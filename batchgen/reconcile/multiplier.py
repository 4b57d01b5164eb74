"""What a gateway's prices are to the list: one multiplier, one a model, a price a request, or none.

Only pictures count whose request is known for certain, and whose tokens the service told.
"""

from array import array
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

from batchgen.reconcile.findings import Multiplier, Pricing
from batchgen.reconcile.money import as_ratio, as_usd

MIN_CALLS: Final = 5
# Models whose ratios are nearer to each other than this share one multiplier.
_SAME: Final = 0.02
# Nine of ten calls this near to the ratio of all: more, and it is no multiplier.
_STEADY: Final = 0.10
# Amounts that are as near as this, while the ratios are not, are a price for each request.
_FIXED: Final = 0.005
_ROUNDED_BY: Final = Decimal("0.002")


class Prices:
    """What single calls cost by the list, and what was billed for them; 16 bytes a call."""

    def __init__(self) -> None:
        """Start with no call."""
        self.listed = array("q")
        self.billed = array("q")

    def add(self, list_nano_usd: int, billed_nano_usd: int) -> None:
        """Take a call; both are more than nothing."""
        self.listed.append(list_nano_usd)
        self.billed.append(billed_nano_usd)

    def merged(self, others: Iterable["Prices"]) -> "Prices":
        """All of them as one."""
        for one in others:
            self.listed += one.listed
            self.billed += one.billed
        return self


def multipliers(by_model: Mapping[str, Prices]) -> tuple[Multiplier, dict[str, Multiplier]]:
    """The multiplier of all models, and that of each where they differ."""
    each = {model: of_calls(prices) for model, prices in by_model.items()}
    ratios = [one.ratio for one in each.values() if one.ratio is not None and one.n >= MIN_CALLS]
    of_all = of_calls(Prices().merged(by_model.values()))
    if not ratios or max(ratios) <= min(ratios) * (1 + Decimal(str(_SAME))):
        return of_all, {}
    pricing: Pricing = "by_model"
    return _without_value(of_all, pricing), each


def _without_value(one: Multiplier, pricing: Pricing) -> Multiplier:
    return Multiplier(
        n=one.n,
        list_usd=one.list_usd,
        billed_usd=one.billed_usd,
        ratio=one.ratio,
        low=one.low,
        high=one.high,
        pricing=pricing,
    )


def of_calls(prices: Prices) -> Multiplier:
    """What fits some calls."""
    n, listed, billed = len(prices.listed), sum(prices.listed), sum(prices.billed)
    if not n:
        zero = as_usd(0)
        return Multiplier(
            n=0,
            list_usd=zero,
            billed_usd=zero,
            ratio=None,
            low=None,
            high=None,
            pricing="too_few",
        )
    ratio = Decimal(billed) / listed
    pairs = zip(prices.listed, prices.billed, strict=True)
    low, high = _most(paid / asked for asked, paid in pairs)
    pricing = _pricing(n, float(ratio), (low, high), _most(prices.billed))
    value = rounded(ratio) if pricing == "multiplier" else None
    return Multiplier(
        n=n,
        list_usd=as_usd(listed),
        billed_usd=as_usd(billed),
        ratio=as_ratio(ratio),
        low=as_ratio(Decimal(low)),
        high=as_ratio(Decimal(high)),
        pricing=pricing,
        value=value,
        per_request_usd=as_usd(billed // n) if pricing == "per_request" else None,
        yaml=None if value is None else f"prices: {{multiplier: {value}}}",
    )


def _pricing(
    n: int, ratio: float, ratios: tuple[float, float], amounts: tuple[float, float]
) -> Pricing:
    if n < MIN_CALLS:
        return "too_few"
    if _spread(amounts) <= _FIXED and _spread(ratios) > 2 * _FIXED:
        return "per_request"
    low, high = ratios
    if low < ratio * (1 - _STEADY) or high > ratio * (1 + _STEADY):
        return "not_constant"
    return "multiplier"


def _most(values: Iterable[float]) -> tuple[float, float]:
    """Between what nine of ten values are; of a few, all."""
    ordered = sorted(values)
    aside = len(ordered) // 20
    return ordered[aside], ordered[-1 - aside]


def _spread(between: tuple[float, float]) -> float:
    low, high = between
    return (high - low) / low


def rounded(ratio: Decimal) -> Decimal:
    """A ratio with two decimals, or as many as it takes to be right to two in a thousand."""
    for decimals in range(2, 6):
        value = round(ratio, decimals)
        if abs(value - ratio) <= ratio * _ROUNDED_BY:
            return value
    return round(ratio, 6)
