"""Turns that are to be made, gathered by kind, and what tells most of each kind.

history          earlier pictures of this very kind, of this job
similar_history  the same but for ratio and references
other_history    either, of other jobs that were named
table            what is published
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from statistics import fmean
from typing import Final, Literal, TypeAlias

import msgspec

from batchgen.cost import Price, PriceBook
from batchgen.forecast.experience import Experience, Found, Sample
from batchgen.forecast.published import published
from batchgen.forecast.spread import Spread, of_samples
from batchgen.limits import Limits
from batchgen.model import Kind, Tier, Tokens

BasisName: TypeAlias = Literal["history", "similar_history", "other_history", "table"]
Quantity: TypeAlias = Callable[[Sample], float]

_MILLION: Final = 1_000_000
_PER_1K: Final = 1000


class Basis(msgspec.Struct, frozen=True, kw_only=True):
    """What so many pictures are told by; the table has no samples."""

    basis: BasisName
    model: str
    size: str | None
    pictures: int
    samples: int


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
class Share:
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


def gather(all_turns: Iterable[Turns], grounds: Grounds) -> list[Share]:
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


def _share(turns: Turns, basis: BasisName, found: Found | None, grounds: Grounds) -> Share:
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
    return Share(turns, basis, took, rates, None if origin is None else origin.origin)


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
