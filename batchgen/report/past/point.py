"""What one run came to, in the few figures by which runs are compared."""

from decimal import Decimal
from typing import Literal, TypeAlias, TypeVar

import msgspec

from batchgen.report.summary import Latency, Summary

State: TypeAlias = Literal["ended", "running", "unfinished"]
ValueT = TypeVar("ValueT")


class RunItems(msgspec.Struct, frozen=True, kw_only=True):
    """Items by where they stood when the run was over; None where nobody knows.

    `reused` is part of `done`. Of a run without a summary, `failed` are those that failed in it.
    """

    total: int | None = None
    done: int | None = None
    reused: int | None = None
    failed: int | None = None
    skipped: int | None = None
    pending: int | None = None


class CallCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many calls there were."""

    total: int | None = None


class RunPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One run among others; its JSON form is one of `runs` of `report --history --json`.

    The names are those of `summary.json`. None stands for what nobody knows.

    Attributes:
        state: Whether it has ended, is going on, or was cut off: killed, most likely.
        images: Pictures that were made in it.
        n_new_failures, n_fixed, n_still_failing: Items, against the run before; None for the first.
    """

    run_id: str
    started_at: str
    finished_at: str | None = None
    wall_s: float | None = None
    state: State = "unfinished"
    stop_reason: str | None = None
    exit_code: int | None = None
    items: RunItems = RunItems()
    attempts: CallCount = CallCount()
    images: int | None = None
    cost_usd: Decimal | None = None
    cost_waste_usd: Decimal | None = None
    cost_maybe_usd: Decimal | None = None
    cost_unknown_attempts: int | None = None
    planned_usd: Decimal | None = None
    latency_s: Latency = Latency()
    n_new_failures: int | None = None
    n_fixed: int | None = None
    n_still_failing: int | None = None

    @property
    def n_made(self) -> int:
        """How many items have a picture of this run: as far as the ledger tells, one each."""
        if self.items.done is None:
            return self.images or 0
        return self.items.done - (self.items.reused or 0)


def point_of(summary: Summary) -> RunPoint:
    """The point of a run whose summary is at hand."""
    items, diff = summary.items, summary.diff
    return RunPoint(
        run_id=summary.run_id,
        started_at=summary.started_at,
        finished_at=summary.finished_at,
        wall_s=summary.wall_s,
        state="unfinished" if summary.exit_code is None else "ended",
        stop_reason=summary.stop_reason,
        exit_code=summary.exit_code,
        items=RunItems(
            total=items.total,
            done=items.done,
            reused=items.reused,
            failed=items.failed,
            skipped=items.skipped,
            pending=items.pending,
        ),
        attempts=CallCount(total=summary.attempts.total),
        images=summary.images,
        cost_usd=summary.cost_usd,
        cost_waste_usd=summary.cost_waste_usd,
        cost_maybe_usd=summary.cost_maybe_usd,
        cost_unknown_attempts=summary.cost_unknown_attempts,
        planned_usd=known(summary.planned_usd),
        latency_s=summary.latency_s,
        n_new_failures=None if diff is None else diff.count("new_failures"),
        n_fixed=None if diff is None else diff.count("fixed"),
        n_still_failing=None if diff is None else diff.count("still_failing"),
    )


def known(value: ValueT | msgspec.UnsetType) -> ValueT | None:
    """A value; None where there is none."""
    return None if isinstance(value, msgspec.UnsetType) else value
