"""The price book: what a million tokens cost, by model, day, and way of being served.

Prices come as lists, one laid over the other: what a person wrote for a model wins over what comes
with batchgen. Within a list a model's prices are dated, and an old call is priced as it was then.

Source: batchgen/prices.yaml, with the source and date of every figure; docs/cost.md.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib import resources
from typing import Any, Final, get_args

import yaml

from batchgen.known_models import KnownModels, TokenCounts, plain_name
from batchgen.model import Tier

TIERS: Final[tuple[Tier, ...]] = get_args(Tier)
SHIPPED: Final = "batchgen/prices.yaml"

# A rate that is so many times another is a slip of the unit sooner than a price.
FAR_OFF: Final = 5
RATES: Final = ("input", "text_output", "image_output")
SEARCHES: Final = ("search_1k_queries", "search_1k_prompts")
# `gemini-3-pro-image-preview-11-2025`, `…-05-20`, `…-001`, `…@default`: an edition of a model.
_EDITION: Final = re.compile(r"(-\d{2}-\d{4}|-\d{2}-\d{2}|-\d{3}|-\d{8}|@[\w.-]+)\Z")
_PER_1K: Final = Decimal(1000)
_MAX_REMEMBERED: Final = 4096
_CHEAPER: Final = frozenset({"batch", "flex", "offpeak"})


@dataclass(frozen=True, slots=True)
class Rates:
    """USD per million tokens: of what is sent, of words and thoughts, and of pictures.

    Attributes:
        source: Where they were read, if not where the others of their model were.
    """

    input: Decimal
    text_output: Decimal
    image_output: Decimal
    source: str | None = field(default=None, compare=False)

    def __mul__(self, factor: Decimal) -> "Rates":
        """The same, so many times as dear."""
        return replace(
            self,
            input=self.input * factor,
            text_output=self.text_output * factor,
            image_output=self.image_output * factor,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What one model costs from one day on, and how many tokens its images take.

    Attributes:
        tiers: Rates by the way of being served; `standard` always, the others where known.
        search_1k_queries: USD per thousand different queries that the model made.
        search_1k_prompts: USD per thousand answers that any query was made for; a model is billed
            by the one or the other, and None is what nobody knows.
        tokens: What its images count.
        valid_from: An ISO day; empty for ever since.
    """

    tiers: Mapping[Tier, Rates]
    search_1k_queries: Decimal | None = None
    search_1k_prompts: Decimal | None = None
    tokens: TokenCounts
    valid_from: str = ""
    checked: str | None = None
    source: str | None = None

    @property
    def standard(self) -> Rates:
        """The rates of a call that asked for nothing else."""
        return self.tiers["standard"]

    def rates(self, tier: Tier) -> Rates | None:
        """What is asked for a tier; where nobody knows that of a cheaper one, the usual."""
        return self.tiers.get(tier, self.standard if tier in _CHEAPER else None)

    def tokens_an_image(self, size: str | None) -> int:
        """Output tokens of one image of this size; the dearest where the size is unknown."""
        by_size = self.tokens.by_size
        asked = by_size.get(size or self.tokens.default_size)
        return asked if asked is not None else max(by_size.values())

    def search_usd(self, n_queries: int) -> Decimal | None:
        """What the searches of one answer cost; None if there were some and nobody knows."""
        if not n_queries:
            return Decimal(0)
        match self.search_1k_queries, self.search_1k_prompts:
            case None, None:
                return None
            case a_query, a_prompt:
                usd = n_queries * (a_query or Decimal(0)) + (a_prompt or Decimal(0))
                return usd / _PER_1K

    @property
    def knows_searches(self) -> bool:
        """Whether anybody knows what its searches cost."""
        return not (self.search_1k_queries is None and self.search_1k_prompts is None)

    def with_searches_of(self, other: "Price") -> "Price":
        """The same, with what another knows of its searches."""
        return replace(
            self,
            search_1k_queries=other.search_1k_queries,
            search_1k_prompts=other.search_1k_prompts,
        )

    def __mul__(self, factor: Decimal) -> "Price":
        """The same, so many times as dear."""
        queries, prompts = self.search_1k_queries, self.search_1k_prompts
        return replace(
            self,
            tiers={tier: rates * factor for tier, rates in self.tiers.items()},
            search_1k_queries=None if queries is None else queries * factor,
            search_1k_prompts=None if prompts is None else prompts * factor,
        )


@dataclass(frozen=True, slots=True)
class PriceList:
    """Prices from one place.

    Attributes:
        origin: Where they stand, as a person would look for them.
        prices: By the plain name of a model, oldest first.
        multiplier: What every price is multiplied by, a gateway's discount for example.
    """

    origin: str
    prices: Mapping[str, Sequence[Price]]
    multiplier: Decimal | None = None

    @classmethod
    @cache
    def shipped(cls) -> "PriceList":
        """Google's list prices, which come with batchgen; read once."""
        text = resources.files("batchgen").joinpath("prices.yaml").read_text("utf-8")
        book = yaml.load(text, Loader=yaml.CBaseLoader)  # noqa: S506 - it makes text only
        return cls.of(SHIPPED, book)

    @classmethod
    def of(cls, origin: str, written: Mapping[str, Any]) -> "PriceList":
        """Make a list of what was written; a model goes by all ids that are known of it.

        Args:
            origin: Where it stands.
            written: `multiplier`, and `models`: rates by name, or dated `rates` of a name.

        Raises:
            ValueError: A rate is no number.
        """
        prices: dict[str, Sequence[Price]] = {}
        for model, entry in (written.get("models") or {}).items():
            entries = entry.get("rates", [entry])
            dated = sorted((read_price(model, one) for one in entries), key=_valid_from)
            known = KnownModels.shipped().find(model)
            others = (known.name, *known.aliases) if known else ()
            for name in others:
                prices.setdefault(name, dated)
            prices[plain_name(model)] = dated  # what is named wins over what is meant as well
        multiplier = written.get("multiplier")
        return cls(origin, prices, None if multiplier is None else as_usd(multiplier))

    def find(self, model: str, at: str) -> Price | None:
        """The price that a model had at a moment; before its first day, the first."""
        for name in _spellings(model):
            if dated := self.prices.get(name):
                valid = [price for price in dated if price.valid_from <= at]
                return valid[-1] if valid else dated[0]
        return None

    def find_valid(self, model: str, at: str) -> Price | None:
        """The same, but none before its first day."""
        price = self.find(model, at)
        return price if price is not None and price.valid_from <= at else None


def _valid_from(price: Price) -> str:
    return price.valid_from


@dataclass(frozen=True)
class PriceBook:
    """Price lists, the one that wins first; a name that none of them has has no price.

    Attributes:
        n_named: How many of the first were named for this once: a job's does not win over them.

    Cost: the first look-up of a name and day is remembered.
    """

    lists: Sequence[PriceList]
    n_named: int = 0
    _found: dict[tuple[str | None, ...], Price | None] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def shipped(cls) -> "PriceBook":
        """The book without anything that a person wrote."""
        return cls((PriceList.shipped(),))

    def under(self, *lists: PriceList | None) -> "PriceBook":
        """The same book with lists laid over it, the one that wins first."""
        return PriceBook((*(one for one in lists if one is not None), *self.lists))

    @property
    def multiplier(self) -> Decimal:
        """What every price is multiplied by: what the first list says that says anything."""
        told = (one.multiplier for one in self.lists if one.multiplier is not None)
        return next(told, Decimal(1))

    @property
    def models(self) -> list[str]:
        """The names that have a price."""
        return sorted({name for one in self.lists for name in one.prices})

    def find(self, *models: str | None, at: str) -> Price | None:
        """What a call cost at a moment, the multiplier included; None if nobody knows.

        Args:
            models: What the model goes by: the one that answered, then the one that was asked.
                A list that has a price for any of them wins over the lists below it.
            at: An ISO stamp or day.
        """
        asked = (*models, at[:10])
        if asked not in self._found:
            if len(self._found) >= _MAX_REMEMBERED:  # a log may name any number of models
                self._found.clear()
            self._found[asked] = self._find(models, at)
        return self._found[asked]

    def knows(self, model: str | None, *, at: str) -> bool:
        """Whether a model has a price of its own, if one is named."""
        return not model or self.find(model, at=at) is not None

    def origin(self, *models: str | None, at: str) -> PriceList | None:
        """The list that the price of a call is from, see `find`."""
        return next((one for one, _ in self._finds(models, at)), None)

    def with_job(self, job: PriceList | None) -> "PriceBook":
        """The same book with a job's prices, which win over all lists but those that were named."""
        if job is None:
            return self
        n = self.n_named
        return replace(self, lists=(*self.lists[:n], job, *self.lists[n:]))

    def without_multipliers(self) -> "PriceBook":
        """The same book with every price as it is listed."""
        return replace(self, lists=tuple(replace(one, multiplier=None) for one in self.lists))

    def _find(self, models: Sequence[str | None], at: str) -> Price | None:
        price = next((price for _, price in self._finds(models, at)), None)
        if price is None:
            return None
        if not price.knows_searches:
            # Who writes what a model's tokens cost has not said that its searches are unknown.
            # They are those of the model that answered; of the one asked, if nobody knows that.
            known = next(one for one in models if one and next(self._finds((one,), at), None))
            below = (one for _, one in self._finds((known,), at) if one.knows_searches)
            price = price.with_searches_of(next(below, price))
        # A gateway's own name for a model has a price; what answered tells what its images count.
        return replace(price, tokens=_known_counts(*models) or price.tokens) * self.multiplier

    def _finds(self, models: Sequence[str | None], at: str) -> Iterator[tuple[PriceList, Price]]:
        """What the lists have; one whose day is still to come counts where no other has any."""
        for find in (PriceList.find_valid, PriceList.find):
            for one in self.lists:
                for model in models:
                    if model and (price := find(one, model, at)) is not None:
                        yield one, price


def _spellings(model: str) -> Iterator[str]:
    """What a model may be listed as: its id, without what routers put before it, or an edition."""
    name = plain_name(model.strip())
    yield name
    name = name.rsplit("/", 1)[-1]
    yield name
    while (found := _EDITION.search(name)) is not None:
        name = name[: found.start()]
        yield name


def read_price(model: str, written: Mapping[str, Any]) -> Price:
    """A price of a model, from rates as they stand in a price list.

    What its images count is what the table of known models says; of a model that it lacks, the
    most that any does, because dear is better than cheap.

    Raises:
        ValueError: A rate is no number.
    """
    tiers: dict[Tier, Rates] = {"standard": _rates(written)}
    for tier in TIERS[1:]:
        if (one := written.get(tier)) is not None:
            tiers[tier] = replace(_rates(one), source=one.get("source"))
    searches = {name: as_usd(usd) for name in SEARCHES if (usd := written.get(name)) is not None}
    return Price(
        tiers=tiers,
        tokens=_known_counts(model) or KnownModels.shipped().token_counts(model),
        valid_from=str(written.get("valid_from") or ""),
        checked=written.get("checked"),
        source=written.get("source"),
        **searches,
    )


def _known_counts(*models: str | None) -> TokenCounts | None:
    """What the images of the first model count that the table knows by any spelling."""
    names = (name for model in models if model for name in _spellings(model))
    known = filter(None, map(KnownModels.shipped().find, names))
    return next((one.tokens for one in known if one.tokens is not None), None)


def _rates(written: Mapping[str, Any]) -> Rates:
    input_, text_output, image_output = (as_usd(written[name]) for name in RATES)
    return Rates(input_, text_output, image_output)


def as_usd(written: Any) -> Decimal:
    """An amount of money, exactly as it is written.

    Raises:
        ValueError: It is no number.
    """
    try:
        return Decimal(str(written).strip())
    except InvalidOperation as error:
        raise ValueError(f"{written!r} is no price") from error


def far_off(rate: Decimal, listed: Decimal) -> bool:
    """Whether a rate is so far from the listed one that it may be a slip of the unit."""
    if not rate or not listed:
        return rate != listed
    return max(rate / listed, listed / rate) > FAR_OFF
