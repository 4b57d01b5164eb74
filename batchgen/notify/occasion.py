"""What has changed since the run before, and whether it is worth a message. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from msgspec import UNSET

from batchgen.ending import EXIT_SOME_FAILED
from batchgen.hook import On
from batchgen.report.summary import Summary
from batchgen.wording import bill, counted, usd

_OFF_THE_PLAN: Final = Decimal("0.2")
_FINISHED: Final = "finished"
_MAX_NAMED: Final = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a run ended.

    Attributes:
        job: Its name.
        job_file: Where it lies; empty if that is not known.
        exit_code: As in the README.
        summary: Its figures; None if it ended before anything was sent.
        before: Those of the run before, if there are any.
        error: Why nothing was sent, in words.
        place: The job's directory, or its address, as far as it is known.
        has_begun: Requests may have left.
    """

    job: str
    exit_code: int
    job_file: str = ""
    summary: Summary | None = None
    before: Summary | None = None
    error: str | None = None
    place: str | None = None
    has_begun: bool = False

    @property
    def is_stopped(self) -> bool:
        """Whether it did not come to its end, or to no beginning."""
        if self.summary is None:
            return self.exit_code != 0
        return self.exit_code not in {0, EXIT_SOME_FAILED} or has_stopped(self.summary)


def has_stopped(summary: Summary) -> bool:
    """Whether a run stopped before its end."""
    return summary.stop_reason not in {None, _FINISHED} or bool(summary.items.pending)


def is_worth_telling(on: On, ended: Ended) -> bool:
    """Whether somebody who asked to be told then is told of this."""
    match on:
        case "always":
            return True
        case "failure":
            return ended.exit_code != 0
        case "change":
            return any(True for _ in changes(ended))


def changes(ended: Ended) -> Iterator[str]:
    """What has changed, a line each; nothing if the run was like the one before.

    That is a stop, and that it goes again after one; items that fail now and did not, and that do
    not any more; what will go wrong later, when that is first seen; and a cost off the plan by more
    than a fifth.
    """
    summary = ended.summary
    if ended.is_stopped:
        reason = ended.error if summary is None else summary.stop_reason
        yield f"stopped (exit code {ended.exit_code}): {reason or 'for no known reason'}"
    elif ended.before is not None and has_stopped(ended.before):
        yield "it goes again: the run before had stopped"
    if summary is None:
        return
    yield from _failures(summary)
    known = UNSET if ended.before is None else ended.before.ahead
    for warning in summary.ahead or ():
        if warning not in (known or ()):
            yield f"ahead: {warning}"
    if (off := _off_the_plan(summary)) is not None:
        yield off


def _failures(summary: Summary) -> Iterator[str]:
    diff = summary.diff
    if diff is None:
        if n_failed := summary.items.failed:
            yield f"{counted(n_failed, 'new failure')}"
        return
    told = (
        (diff.new_failures, diff.count("new_failures"), "new failure", None),
        (diff.fixed, diff.count("fixed"), "item fixed", "items fixed"),
    )
    for ids, n_all, what, plural in told:
        if ids:
            yield f"{counted(n_all, what, plural)}: {_named(ids, n_all)}"


def _named(ids: list[str], n_all: int) -> str:
    """The first of some items, and how many more there are."""
    shown = ids[:_MAX_NAMED]
    n_more = n_all - len(shown)
    return ", ".join(shown) + (f" and {n_more:,} more" if n_more > 0 else "")


def _off_the_plan(summary: Summary) -> str | None:
    """That the cost is off the plan.

    Less than was planned is no news where something was left or failed: what was not made costs
    nothing, and an item that is refused every night would be told of every night.
    """
    planned_usd, cost_usd = summary.planned_usd, summary.cost_usd
    if planned_usd is UNSET or not planned_usd or cost_usd is None:
        return None
    off = cost_usd / planned_usd - 1
    items = summary.items
    is_whole = not (items.pending or items.failed or items.skipped)
    if off > _OFF_THE_PLAN or (is_whole and off < -_OFF_THE_PLAN):
        told = bill(cost_usd, summary.cost_unknown_attempts)
        return f"cost off the plan: {told} of {usd(planned_usd)} planned ({off * 100:+.0f} %)"
    return None
