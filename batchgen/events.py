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
    """Something that a person should know and that stops nothing."""

    message: str


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
class Ticked:
    """A second has gone by with `n_in_flight` calls under way."""

    n_in_flight: int


Event: TypeAlias = RunBegan | Warned | AttemptEnded | ItemEnded | Stopping | Ticked
