"""What a run is going to do, and what that should take: one pass over the plan."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from batchgen.cost import kind_and_input
from batchgen.forecast.figures import Figures, figure
from batchgen.forecast.turns import Grounds, Turns
from batchgen.model import Item, Kind, Outcome
from batchgen.plan import Settled, Skip, Step, Todo, Twin
from batchgen.store.history import History, Name, turn_names


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
            return Decimal("0.000000")
        return None if self.figures.cost_usd is None else self.figures.cost_usd.expected


@dataclass(slots=True)
class Work:
    """The turns to make, by kind; and of items that build on others, which wait for which.

    Attributes:
        parents: The ids of items that others build on, by the names that references use.
    """

    parents: Mapping[str, str] = field(default_factory=dict)
    items_by_model: Counter[str] = field(default_factory=Counter)
    _turns: dict[tuple[str, Kind], Turns] = field(default_factory=dict)
    _longest: int = 0
    _lengths: dict[str, int] = field(default_factory=dict)
    _waits: dict[str, list[str]] = field(default_factory=dict)
    _awaited: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self._awaited = frozenset(self.parents.values())

    def add_whole(self, item: Item) -> None:
        """Add an item of which nothing was ever done."""
        self.add(item, range(1, 1 + (len(item.turns) or 1)))

    def add(self, item: Item, numbers: Sequence[int]) -> None:
        """Add an item, and of its turns those with these numbers."""
        self.items_by_model[item.model] += 1
        for number in numbers:
            kind, n_text, n_image = kind_and_input(item, turn=number)
            turns = self._turns.get((item.model, kind))
            if turns is None:
                turns = self._turns[item.model, kind] = Turns(item.model, kind)
            turns.n += 1
            turns.text_tokens += n_text
            turns.image_tokens += n_image
        self._longest = max(self._longest, len(numbers))
        if parents := self.parents:
            names = (ref.item for ref in item.all_references if ref.item is not None)
            waits = [parents.get(name, name) for name in names]
            if waits or item.id in self._awaited:
                self._lengths[item.id], self._waits[item.id] = len(numbers), waits

    def told(self, grounds: Grounds) -> Forecast:
        """The forecast of a run that makes just this."""
        return Forecast(
            todo_by_model=self.items_by_model,
            figures=figure(self._turns.values(), grounds, self._longest_chain()),
            is_idle=not self.items_by_model,
        )

    def _longest_chain(self) -> int:
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


def forecast(
    steps: Iterable[Step],
    history: History,
    grounds: Grounds,
    *,
    limit: int | None = None,
    is_anew: bool = False,
    foregone: Collection[Name] = frozenset(),
    n_in_place: int = 0,
) -> Forecast:
    """Look through a plan, keeping nothing of it but what builds on each other.

    Args:
        steps: The plan.
        history: What earlier runs did.
        grounds: What tells of tokens, money and time.
        limit: No more items than these are made.
        is_anew: What is done is made again.
        foregone: Turns that need not be made, though the history does not say so yet.
        n_in_place: Items that are done and not among the steps.
    """
    told, work = Forecast(n_reused=n_in_place), Work(grounds.parents)
    n_todo = 0
    for step in steps:
        told.is_idle = told.is_idle and isinstance(step, Settled)
        match step:
            case Settled(_, last):
                told.n_reused += last.outcome is Outcome.IMAGE
                told.n_settled += last.outcome is not Outcome.IMAGE
            case Skip():
                told.n_settled += 1
            case Todo(item) if limit is None or n_todo < limit:
                n_todo += 1
                work.add(item, list(_turns_to_make(item, history, foregone, is_anew=is_anew)))
            case Twin(item) if limit is None or n_todo < limit:
                n_todo += 1
                work.items_by_model[item.model] += 1  # and costs nothing
            case Todo() | Twin():
                pass  # for another run
    made = work.told(grounds)
    told.todo_by_model, told.figures = made.todo_by_model, made.figures
    return told


def _turns_to_make(
    item: Item, history: History, foregone: Collection[Name], *, is_anew: bool
) -> Iterator[int]:
    """The turns of an item that are not done, by number."""
    names = list(turn_names(item))
    for number, name in enumerate(names, 1):
        made = history.past(name)
        is_done = name in foregone or (made is not None and made.last.decision == "done")
        if not is_done or is_anew or number == len(names):
            yield number
