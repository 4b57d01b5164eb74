"""What a run tells while it goes on, for a progress bar, a log or a program."""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

from batchgen.model import Attempt, Result


@dataclass(frozen=True, kw_only=True, slots=True)
class RunBegan:
    """The job has been read and planned; requests may leave from now on.

    Attributes:
        n_items: Items of the job; `n_reused` of them are done already, `n_settled` failed for
            good in an earlier run.
        concurrency: The most calls that may be under way at once.
        planned_usd: The estimate for what is left; None if some price is unknown.
    """

    run_id: str
    job: str
    directory: Path
    provider: str
    n_items: int
    n_reused: int
    n_settled: int
    concurrency: int
    planned_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that a person should know and that stops nothing.

    Attributes:
        is_error: What somebody had asked for beside the pictures was not done.
    """

    message: str
    is_error: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptBegan:
    """A request leaves, and its `sent` line is in the ledger: from now on it may be billed.

    Attributes:
        key: What is asked for; of a conversation, up to this turn.
        turn, attempt: As in the ledger, both from 1.
        est_usd: What it should cost; None if the price is unknown.
    """

    item: str
    key: str
    turn: int
    attempt: int
    model: str
    est_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """A call has ended and its line is in the ledger."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class ItemEnded:
    """An item needs nothing more in this run."""

    result: Result


@dataclass(frozen=True, slots=True)
class Stopping:
    """No new attempts; those under way, `n_in_flight` of them, may finish."""

    reason: str
    n_in_flight: int


@dataclass(frozen=True, slots=True)
class Cooling:
    """Nothing leaves to a model for so many seconds: `after a 429`, or `for limits.tpm`."""

    model: str
    for_s: float
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticked:
    """A second has gone by.

    Attributes:
        n_in_flight: Calls under way, of `limit` that may be by now.
        n_retrying: Items that wait for their next attempt.
        cooling: The models to which nothing leaves for a while.
    """

    n_in_flight: int = 0
    limit: int = 0
    n_retrying: int = 0
    cooling: tuple[Cooling, ...] = ()


Event: TypeAlias = RunBegan | Warned | AttemptBegan | AttemptEnded | ItemEnded | Stopping | Ticked
