"""Where one item stands, as a line of `results.jsonl` tells it."""

from collections.abc import Container
from datetime import datetime, timedelta

from batchgen.clock import stamp
from batchgen.model import Attempt, Item, Result
from batchgen.store.history import Standing


def is_left(result: Result, run_ids: Container[str], limit: int | None) -> bool:
    """Whether runs with a limit left an item, which may need work, to another run."""
    return limit is not None and result.status != "done" and result.run_id not in run_ids


def result_of(item: Item, past: Standing | None) -> Result:
    """Where an item stands, as a line of `results.jsonl` tells it."""
    if past is None:
        return Result(id=item.id, key=item.key, status="pending", model=item.model, tags=item.tags)
    last = past.last
    return Result(
        id=item.id,
        key=item.key,
        status=past.status,
        images=last.images,
        text=last.text,
        model=last.model,
        attempts=past.n_attempts,
        outcome=last.outcome,
        error=last.error,
        tokens=past.tokens,
        cost_usd=past.cost_usd,
        tags=item.tags,
        run_id=last.run_id,
        finished_at=_ended_at(last),
    )


def _ended_at(attempt: Attempt) -> str:
    """When an attempt's answer was there: the ledger's `at` is when the request left."""
    left_at = datetime.fromisoformat(attempt.at)
    return stamp(left_at + timedelta(seconds=attempt.latency_s or 0.0))
