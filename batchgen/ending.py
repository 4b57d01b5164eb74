"""What a process exits with: of all that happened in a run, what ranks highest. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """What happened in a run, as far as its exit code goes.

    Attributes:
        n_failed, n_pending: Items that did not end done.
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
    met_bug: bool = False
    signal: str | None = None
    failed: BatchgenError | None = None
    is_stopped: bool = False
    is_given_up: bool = False
    stop_code: int | None = None
    out_codes: frozenset[int] = frozenset()


def exit_code(ending: Ending) -> int:
    """Rank what happened; 0 if nothing did."""
    codes = set(_codes(ending))
    ranked = (*_RANKS, *sorted(codes - set(_RANKS)))
    return next((code for code in ranked if code in codes), 0)


def _codes(ending: Ending) -> Iterator[int]:
    if ending.met_bug:
        yield _BUG
    if ending.failed is not None:
        yield ending.failed.exit_code
    if ending.is_stopped:
        yield EXIT_STOPPED
    if ending.n_failed or ending.n_pending:
        yield EXIT_SOME_FAILED
        yield from ending.out_codes
    if ending.n_pending:
        if ending.signal is not None:
            yield EXIT_BY_SIGNAL[ending.signal]
        if ending.is_given_up:
            yield EXIT_LEFT if ending.stop_code is None else ending.stop_code
