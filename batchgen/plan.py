"""What to do for each item of a job, given what earlier runs did. Pure but for one `stat`."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from batchgen.model import Attempt, Item, Outcome
from batchgen.store.ledger import ItemHistory

# The same request would meet the same answer: sent again only when asked to.
SETTLED_FAILURES = frozenset({Outcome.BLOCKED, Outcome.BAD_REQUEST, Outcome.WRONG_SIZE})


@dataclass(frozen=True, kw_only=True, slots=True)
class Redo:
    """What to send besides what is not done.

    Attributes:
        failed: Failed items of every kind (None: only those worth another try), or only those
            whose last outcome is among these.
        done: Done items as well.
    """

    failed: frozenset[Outcome] | None = None
    done: bool = False


Reason: TypeAlias = Literal["new", "pending", "failed", "file_missing", "forced"]


@dataclass(frozen=True, slots=True)
class Todo:
    """An item to send, and why."""

    item: Item
    reason: Reason


@dataclass(frozen=True, slots=True)
class Settled:
    """An item that needs nothing now: done earlier, or failed for good."""

    item: Item
    last: Attempt


Step: TypeAlias = Todo | Settled


def plan(
    items: Iterable[Item],
    history: Mapping[tuple[str, str], ItemHistory],
    root: Path,
    redo: Redo,
) -> Iterator[Step]:
    """Decide item by item, lazily and in order.

    Args:
        items: The expanded job, with content keys.
        history: What earlier runs did, by id and key.
        root: The job's directory, where the pictures are.
        redo: What to send besides what is not done.
    """
    for item in items:
        yield _step(item, history.get((item.id, item.key)), root, redo)


def _step(item: Item, past: ItemHistory | None, root: Path, redo: Redo) -> Step:
    if past is None:
        return Todo(item, "new")
    match past.status:
        case "done" if redo.done:
            return Todo(item, "forced")
        case "done":
            return (
                Settled(item, past.last)
                if _has_files(past.last, root)
                else Todo(item, "file_missing")
            )
        case "failed" | "skipped":
            return Todo(item, "failed") if _again(past.last, redo) else Settled(item, past.last)
        case "pending":
            return Todo(item, "pending")


def _again(last: Attempt, redo: Redo) -> bool:
    if redo.done:
        return True
    if redo.failed is None:
        return last.outcome not in SETTLED_FAILURES
    return not redo.failed or last.outcome in redo.failed


def _has_files(last: Attempt, root: Path) -> bool:
    """Whether every picture is there in its recorded size."""
    for image in last.images:
        try:
            if (root / image.path).stat().st_size != image.bytes:
                return False
        except OSError:
            return False
    return True
