"""Calls become sums by group.

A sum of money is the sum of what each call cost, and each call was rounded to the micro-dollar by
itself: so a log that was made of a ledger adds up to what the ledger does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeAlias

import msgspec

from batchgen.errors import UsageError
from batchgen.model import Billed, CostBasis, Outcome, Tokens
from batchgen.spending.span import Span

GROUPINGS: Final = ("model", "day", "run", "outcome", "item")
TAG: Final = "tag:"
TOKENS: Final = ("input_text", "input_image", "output_text", "output_image", "thoughts")
_SIX: Final = Decimal("0.000001")

Key: TypeAlias = tuple[str | None, ...]


class Call(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One call, whoever wrote it down.

    Attributes:
        model: What it is grouped by: the asked one of our ledgers, else the one that answered.
        at: None where the line does not say.
        n_images: Pictures that it brought: one, if any.
        usd: None if nobody knows; with `billed` maybe what it may have cost.
    """

    model: str | None = None
    at: datetime | None = None
    run: str | None = None
    item: str | None = None
    tags: dict[str, str] = {}
    outcome: Outcome
    n_images: int = 0
    tokens: Tokens | None = None
    usd: Decimal | None = None
    basis: CostBasis
    billed: Billed = "yes"

    @property
    def day(self) -> str | None:
        """The day in UTC."""
        return None if self.at is None else self.at.date().isoformat()


@dataclass(slots=True)
class Sums:
    """The figures of one group; money that is known is what was billed for sure.

    Attributes:
        n_accepted: Pictures but those that are to be made again, or were.
    """

    attempts: int = 0
    images: int = 0
    n_accepted: int = 0
    input_text: int = 0
    input_image: int = 0
    output_text: int = 0
    output_image: int = 0
    thoughts: int = 0
    n_priced: int = 0
    n_unknown: int = 0
    usd: Decimal = Decimal(0)
    waste_usd: Decimal = Decimal(0)
    maybe_usd: Decimal = Decimal(0)
    inferred_usd: Decimal = Decimal(0)

    def add(self, call: Call) -> None:
        """Count one call."""
        self.attempts += 1
        self.images += call.n_images
        self.n_accepted += call.n_images
        if call.tokens is not None:
            self._count(call.tokens)
        if call.usd is None:
            self.n_unknown += call.billed != "no"
        elif call.billed == "maybe":
            self.maybe_usd += call.usd
        elif call.billed == "yes":
            self._bill(call.usd, call)

    def add_pictures(self, n: int, tokens: Tokens, usd: Decimal, inferred_usd: Decimal) -> None:
        """Count so many calls at once, each of which brought a picture and was billed."""
        self.attempts += n
        self.images += n
        self.n_accepted += n
        self.n_priced += n
        self._count(tokens)
        self.usd += usd
        self.inferred_usd += inferred_usd

    def _count(self, tokens: Tokens) -> None:
        self.input_text += tokens.input_text
        self.input_image += tokens.input_image
        self.output_text += tokens.output_text
        self.output_image += tokens.output_image
        self.thoughts += tokens.thoughts

    def _bill(self, usd: Decimal, call: Call) -> None:
        self.n_priced += 1
        self.usd += usd
        if call.outcome is not Outcome.IMAGE:
            self.waste_usd += usd
        if call.basis == "inferred":
            self.inferred_usd += usd

    def merge(self, other: "Sums") -> None:
        """Count what another one counted."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    @property
    def cost_usd(self) -> Decimal | None:
        """What was billed, waste included; None if something was and nothing of it is known."""
        if self.n_unknown and not self.n_priced:
            return None
        return _exactly(self.usd)

    @property
    def cost_per_accepted_image_usd(self) -> Decimal | None:
        """What a picture cost that was kept, waste included; None if none is known to be."""
        cost = self.cost_usd
        return None if cost is None or self.n_accepted <= 0 else _exactly(cost / self.n_accepted)

    def figures(self) -> dict[str, Any]:
        """The figures by the names of the interface."""
        return {
            "attempts": self.attempts,
            "images": self.images,
            "tokens": {name: getattr(self, name) for name in TOKENS},
            "cost_usd": self.cost_usd,
            "cost_waste_usd": _exactly(self.waste_usd),
            "cost_maybe_usd": _exactly(self.maybe_usd),
            "cost_unknown_attempts": self.n_unknown,
            "cost_inferred_usd": _exactly(self.inferred_usd),
            "cost_per_accepted_image_usd": self.cost_per_accepted_image_usd,
        }


def _exactly(usd: Decimal) -> Decimal:
    """Money as it is written: to the micro-dollar, which each call was rounded to before."""
    return usd.quantize(_SIX)


@dataclass(slots=True)
class Tally:
    """Sums of calls by group, of those within a span of time.

    Attributes:
        by: What to group by, in order; see `grouping`.
        n_untimed: Calls that have no time and are left out of a span.
        n_outside: Calls outside of it.
    """

    by: Sequence[str] = ()
    span: Span = Span()
    groups: dict[Key, Sums] = field(default_factory=dict)
    n_untimed: int = 0
    n_outside: int = 0

    def add(self, call: Call) -> Sums | None:
        """Count a call; None if it is left out, else the sums that it went into."""
        if self.span.is_bounded:
            if call.at is None:
                self.n_untimed += 1
                return None
            if not self.span.has(call.at):
                self.n_outside += 1
                return None
        sums = self.sums_of(call)
        sums.add(call)
        return sums

    def sums_of(self, call: Call) -> Sums:
        """The sums of the group that a call belongs to."""
        key = tuple(_value(call, name) for name in self.by)
        sums = self.groups.get(key)
        if sums is None:
            sums = self.groups[key] = Sums()
        return sums

    def merge(self, other: "Tally") -> None:
        """Count what another one counted."""
        for key, sums in other.groups.items():
            self.groups.setdefault(key, Sums()).merge(sums)
        self.n_untimed += other.n_untimed
        self.n_outside += other.n_outside

    def total(self) -> Sums:
        """All groups together."""
        total = Sums()
        for sums in self.groups.values():
            total.merge(sums)
        return total

    def ordered(self) -> list[tuple[Key, Sums]]:
        """The groups: days and runs in their order, the others the dearest first."""
        n_leading = int(bool(self.by) and self.by[0] in {"day", "run"})
        return sorted(
            self.groups.items(),
            key=lambda one: (_in_order(one[0][:n_leading]), _dearest(one[1]), _in_order(one[0])),
        )


def _value(call: Call, name: str) -> str | None:
    match name:
        case "model":
            return call.model
        case "day":
            return call.day
        case "run":
            return call.run
        case "outcome":
            return call.outcome.value
        case "item":
            return call.item
        case _:
            return call.tags.get(name.removeprefix(TAG))


def _in_order(key: Key) -> tuple[tuple[bool, str], ...]:
    """As a key is sorted: what is missing comes last."""
    return tuple((one is None, one or "") for one in key)


def _dearest(sums: Sums) -> tuple[bool, Decimal]:
    cost = sums.cost_usd
    return (cost is None, -(cost or Decimal(0)))


def grouping(words: Sequence[str]) -> tuple[str, ...]:
    """What to group by, of names that may be separated by commas; each counts once.

    Raises:
        UsageError: There is no such name.
    """
    names = [name.strip() for word in words for name in word.split(",") if name.strip()]
    for name in names:
        if name not in GROUPINGS and not (name.startswith(TAG) and name != TAG):
            expected = ", ".join((*GROUPINGS, "tag:NAME"))
            raise UsageError(f"--by {name}: expected {expected}")
    return tuple(dict.fromkeys(names))
