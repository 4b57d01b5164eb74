"""What a call cost by the price book, and which of its prices were used."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from batchgen.cost import Price, PriceBook, PriceList, Rates

MICRO: Final = 1_000_000
_MAX_REMEMBERED: Final = 4096


@dataclass(frozen=True, slots=True)
class Pricer:
    """Looks prices up, and remembers which of them were used.

    Attributes:
        today: The ISO day whose prices count for what has no time.
        used: Where the prices that were used stand, and when they were checked.
    """

    book: PriceBook
    today: str
    used: set[tuple[str, str | None]] = field(default_factory=set)
    _found: dict[tuple[str | None, ...], Price | None] = field(default_factory=dict)

    def of_job(self, job: PriceList) -> "Pricer":
        """The same, for calls of a job with prices of its own."""
        return Pricer(self.book.with_job(job), self.today, self.used)

    def knows(self, answered: str | None, day: str | None) -> bool:
        """Whether the model that answered has a price of its own, if one is named."""
        return self.book.knows(answered, at=day or self.today)

    def find(self, answered: str | None, asked: str | None, day: str | None) -> Price | None:
        """The price of a call, by the model that answered, else by the one that was asked."""
        key = (answered, asked, day)
        if key not in self._found:
            if len(self._found) >= _MAX_REMEMBERED:
                self._found.clear()
            self._found[key] = self._find(answered, asked, day or self.today)
        return self._found[key]

    def _find(self, answered: str | None, asked: str | None, at: str) -> Price | None:
        price = self.book.find(answered, asked, at=at)
        if price is not None:
            origin = self.book.origin(answered, asked, at=at)
            self.used.add((origin.origin if origin else "", price.checked))
        return price


@dataclass(frozen=True, slots=True)
class WholeRates:
    """Rates as whole numbers of a fraction of a micro-dollar, for many calls in little time.

    A million tokens at a USD cost as many micro-dollars as there are tokens. What they come to is
    what `price_tokens` says, to the micro-dollar; a test holds them against each other.

    Attributes:
        scale: How many of these fractions a micro-dollar is.
    """

    input: int
    text_output: int
    image_output: int
    scale: int

    @classmethod
    def of(cls, rates: Rates) -> "WholeRates":
        """Take them over exactly."""
        scale = 10 ** _n_decimals((rates.input, rates.text_output, rates.image_output))
        return cls(
            int(rates.input * scale),
            int(rates.text_output * scale),
            int(rates.image_output * scale),
            scale,
        )


def _n_decimals(rates: Iterable[Decimal]) -> int:
    exponents = (rate.normalize().as_tuple().exponent for rate in rates)
    return max((-one for one in exponents if isinstance(one, int) and one < 0), default=0)
