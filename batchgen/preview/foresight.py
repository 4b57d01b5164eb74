"""What becomes of each item of a plan, counted.

    Agenda ──step──> fate: why it is made, or why not ──> Group ──> those to make

What has changed of an item is told beside its fate; and whoever makes way for it is told of it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import msgspec

from batchgen.model import Item, Outcome, Result
from batchgen.plan import Agenda, Reason, Settled, Skip, Step, Todo, Twin
from batchgen.preview.changes import Changes
from batchgen.preview.orphans import Orphans
from batchgen.search import Filing
from batchgen.store.history import History, Name, turn_names
from batchgen.store.layout import Layout
from batchgen.store.receipts import load_receipt

MAX_NAMED: Final = 10

# What becomes of an item: why something is sent for it, or why nothing is.
Fate: TypeAlias = (
    Reason
    | Literal[
        "changed",
        "unfetched",
        "received",
        "done",
        "filed",
        "shared",
        "settled",
        "skipped",
        "beyond_limit",
    ]
)
TO_MAKE: Final[tuple[Fate, ...]] = (
    *("new", "changed", "pending", "failed", "file_missing", "forced", "marked", "unfetched"),
    "waiting",
)
LEFT_ALONE: Final[tuple[Fate, ...]] = (
    *("done", "filed", "shared", "received", "settled", "skipped", "beyond_limit"),
)
# What may be told of with what has changed of it since the last run.
_COMPARED: Final[tuple[Fate, ...]] = ("new", "pending", "failed", "unfetched", "waiting")
# Of these, nothing may have been done yet for what they ask now, but for early turns of a talk.
_MAY_BE_CHANGED: Final[tuple[Fate, ...]] = ("new", "pending", "failed")
# What leaves the place of a picture as it is.
_UNTOUCHED: Final[tuple[Fate, ...]] = ("done", "settled", "skipped", "beyond_limit")


class Group(msgspec.Struct, kw_only=True):
    """So many items, the ids of the first of them, and what of those has changed, if anything."""

    count: int = 0
    ids: list[str] = []
    changes: dict[str, list[str]] | msgspec.UnsetType = msgspec.UNSET

    def add(self, item_id: str, changes: list[str] | None = None) -> None:
        """Count one more."""
        self.count += 1
        if len(self.ids) < MAX_NAMED:
            self.ids.append(item_id)
            if changes:
                told = {} if isinstance(self.changes, msgspec.UnsetType) else self.changes
                self.changes = {**told, item_id: changes}

    @classmethod
    def of(cls, ids: Iterable[str]) -> "Group":
        """A group of these."""
        group = cls()
        for item_id in ids:
            group.add(item_id)
        return group


@dataclass(frozen=True, slots=True)
class Left:
    """What earlier runs did not live to write down.

    Attributes:
        received: What was answered, wholly, to a run that was killed before it could say so.
        interrupted: What left and was not answered, to this day.
    """

    received: frozenset[Name]
    interrupted: frozenset[Name]

    @classmethod
    def behind(cls, history: History, layout: Layout) -> "Left":
        """Look for the answers to requests without an outcome."""
        left = history.unfinished.values()
        whole = {sent.call for sent in left if load_receipt(layout.parts, sent) is not None}
        names = {sent.call: (sent.item, sent.key) for sent in left}
        received = frozenset(names[call] for call in whole)
        return cls(received, frozenset(names.values()) - received)


@dataclass(slots=True)
class Foresight:
    """What becomes of the items of a plan, as far as it can be told before anything is done.

    Attributes:
        history: What earlier runs did.
        left: What earlier runs did not live to write down.
        limit: No more items than these are made.
        is_anew: What is done is made again.
        filings: Pictures that are there for items that look as if they had none.
        changes: Tells what has changed since the last run.
        orphans: Told of what is going to be made.
    """

    history: History
    left: Left
    limit: int | None
    is_anew: bool
    filings: Mapping[Name, Filing]
    changes: Changes
    orphans: Orphans
    groups: dict[Fate, Group] = field(default_factory=dict)
    _n_to_make: int = 0

    def to_make(self, agenda: Agenda) -> Iterator[Todo]:
        """Count each step of a plan, and pass on those for which something would be sent."""
        for step in agenda.foreseen():
            fate, words = self._told(step)
            self.groups.setdefault(fate, Group()).add(step.item.id, words)
            if fate not in _UNTOUCHED:
                self.orphans.make_way(step.item)
            if fate in {"filed", "shared"} and (step.item.id, step.item.key) in self.filings:
                agenda.ended(self._filed(step.item))  # what builds on it can be told of
            if isinstance(step, Todo) and fate in TO_MAKE:
                self._n_to_make += 1
                yield step

    def named(self, fates: Iterable[Fate]) -> dict[Fate, Group]:
        """Those of these groups that there are."""
        return {fate: self.groups[fate] for fate in fates if fate in self.groups}

    def _told(self, step: Step) -> tuple[Fate, list[str]]:
        """What becomes of an item, and what of it has changed."""
        fate, item = self._fate(step), step.item
        words = self.changes.words(item) if fate in _COMPARED else []
        if words and fate in _MAY_BE_CHANGED and not self.history.has((item.id, item.key)):
            fate = "changed"
        return fate, words

    def _filed(self, item: Item) -> Result:
        """An item as it will stand when the picture that is there for it is its own."""
        past = self.history.past(self.filings[item.id, item.key].source)
        images = () if past is None or past.made is None else past.made.images
        return Result(id=item.id, key=item.key, status="done", images=images, model=item.model)

    def _fate(self, step: Step) -> Fate:
        match step:
            case Settled(_, last):
                if last.decision == "skipped":
                    return "skipped"
                return "done" if last.outcome is Outcome.IMAGE else "settled"
            case Skip():
                return "skipped"
            case Twin():
                return "beyond_limit" if self._is_at_limit else "shared"
            case Todo(item) if (item.id, item.key) in self.filings:
                return "filed"
            case Todo():
                return self._why(step)

    @property
    def _is_at_limit(self) -> bool:
        return self.limit is not None and self._n_to_make >= self.limit

    def _why(self, todo: Todo) -> Fate:
        """Why something is sent for an item, unless it need not be, or is left for another run."""
        is_received = (todo.item.id, todo.item.key) in self.left.received
        match todo:
            case _ if is_received and not self.is_anew:
                return "received"
            case _ if self._is_at_limit:
                return "beyond_limit"
            case Todo(_, "waiting"):
                return "waiting"
            case Todo(item) if _is_unfetched(item):
                return "unfetched"
            case Todo(item, "new") if not self.left.interrupted.isdisjoint(turn_names(item)):
                return "pending"
            case Todo(_, "new") if is_received:
                return "forced"
            case Todo(_, reason):
                return reason


def _is_unfetched(item: Item) -> bool:
    """Whether what an item asks for depends on bytes that nobody has fetched yet."""
    return any(ref.url is not None and ref.sha256 is None for ref in item.all_references)
