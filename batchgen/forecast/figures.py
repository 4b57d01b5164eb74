"""What the turns of a plan take: tokens, money and time, as low, expected and high; and disk.

Source: docs/cost.md.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

import msgspec

from batchgen.forecast.duration import DurationFigures, duration_of
from batchgen.forecast.experience import Sample
from batchgen.forecast.spread import added
from batchgen.forecast.turns import Basis, Grounds, Share, Turns, gather
from batchgen.known_models import KnownModels
from batchgen.model import Tokens
from batchgen.store.room import image_bytes

_MICRO: Final = Decimal("0.000001")


class TokenFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens that are billed; `by_class` is how the expected ones are made up."""

    low: int
    expected: int
    high: int
    by_class: Tokens
    basis: list[Basis]


class CostFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Money, to the micro-dollar; `prices` are the lists that it is by."""

    low: Decimal
    expected: Decimal
    high: Decimal
    prices: list[str]
    basis: list[Basis]


class DiskFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of the pictures; those of which no earlier ones tell count as the largest seen.

    Attributes:
        by_largest: Of how many pictures that is.
    """

    expected: int
    by_largest: int


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan takes.

    Attributes:
        pictures: One a turn.
        cost_usd: None where a price is unknown, which those of the models `unpriced` are.
    """

    pictures: int
    tokens: TokenFigures
    cost_usd: CostFigures | None
    duration_s: DurationFigures
    disk_bytes: DiskFigures
    unpriced: list[str] = []


def figure(all_turns: Iterable[Turns], grounds: Grounds, chain: int) -> Figures | None:
    """Tell what turns take; None if there are none.

    Args:
        all_turns: One for each kind.
        grounds: What is known.
        chain: How many turns at least have to be made one after the other.
    """
    shares = gather(all_turns, grounds)
    if not shares:
        return None
    basis = [share.told() for share in shares]
    by_class = [share.tokens() for share in shares]
    unpriced = sorted({share.turns.model for share in shares if share.rates is None})
    cost_usd = None if unpriced else _cost(shares, by_class, basis)
    expected_usd = None if cost_usd is None else cost_usd.expected
    return Figures(
        pictures=sum(share.turns.n for share in shares),
        tokens=_tokens(shares, by_class, basis),
        cost_usd=cost_usd,
        duration_s=duration_of(shares, grounds, chain, expected_usd, basis),
        disk_bytes=_disk(shares),
        unpriced=unpriced,
    )


def _tokens(shares: list[Share], by_class: list[Tokens], basis: list[Basis]) -> TokenFigures:
    low, expected, high = added(share.billed(share.n_tokens) for share in shares).span
    return TokenFigures(
        low=round(low),
        expected=round(expected),
        high=round(high),
        by_class=sum(by_class, Tokens()),
        basis=basis,
    )


def _disk(shares: list[Share]) -> DiskFigures:
    unseen = [share.turns for share in shares if share.basis == "table"]
    seen = (share.sum(_disk_bytes) for share in shares if share.basis != "table")
    return DiskFigures(
        expected=round(sum(seen) + sum(map(_largest_bytes, unseen))),
        by_largest=sum(turns.n for turns in unseen),
    )


def _largest_bytes(turns: Turns) -> int:
    size = turns.kind.size or KnownModels.shipped().token_counts(turns.model).default_size
    return turns.n * image_bytes(size)


def _disk_bytes(sample: Sample) -> float:
    return sample.disk_bytes


def _cost(shares: list[Share], by_class: list[Tokens], basis: list[Basis]) -> CostFigures:
    spread = added(share.billed(share.usd) for share in shares)
    pairs = zip(shares, by_class, strict=True)
    expected = sum((share.expected_usd(tokens) for share, tokens in pairs), Decimal(0))

    def away(usd: float) -> Decimal:
        return max(Decimal(0), expected + Decimal(str(round(usd, 6)))).quantize(_MICRO)

    return CostFigures(
        low=away(-spread.below),
        expected=expected.quantize(_MICRO),
        high=away(spread.above),
        prices=sorted({share.prices for share in shares if share.prices is not None}),
        basis=basis,
    )
