"""What a run is going to do, and what that should take: one pass over the plan."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from batchgen.cost import kind_and_input
from batchgen.forecast.figures import Figures, figure
from batchgen.forecast.turns import Grounds, Turns
from batchgen.model import Item, Kind, Outcome
from batchgen.plan import Settled, Skip, Step, Todo, Twin
from batchgen.store.history import History, turn_names


@dataclass(slots=True)
class Forecast:
    """Counts over the steps of a plan.

    Attributes:
        n_reused: Items that are done already.
        n_settled: Items that failed for good before, or build on one that did.
        todo_by_model: Items that are to be made.
        figures: What those take; None if there are none that anything is sent for.
        is_idle: There is nothing to do for any item, not even to say that it is skipped.
    """

    n_reused: int = 0
    n_settled: int = 0
    todo_by_model: Counter[str] = field(default_factory=Counter)
    figures: Figures | None = None
    is_idle: bool = True

    @property
    def n_todo(self) -> int:
        """How many items are to be made."""
        return self.todo_by_model.total()

    @property
    def planned_usd(self) -> Decimal | None:
        """What those are expected to cost; None if some price is unknown."""
        if self.figures is None:
            return Decimal(0)
        return None if self.figures.cost_usd is None else self.figures.cost_usd.expected


def forecast(
    steps: Iterable[Step],
    history: History,
    grounds: Grounds,
    *,
    limit: int | None = None,
    is_anew: bool = False,
) -> Forecast:
    """Look through a plan, keeping nothing of it but what builds on each other.

    Args:
        steps: The plan.
        history: What earlier runs did.
        grounds: What tells of tokens, money and time.
        limit: No more items than these are made.
        is_anew: What is done is made again.
    """
    told, work = Forecast(), _Work(grounds)
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
                work.add(item, list(_turns_to_make(item, history, is_anew=is_anew)))
            case Twin(item) if limit is None or told.n_todo < limit:
                told.todo_by_model[item.model] += 1  # and costs nothing
            case Todo() | Twin():
                pass  # for another run
    told.figures = figure(work.turns.values(), grounds, work.longest_chain())
    return told


@dataclass(slots=True)
class _Work:
    """The turns to make, by kind; and of items that build on others, which wait for which."""

    grounds: Grounds
    turns: dict[tuple[str, Kind], Turns] = field(default_factory=dict)
    _longest: int = 0
    _lengths: dict[str, int] = field(default_factory=dict)
    _waits: dict[str, list[str]] = field(default_factory=dict)
    _awaited: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self._awaited = frozenset(self.grounds.parents.values())

    def add(self, item: Item, numbers: list[int]) -> None:
        """Add the turns of an item."""
        for number in numbers:
            kind, n_text, n_image = kind_and_input(item, turn=number)
            turns = self.turns.get((item.model, kind))
            if turns is None:
                turns = self.turns[item.model, kind] = Turns(item.model, kind)
            turns.n += 1
            turns.text_tokens += n_text
            turns.image_tokens += n_image
        parents = self.grounds.parents
        names = (ref.item for ref in item.all_references if ref.item is not None) if parents else ()
        waits = [parents.get(name, name) for name in names]
        if waits or item.id in self._awaited:
            self._lengths[item.id], self._waits[item.id] = len(numbers), waits
        self._longest = max(self._longest, len(numbers))

    def longest_chain(self) -> int:
        """How many turns at least come one after the other. Deep chains need no recursion."""
        ends: dict[str, int] = {}
        for first in self._lengths:
            stack = [first]
            while stack:
                name = stack[-1]
                waits = [one for one in self._waits[name] if one in self._lengths]
                missing = [one for one in waits if one not in ends]
                if missing and name not in ends:
                    stack.extend(missing)
                    continue
                stack.pop()
                ends[name] = self._lengths[name] + max((ends[one] for one in waits), default=0)
        return max([self._longest, *ends.values()])


def _turns_to_make(item: Item, history: History, *, is_anew: bool) -> Iterator[int]:
    """The turns of an item that are not done, by number."""
    past = [history.past(name) for name in turn_names(item)]
    for number, made in enumerate(past, 1):
        is_done = made is not None and made.last.decision == "done"
        if not is_done or is_anew or number == len(past):
            yield number
