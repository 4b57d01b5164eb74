"""What the turns of a plan take: tokens, money and time, as low, expected and high.

Turns are gathered by kind, and each kind is told by what tells most of it:

    history          earlier pictures of this very kind, of this job
    similar_history  the same but for ratio and references
    other_history    either, of other jobs that were named
    table            what is published

Source: docs/cost.md.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from statistics import fmean, median
from typing import Final, Literal, TypeAlias

import msgspec

from batchgen.cost import Price, PriceBook
from batchgen.forecast.experience import Experience, Found, Sample
from batchgen.forecast.published import published
from batchgen.forecast.spread import Spread, added, of_samples
from batchgen.known_models import Span
from batchgen.limits import Limits
from batchgen.model import Kind, Tier, Tokens

BasisName: TypeAlias = Literal["history", "similar_history", "other_history", "table"]
Quantity: TypeAlias = Callable[[Sample], float]

_MICRO: Final = Decimal("0.000001")
_MILLION: Final = 1_000_000
_PER_1K: Final = 1000
_MINUTE_S: Final = 60
_TEN_MINUTES_S: Final = 600


class Basis(msgspec.Struct, frozen=True, kw_only=True):
    """What so many pictures are told by; the table has no samples."""

    basis: BasisName
    model: str
    size: str | None
    pictures: int
    samples: int


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


class DurationFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from the first call to the last answer.

    Attributes:
        concurrency: Calls under way at once: at worst, expected, at best.
        concurrency_basis: `history` where earlier runs tell, else `limits`: the middle between
            where a run begins and the most that it may use.
    """

    low: float
    expected: float
    high: float
    concurrency: Span
    concurrency_basis: Literal["limits", "history"]
    basis: list[Basis]


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
    unpriced: list[str] = []


@dataclass(slots=True)
class Turns:
    """Turns of one kind that are to be made, and about how many tokens they send."""

    model: str
    kind: Kind
    n: int = 0
    text_tokens: int = 0
    image_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Grounds:
    """What a forecast goes by.

    Attributes:
        book: The prices, of the moment `at`.
        own: What this job's pictures took.
        others: What those of other jobs took.
        limits: How much may be asked of the service.
        parents: The ids of items that others build on, by the names that references use.
    """

    book: PriceBook
    at: str
    own: Experience
    limits: Limits
    others: Experience | None = None
    parents: Mapping[str, str] = field(default_factory=dict)

    def find(self, turns: Turns) -> tuple[BasisName, Found | None]:
        """What tells most of turns of a kind."""
        if (found := self.own.find(turns.model, turns.kind)) is not None:
            return ("history" if found.is_exact else "similar_history"), found
        if self.others is not None:
            found = self.others.find(turns.model, turns.kind)
        return ("table" if found is None else "other_history"), found


@dataclass(frozen=True, slots=True)
class _Rates:
    """USD per million tokens, and per search or answer with a search."""

    input: Decimal
    text_output: Decimal
    image_output: Decimal
    a_query: Decimal
    a_prompt: Decimal


@dataclass(frozen=True, slots=True)
class _Share:
    """Turns of one kind, and what one of them takes.

    Attributes:
        took: Samples; of what is published, the low, the expected and the high one.
        rates: What it costs; None if nobody knows.
        prices: The list that says so.
    """

    turns: Turns
    basis: BasisName
    took: tuple[Sample, ...]
    rates: _Rates | None
    prices: str | None

    def told(self) -> Basis:
        """What it is told by."""
        n_samples = 0 if self.basis == "table" else len(self.took)
        model, size = self.turns.model, self.turns.kind.size
        pictures = self.turns.n
        return Basis(basis=self.basis, model=model, size=size, pictures=pictures, samples=n_samples)

    def mean(self, quantity: Quantity) -> float:
        """What one turn is expected to take."""
        if self.basis == "table":
            return quantity(self.took[1])
        return fmean(map(quantity, self.took))

    def sum(self, quantity: Quantity) -> float:
        """What all turns are expected to take."""
        return self.turns.n * self.mean(quantity)

    def spread(self, quantity: Quantity) -> Spread:
        """What all turns take."""
        n = self.turns.n
        if self.basis == "table":
            return Spread.of_span(*(n * quantity(sample) for sample in self.took))
        return of_samples([quantity(sample) for sample in self.took], n)

    def billed(self, quantity: Quantity) -> Spread:
        """The same of what is billed: who never answered may have drawn a picture as well."""
        spread = self.spread(quantity)
        maybe = self.mean(lambda sample: sample.n_maybe) * spread.expected
        return spread._replace(above=spread.above + maybe)

    def n_tokens(self, sample: Sample) -> float:
        """Tokens of a turn."""
        return self._n_input(sample) + sample.output_text + sample.thoughts + sample.output_image

    def usd(self, sample: Sample) -> float:
        """About what a turn costs, 0 without a price: for spreads, which are no bill."""
        rates = self.rates
        if rates is None:
            return 0.0
        return (
            self._n_input(sample) * float(rates.input)
            + (sample.output_text + sample.thoughts) * float(rates.text_output)
            + sample.output_image * float(rates.image_output)
        ) / _MILLION + (
            sample.n_queries * float(rates.a_query) + sample.n_grounded * float(rates.a_prompt)
        )

    def tokens(self) -> Tokens:
        """What is expected, by price class."""
        prompts = self.mean(lambda sample: sample.n_prompts)
        beyond = self.sum(lambda sample: sample.beyond_tokens)
        return Tokens(
            input_text=max(0, round(self.turns.text_tokens * prompts + beyond)),
            input_image=round(self.turns.image_tokens * prompts),
            output_text=round(self.sum(lambda sample: sample.output_text)),
            output_image=round(self.sum(lambda sample: sample.output_image)),
            thoughts=round(self.sum(lambda sample: sample.thoughts)),
        )

    def expected_usd(self, tokens: Tokens) -> Decimal:
        """What these tokens cost, and the searches that go with them; 0 without a price."""
        rates = self.rates
        if rates is None:
            return Decimal(0)
        n_queries = Decimal(str(self.sum(lambda sample: sample.n_queries)))
        n_grounded = Decimal(str(self.sum(lambda sample: sample.n_grounded)))
        usd = (
            (tokens.input_text + tokens.input_image) * rates.input
            + (tokens.output_text + tokens.thoughts) * rates.text_output
            + tokens.output_image * rates.image_output
        ) / _MILLION
        return usd + n_queries * rates.a_query + n_grounded * rates.a_prompt

    def _n_input(self, sample: Sample) -> float:
        n_sent = (self.turns.text_tokens + self.turns.image_tokens) / self.turns.n
        return sample.n_prompts * n_sent + sample.beyond_tokens


def figure(all_turns: Iterable[Turns], grounds: Grounds, chain: int) -> Figures | None:
    """Tell what turns take; None if there are none.

    Args:
        all_turns: One for each kind.
        grounds: What is known.
        chain: How many turns at least have to be made one after the other.
    """
    shares = _shares(all_turns, grounds)
    if not shares:
        return None
    basis = [share.told() for share in shares]
    by_class = [share.tokens() for share in shares]
    unpriced = sorted({share.turns.model for share in shares if share.rates is None})
    cost_usd = None if unpriced else _cost(shares, by_class, basis)
    return Figures(
        pictures=sum(share.turns.n for share in shares),
        tokens=_tokens(shares, by_class, basis),
        cost_usd=cost_usd,
        duration_s=_duration(shares, grounds, chain, cost_usd, basis),
        unpriced=unpriced,
    )


def _shares(all_turns: Iterable[Turns], grounds: Grounds) -> list[_Share]:
    """Each kind with what tells of it; kinds that the same samples tell of are one."""
    gathered: dict[tuple[object, ...], tuple[Turns, BasisName, Found | None]] = {}
    for turns in all_turns:
        basis, found = grounds.find(turns)
        told_by = turns.kind if found is None else (found.name, found.is_exact)
        one, _, _ = gathered.setdefault(
            (turns.model, basis, told_by), (Turns(turns.model, turns.kind), basis, found)
        )
        one.n += turns.n
        one.text_tokens += turns.text_tokens
        one.image_tokens += turns.image_tokens
    shares = (_share(turns, basis, found, grounds) for turns, basis, found in gathered.values())
    return sorted(shares, key=lambda share: -share.turns.n)


def _share(turns: Turns, basis: BasisName, found: Found | None, grounds: Grounds) -> _Share:
    if found is None:
        took: tuple[Sample, ...] = published(turns.model, turns.kind, turns.text_tokens / turns.n)
        version = None
        tier: Tier = turns.kind.tier or "standard"
    else:
        took = tuple(found.pool.samples)
        version, tier = found.pool.model_version, found.pool.tier
    price = grounds.book.find(version, turns.model, at=grounds.at)
    may_search = any(sample.n_queries for sample in took)
    rates = None if price is None else _rates(price, tier, may_search=may_search)
    origin = grounds.book.origin(version, turns.model, at=grounds.at)
    return _Share(turns, basis, took, rates, None if origin is None else origin.origin)


def _rates(price: Price, tier: Tier, *, may_search: bool) -> _Rates | None:
    """What is asked for tokens and searches; None if nobody knows."""
    rates = price.rates(tier)
    if rates is None or (may_search and not price.knows_searches):
        return None
    return _Rates(
        rates.input,
        rates.text_output,
        rates.image_output,
        (price.search_1k_queries or Decimal(0)) / _PER_1K,
        (price.search_1k_prompts or Decimal(0)) / _PER_1K,
    )


def _tokens(shares: list[_Share], by_class: list[Tokens], basis: list[Basis]) -> TokenFigures:
    low, expected, high = added(share.billed(share.n_tokens) for share in shares).span
    return TokenFigures(
        low=round(low),
        expected=round(expected),
        high=round(high),
        by_class=sum(by_class, Tokens()),
        basis=basis,
    )


def _cost(shares: list[_Share], by_class: list[Tokens], basis: list[Basis]) -> CostFigures:
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


def _duration(
    shares: list[_Share],
    grounds: Grounds,
    chain: int,
    cost_usd: CostFigures | None,
    basis: list[Basis],
) -> DurationFigures:
    """The longest of what is to do, what limits allow, and what has to wait for each other.

    One call comes on top: the first of a run goes alone.
    """
    n = sum(share.turns.n for share in shares)
    work_s = added(share.spread(lambda sample: sample.latency_s) for share in shares).span
    at_once, concurrency_basis = _concurrency(grounds)
    paced_s = _paced_s(shares, grounds.limits, cost_usd)

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


def _concurrency(grounds: Grounds) -> tuple[Span, Literal["limits", "history"]]:
    """How many calls are under way at once: as in the last runs, or what the limits leave open."""
    bounds = grounds.limits.concurrency
    if seen := grounds.own.concurrency(bounds.highest):
        return Span(min(seen), median(seen), max(seen)), "history"
    return Span(bounds.start, (bounds.start + bounds.highest) / 2, bounds.highest), "limits"


def _paced_s(shares: list[_Share], limits: Limits, cost_usd: CostFigures | None) -> float:
    """Seconds that limits make it take, each for a model by itself."""
    by_model: dict[str, list[_Share]] = {}
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
    if limits.usd_per_10min is not None and cost_usd is not None and limits.usd_per_10min:
        # What fits into the first ten minutes may leave at once.
        windows = float(cost_usd.expected / limits.usd_per_10min)
        paced_s.append((windows - 1) * _TEN_MINUTES_S)
    return max(paced_s)
