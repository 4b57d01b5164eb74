"""What a process exits with: of all that happened in a run, what ranks highest. Pure."""

from dataclasses import dataclass
from typing import Final

from batchgen.errors import BatchgenError

EXIT_BY_SIGNAL: Final = {"sigint": 130, "sigterm": 143}
_BUG: Final = 1
_SOME_FAILED: Final = 4
EXIT_LEFT: Final = 5
_STOPPED: Final = 7


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
    """

    n_failed: int = 0
    n_pending: int = 0
    met_bug: bool = False
    signal: str | None = None
    failed: BatchgenError | None = None
    is_stopped: bool = False
    is_given_up: bool = False


def exit_code(ending: Ending) -> int:
    """Rank what happened: bug, signal with items left, failure, stop, items left, items failed."""
    if ending.met_bug:
        return _BUG
    if ending.signal is not None and ending.n_pending:
        return EXIT_BY_SIGNAL[ending.signal]
    if ending.failed is not None:
        return ending.failed.exit_code
    if ending.is_stopped:
        return _STOPPED
    if ending.is_given_up and ending.n_pending:
        return EXIT_LEFT
    return _SOME_FAILED if ending.n_failed or ending.n_pending else 0
