"""What a process exits with: of all that happened in a run, what ranks highest. Pure."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from batchgen.errors import BatchgenError

EXIT_BY_SIGNAL: Final = {"sigint": 130, "sigterm": 143}
EXIT_REFUSED: Final = 2
EXIT_SOME_FAILED: Final = 4
EXIT_LEFT: Final = 5
EXIT_STOPPED: Final = 7
EXIT_OVER_COST: Final = 8
EXIT_OVER_TIME: Final = 10
_BUG: Final = 1
# The highest first: a bug, a signal with items left, the disk, what nobody agreed to, what running
# again would not mend, cost, time, what a later run mends, failures.
_RANKS: Final = (
    *(_BUG, 130, 143, 12, EXIT_REFUSED, EXIT_STOPPED, EXIT_OVER_COST, EXIT_OVER_TIME, EXIT_LEFT),
    EXIT_SOME_FAILED,
)


_LEAST: Final = re.compile(r"(?P<least>[0-9]{1,9}(?:\.[0-9]{1,9})?)(?P<share>%?)")


@dataclass(frozen=True, slots=True)
class FailOn:
    """Which items that failed make a run end with 4.

    Attributes:
        kind: Any of them; only those that had not failed before; none; or so many.
        least: How many that is.
        is_share: It is a percentage of the items that the run was about.
    """

    kind: Literal["any", "new", "none", "many"] = "any"
    least: Decimal = Decimal(1)
    is_share: bool = False

    def is_met(self, n_failed: int, n_new: int, n_total: int) -> bool:
        """Whether so many failures, so many of them new, are too many."""
        match self.kind:
            case "any":
                return n_failed > 0
            case "new":
                return n_new > 0
            case "none":
                return False
            case "many":
                n_least = self.least * n_total / 100 if self.is_share else self.least
                return n_failed > 0 and n_failed >= n_least


_BY_WORD: Final = {"any": FailOn("any"), "new": FailOn("new"), "none": FailOn("none")}


def read_fail_on(text: str) -> FailOn | None:
    """Read `any`, `new`, `none`, a number of items, or a percentage; None for what is neither."""
    if (by_word := _BY_WORD.get(text)) is not None:
        return by_word
    if (found := _LEAST.fullmatch(text)) is None:
        return None
    least, is_share = Decimal(found["least"]), bool(found["share"])
    is_sound = 0 < least <= 100 if is_share else least >= 1 and not least % 1  # noqa: PLR2004
    return FailOn("many", least, is_share) if is_sound else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """What happened in a run, as far as its exit code goes.

    Attributes:
        n_failed, n_pending: Items that did not end done.
        are_too_many: Those that failed make the run fail, as somebody decided.
        met_bug: A defect of ours showed, in one call or in the run itself.
        signal: The first signal that came, whatever had stopped the run before.
        failed: What kept the run from going on, a disk that failed for one.
        is_stopped: An answer said that no item could do better.
        is_given_up: Somebody asked the run to stop.
        stop_code: What the reason for stopping means, if it says so itself.
        out_codes: What it means that models were given up.
    """

    n_failed: int = 0
    n_pending: int = 0
    are_too_many: bool = True
    met_bug: bool = False
    signal: str | None = None
    failed: BatchgenError | None = None
    is_stopped: bool = False
    is_given_up: bool = False
    stop_code: int | None = None
    out_codes: frozenset[int] = frozenset()


def exit_code(ending: Ending) -> int:
    """Rank what happened; 0 if nothing did."""
    return highest(set(_codes(ending)))


def highest(codes: Collection[int]) -> int:
    """Of several exit codes the one that ranks highest; 0 if there is none."""
    ranked = (*_RANKS, *sorted(set(codes) - set(_RANKS)))
    return next((code for code in ranked if code in codes), 0)


def _codes(ending: Ending) -> Iterator[int]:
    if ending.met_bug:
        yield _BUG
    if ending.failed is not None:
        yield ending.failed.exit_code
    if ending.is_stopped:
        yield EXIT_STOPPED
    if ending.n_failed or ending.n_pending:
        yield from ending.out_codes
    if (ending.n_failed and ending.are_too_many) or ending.n_pending:
        yield EXIT_SOME_FAILED
    if ending.n_pending:
        if ending.signal is not None:
            yield EXIT_BY_SIGNAL[ending.signal]
        if ending.is_given_up:
            yield EXIT_LEFT if ending.stop_code is None else ending.stop_code
