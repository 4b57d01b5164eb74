"""How long the turns of a plan take: their work, what limits allow, and what waits for what.

Source: docs/cost.md.
"""

from decimal import Decimal
from statistics import median
from typing import Final, Literal

import msgspec

from batchgen.forecast.spread import added
from batchgen.forecast.turns import Basis, Grounds, Share
from batchgen.limits import Limits

_MINUTE_S: Final = 60
_TEN_MINUTES_S: Final = 600


class AtOnce(msgspec.Struct, frozen=True, kw_only=True):
    """Calls under way at once: at worst, expected, at best."""

    low: float
    expected: float
    high: float


class DurationFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from the first call to the last answer.

    Attributes:
        concurrency_basis: `history` where earlier runs tell, else `limits`: the middle between
            where a run begins and the most that it may use.
    """

    low: float
    expected: float
    high: float
    concurrency: AtOnce
    concurrency_basis: Literal["limits", "history"]
    basis: list[Basis]


def duration_of(
    shares: list[Share],
    grounds: Grounds,
    chain: int,
    expected_usd: Decimal | None,
    basis: list[Basis],
) -> DurationFigures:
    """The longest of what is to do, what limits allow, and what has to wait for each other.

    One call comes on top: the first of a run goes alone.
    """
    n = sum(share.turns.n for share in shares)
    work_s = added(share.spread(lambda sample: sample.latency_s) for share in shares).span
    at_once, concurrency_basis = _concurrency(grounds, n)
    paced_s = _paced_s(shares, grounds.limits, expected_usd)

    def seconds(work_s: float, at_once: float) -> float:
        a_turn_s = work_s / n
        alone_s = a_turn_s if n > 1 else 0.0
        at_work_s = (work_s - alone_s) / min(at_once, max(n - 1, 1))
        return alone_s + max(at_work_s, a_turn_s * (chain - 1), paced_s)

    low, expected, high = (
        round(seconds(*one), 1)
        for one in zip(work_s, (at_once.high, at_once.expected, at_once.low), strict=True)
    )
    return DurationFigures(
        low=low,
        expected=expected,
        high=high,
        concurrency=at_once,
        concurrency_basis=concurrency_basis,
        basis=basis,
    )


def _concurrency(grounds: Grounds, n: int) -> tuple[AtOnce, Literal["limits", "history"]]:
    """How many calls are under way at once: as in the last runs, or what the limits leave open.

    Never more than there are turns.
    """
    bounds = grounds.limits.concurrency
    if seen := grounds.own.concurrency(bounds.highest):
        told = (min(seen), median(seen), max(seen))
    else:
        told = (bounds.start, (bounds.start + bounds.highest) / 2, bounds.highest)
    low, expected, high = (min(one, n) for one in told)
    return AtOnce(low=low, expected=expected, high=high), "history" if seen else "limits"


def _paced_s(shares: list[Share], limits: Limits, expected_usd: Decimal | None) -> float:
    """Seconds that limits make it take, each for a model by itself."""
    by_model: dict[str, list[Share]] = {}
    for share in shares:
        by_model.setdefault(share.turns.model, []).append(share)
    paced_s = [0.0]
    for of_model in by_model.values():
        n_calls = sum(share.sum(lambda sample: sample.n_calls) for share in of_model)
        n_pictures = sum(share.turns.n for share in of_model)
        n_input = sum(share.turns.text_tokens + share.turns.image_tokens for share in of_model)
        for n, a_minute in (
            (n_calls, limits.rpm),
            (n_pictures, limits.ipm),
            (n_input, limits.tpm),
        ):
            if a_minute is not None:
                paced_s.append(n * _MINUTE_S / a_minute)
    if limits.usd_per_10min is not None and expected_usd is not None and limits.usd_per_10min:
        # What fits into the first ten minutes may leave at once.
        windows = float(expected_usd / limits.usd_per_10min)
        paced_s.append((windows - 1) * _TEN_MINUTES_S)
    return max(paced_s)
