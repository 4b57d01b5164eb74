"""What a run is going to do, and what that should cost: one pass over the plan."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from batchgen.cost import PriceBook, estimate_item
from batchgen.model import Item, Outcome
from batchgen.plan import Settled, Skip, Step, Todo, Twin
from batchgen.store.history import History, turn_names


@dataclass(slots=True)
class Forecast:
    """Counts over the steps of a plan.

    Attributes:
        n_reused: Items that are done already.
        n_settled: Items that failed for good before, or build on one that did.
        todo_by_model: Items that are to be made.
        planned_usd: What those should cost; None if some price is unknown.
        is_idle: There is nothing to do for any item, not even to say that it is skipped.
    """

    n_reused: int = 0
    n_settled: int = 0
    todo_by_model: Counter[str] = field(default_factory=Counter)
    planned_usd: Decimal | None = Decimal(0)
    is_idle: bool = True

    @property
    def n_todo(self) -> int:
        """How many items are to be made."""
        return self.todo_by_model.total()


def forecast(
    steps: Iterable[Step],
    history: History,
    book: PriceBook,
    *,
    at: str,
    limit: int | None = None,
    is_anew: bool = False,
) -> Forecast:
    """Look through a plan, keeping nothing of it.

    Args:
        steps: The plan.
        history: What earlier runs did.
        book: The prices.
        at: The moment whose prices count.
        limit: No more items than these are made.
        is_anew: What is done is made again.
    """
    told = Forecast()
    for step in steps:
        told.is_idle = told.is_idle and isinstance(step, Settled)
        match step:
            case Settled(_, last):
                told.n_reused += last.outcome is Outcome.IMAGE
                told.n_settled += last.outcome is not Outcome.IMAGE
            case Skip():
                told.n_settled += 1
            case Todo(item) if limit is None or told.n_todo < limit:
                told.todo_by_model[item.model] += 1
                usd = _expected_usd(item, history, book, at=at, is_anew=is_anew)
                if told.planned_usd is not None:
                    told.planned_usd = None if usd is None else told.planned_usd + usd
            case Twin(item) if limit is None or told.n_todo < limit:
                told.todo_by_model[item.model] += 1  # and costs nothing
            case Todo() | Twin():
                pass  # for another run
    return told


def _expected_usd(
    item: Item, history: History, book: PriceBook, *, at: str, is_anew: bool
) -> Decimal | None:
    """What the turns of an item that are not done should cost; None if a price is unknown."""
    past = [history.past(name) for name in turn_names(item)]
    todo = [
        turn
        for turn, made in enumerate(past, 1)
        if made is None or made.last.decision != "done" or is_anew or turn == len(past)
    ]
    calls = [estimate_item(book, item, at=at, turn=turn) for turn in todo]
    known = [usd for usd in calls if usd is not None]
    return sum(known, Decimal(0)) if len(known) == len(calls) else None
