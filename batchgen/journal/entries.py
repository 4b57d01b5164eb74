"""What a log says of each event: an entry, whose fields are stable. Pure.

The fields of each are listed in docs/log.md. Money stays a Decimal here, and a text what it was;
`lines` writes both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

from batchgen._version import __version__
from batchgen.events import AttemptBegan, RunBegan, Stopping
from batchgen.model import Attempt, Failure, Outcome, Result
from batchgen.tally import Tally

Level: TypeAlias = Literal["info", "warning", "error"]

_MARK: Final = "warning: "
# Some items failed, something is left for a later run, or somebody asked it to stop.
_MILD_CODES: Final = frozenset({4, 5, 8, 10, 130, 143})


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that a log says; `level` is what a filter goes by."""

    event: str
    fields: Mapping[str, Any]
    level: Level = "info"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEnded:
    """What a run came to.

    Attributes:
        items: How many there are (`total`), and how many of each status.
        n_attempts, by_outcome: Calls, and the same by what they came to.
        cost_usd: What is known of the bill; `n_unknown` calls of unknown cost come on top of it.
        maybe_usd: What may have been billed besides.
    """

    exit_code: int
    stop_reason: str | None
    items: Mapping[str, int]
    n_attempts: int
    by_outcome: Mapping[str, int]
    images: int
    cost_usd: Decimal | None
    maybe_usd: Decimal | None
    n_unknown: int
    planned_usd: Decimal | None
    wall_s: float | None


def run_began(event: RunBegan) -> Entry:
    """The plan is made, and requests may leave."""
    return Entry(
        "run_began",
        {
            "version": __version__,
            "directory": str(event.directory),
            "provider": event.provider,
            "n_items": event.n_items,
            "n_reused": event.n_reused,
            "n_settled": event.n_settled,
            "concurrency": event.concurrency,
            "planned_usd": event.planned_usd,
        },
    )


def sent(event: AttemptBegan) -> Entry:
    """A request leaves."""
    return Entry(
        "sent",
        {
            "item": event.item,
            "key": event.key,
            "turn": event.turn,
            "attempt": event.attempt,
            "model": event.model,
            "est_usd": event.est_usd,
        },
    )


def attempt(line: Attempt) -> Entry:
    """A call has ended."""
    return Entry(
        "attempt",
        {
            "item": line.item,
            "key": line.key,
            "turn": line.turn,
            "attempt": line.attempt,
            "model": line.model,
            "outcome": line.outcome.value,
            "decision": line.decision,
            "billed": line.billed,
            "cost_usd": line.cost_usd,
            "latency_s": line.latency_s,
            "http_status": line.http_status,
            "request_id": line.request_id,
            "error": _failure(line.error),
            "sent_run_id": line.run_id,
        },
        "error" if line.outcome is Outcome.BUG else "info",
    )


def item(result: Result, latency_s: float | None) -> Entry:
    """An item needs nothing more in this run; `latency_s` is that of its last call in it."""
    final = next((image.path for image in result.images if image.role == "final"), None)
    return Entry(
        "item",
        {
            "item": result.id,
            "key": result.key,
            "status": result.status,
            "outcome": None if result.outcome is None else result.outcome.value,
            "model": result.model,
            "attempts": result.attempts,
            "cost_usd": result.cost_usd,
            "latency_s": latency_s,
            "image": final,
            "error": _failure(result.error),
        },
        "warning" if result.status in {"failed", "skipped"} else "info",
    )


def cooling_begins(model: str, until: datetime, why: str) -> Entry:
    """Nothing leaves to a model until then."""
    return Entry("cooling", {"model": model, "state": "begin", "until": until, "why": why})


def cooling_ends(model: str) -> Entry:
    """Requests may leave to it again."""
    return Entry("cooling", {"model": model, "state": "end", "until": None, "why": None})


def stopping(event: Stopping) -> Entry:
    """No new attempts."""
    fields = {"reason": event.reason, "n_in_flight": event.n_in_flight}
    return Entry("stopping", fields, "warning")


def warning(message: str) -> Entry:
    """Something that stops nothing."""
    return Entry("warning", {"message": message.removeprefix(_MARK)}, "warning")


def progress(tally: Tally) -> Entry:
    """Where the run stands."""
    now = tally.now
    return Entry(
        "progress",
        {
            "n_items": tally.n_total,
            "n_done": tally.n_done,
            "n_failed": tally.n_failed,
            "cost_usd": tally.cost_usd,
            "cost_unknown_attempts": tally.n_unknown,
            "n_in_flight": now.n_in_flight,
            "limit": now.limit,
            "n_retrying": now.n_retrying,
            "ends_per_min": _rounded(tally.per_min),
            "eta_s": _rounded(tally.eta_s),
        },
    )


def run_ended(end: RunEnded) -> Entry:
    """The run has ended, and its summary is written."""
    return Entry(
        "run_ended",
        {
            "exit_code": end.exit_code,
            "stop_reason": end.stop_reason,
            "items": dict(end.items),
            "attempts": {"total": end.n_attempts, "by_outcome": dict(end.by_outcome)},
            "images": end.images,
            "cost_usd": end.cost_usd,
            "cost_maybe_usd": end.maybe_usd,
            "cost_unknown_attempts": end.n_unknown,
            "planned_usd": end.planned_usd,
            "wall_s": end.wall_s,
        },
        _level_of(end.exit_code),
    )


def error(kind: str, message: str, exit_code: int) -> Entry:
    """There was no run, or it broke off, and this is why."""
    fields = {"kind": kind, "message": message, "exit_code": exit_code}
    return Entry("error", fields, "error")


def _level_of(exit_code: int) -> Level:
    if not exit_code:
        return "info"
    return "warning" if exit_code in _MILD_CODES else "error"


def _failure(failure: Failure | None) -> dict[str, str] | None:
    return None if failure is None else {"kind": failure.kind, "message": failure.message}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
