"""Sums as they are reported: in USD, exactly, with six decimals or as many as it takes."""

from decimal import Decimal
from typing import Final

_MICRO: Final = Decimal("0.000001")
_RATIO: Final = Decimal("0.0001")


def as_usd(nano_usd: int) -> Decimal:
    """Billionths of a dollar as dollars."""
    exact = Decimal(nano_usd).scaleb(-9)
    micro = exact.quantize(_MICRO)
    return micro if micro == exact else exact


def as_ratio(ratio: Decimal) -> Decimal:
    """A ratio with four decimals; a small one with four digits."""
    return ratio.quantize(_RATIO) if abs(ratio) >= _RATIO else Decimal(f"{ratio:.4g}")
