"""What to do for each item of a job, given what earlier runs did. Pure but for `stat`."""

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, assert_never

from batchgen.dependencies import Barred, Dependencies, Freed, Lineage, Ready
from batchgen.errors import UsageError
from batchgen.model import Attempt, ImageFile, Item, Outcome, Result
from batchgen.store.broken import Broken
from batchgen.store.history import History, final_image
from batchgen.store.layout import EXTENSIONS, Layout
from batchgen.store.shelf import Here, Shelf

# The same request would meet the same answer: sent again only when asked to.
SETTLED_FAILURES = frozenset({Outcome.BLOCKED, Outcome.BAD_REQUEST, Outcome.WRONG_SIZE})


@dataclass(frozen=True, kw_only=True, slots=True)
class Redo:
    """What to send besides what is not done.

    Attributes:
        failed: Failed items of every kind (None: only those worth another try), or only those
            whose last outcome is among these.
        done: Done items as well.
        marked: Done items that have these pictures, by id and SHA-256.
    """

    failed: frozenset[Outcome] | None = None
    done: bool = False
    marked: Mapping[str, str] = field(default_factory=dict)

    def wants(self, item: Item, last: Attempt) -> bool:
        """Whether a done item is to be made again because its picture is marked."""
        picture = final_image(last.images)
        return picture is not None and self.marked.get(item.id) == picture.sha256


Reason: TypeAlias = Literal[
    "new", "pending", "failed", "file_missing", "forced", "marked", "waiting"
]


@dataclass(frozen=True, slots=True)
class Todo:
    """An item to send, and why. One that is `waiting` has to be decided on once more."""

    item: Item
    reason: Reason


@dataclass(frozen=True, slots=True)
class Settled:
    """An item that needs nothing: it is done, or it failed or was skipped for good.

    Attributes:
        is_found: It is so by what this run made, and no plan could tell.
    """

    item: Item
    last: Attempt
    is_found: bool = False


@dataclass(frozen=True, slots=True)
class Skip:
    """An item that builds on one that ended without a picture."""

    item: Item
    parent: str


@dataclass(frozen=True, slots=True)
class Twin:
    """An item that asks for the same as another one of this run, which is made for both.

    Attributes:
        leader: The id of the other one.
        is_made: Whether that has its picture; it failed, or has not ended, if not.
    """

    item: Item
    leader: str
    is_made: bool


Step: TypeAlias = Todo | Settled | Skip | Twin


class Agenda:
    """Decides item by item, lazily, in the job's order but each after those that it builds on.

    Whoever takes the steps tells of each end; what an end makes possible comes before the rest.

    Memory: nothing for an item that waits for no other.
    """

    def __init__(
        self,
        items: Iterable[tuple[Item, bool]],
        history: History,
        root: Path,
        redo: Redo,
        parents: Mapping[str, str] | None = None,
        *,
        twins: Container[int] = frozenset(),
        broken: Broken | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        """Set what there is to decide on; nothing is read yet.

        Args:
            items: The expanded job, with content keys, each with whether it is selected. There are
                no steps for what is not, but what is done of it can be built on.
            history: What earlier runs did, and what this one adds.
            root: The job's directory, where the pictures are.
            redo: What to send besides what is not done.
            parents: The ids of items that others build on, by the names that references use.
            twins: Hashes of the content keys that several items have. Those of items that build
                on others are not known before, and need not be among them.
            broken: The pictures that were found not to be what was made.
            shelf: Where the pictures are; in the directory itself unless it is told.
        """
        self._shelf = shelf or Here(root)
        self._items = iter(items)
        self._history = history
        self._root = root
        self._redo = redo
        self._broken = broken or Broken()
        self._lineage = Lineage(parents or {}, root)
        self._dependencies = Dependencies(self._lineage)
        self._ended_now: set[str] = set()
        self._unselected: set[str] = set()  # those on which others build
        self._twins = _Twins(twins)

    def next(self) -> Step | None:
        """Decide on the next item that waits for nothing; None if there is none now.

        There may be one again after the next end, also of an item that was skipped.
        """
        step = self._next_step()
        match step:
            case Settled(item, last, is_found):
                picture = final_image(last.images) if last.decision == "done" else None
                self._end(item.id, picture, is_now=is_found)
                self._twins.settled(item, is_made=picture is not None)
            case Skip(item):
                self._end(item.id, None, is_now=True)
            case Todo() | Twin() | None:
                pass  # its end is told
        return step

    def ended(self, result: Result) -> None:
        """Take notice of where an item stands now; one that is pending has not ended."""
        if result.status != "pending":
            picture = final_image(result.images) if result.status == "done" else None
            self._end(result.id, picture, is_now=True)
            self._twins.ended(result)

    def waiting(self) -> Iterator[tuple[Item, str]]:
        """The selected items that are still held back, each with one that it waits for."""
        for item, missing in self._dependencies.waiting():
            if item.id not in self._unselected:
                yield item, missing

    def foreseen(self) -> Iterator[Step]:
        """All steps as far as they can be told before anything is sent.

        Uses the agenda up; what waits for items to do comes last.
        """
        while (step := self.next()) is not None:
            yield step
        yield from self._twins.held()
        for item, _ in self.waiting():
            yield Todo(item, "waiting")

    def _next_step(self) -> Step | None:
        """A twin whose leader has ended, or the next item that is no twin."""
        while (twin := self._twins.next()) is None:
            freed = self._next_freed()
            if freed is None:
                return None
            step = self._step(freed)
            is_resolved = bool(self._lineage.parents(step.item))
            if not isinstance(step, Todo) or self._twins.leads(step.item, is_resolved=is_resolved):
                return step
        past = self._history.standing(twin.item)
        is_told = past is not None and past.status == "skipped"
        if past is not None and is_told and not twin.is_made and not self._twins.is_now(twin):
            return Settled(twin.item, past.last)
        return twin

    def _next_freed(self) -> Freed | None:
        """The next item that is selected and waits for nothing; None if there is none now."""
        while True:
            freed = self._dependencies.take()
            if freed is None:
                item, is_selected = next(self._items, (None, False))
                if item is None:
                    return None
                self._add(item, is_selected=is_selected)
            elif freed.item.id not in self._unselected:
                return freed
            elif isinstance(freed, Ready):
                self._pass_over(freed.item)

    def _add(self, item: Item, *, is_selected: bool) -> None:
        if not is_selected:
            if not self._lineage.is_parent(item.id):
                return
            self._unselected.add(item.id)
        self._dependencies.add(item)

    def _pass_over(self, item: Item) -> None:
        """Let others build on an item that is not selected, if it is done."""
        past = self._history.standing(item)
        if past is None or past.status != "done":
            return
        if self._has_files(past.last):
            self._end(item.id, final_image(past.last.images), is_now=False)

    def _has_files(self, last: Attempt) -> bool:
        """Whether the picture of an attempt is there and was not found to be another one."""
        final = final_image(last.images)
        if final is not None and self._broken.names(final, self._root):
            return False
        return self._history.has_files(last, self._shelf)

    def _end(self, item_id: str, picture: ImageFile | None, *, is_now: bool) -> None:
        if is_now and self._lineage.is_parent(item_id):
            self._ended_now.add(item_id)
        self._dependencies.ended(item_id, picture)

    def _step(self, freed: Freed) -> Step:
        item = freed.item
        is_found = not self._ended_now.isdisjoint(self._lineage.parents(item))
        match freed:
            case Ready():
                return self._ready(item, is_found=is_found)
            case Barred(_, parent):
                past = self._history.standing(item)
                if is_found or past is None or past.status != "skipped":
                    return Skip(item, parent)
                return Settled(item, past.last)
            case unknown:
                assert_never(unknown)

    def _ready(self, item: Item, *, is_found: bool) -> Todo | Settled:
        past = self._history.standing(item)
        if past is None:
            return Todo(item, "new")
        settled = Settled(item, past.last, is_found)
        match past.status:
            case "done" if self._redo.done:
                return Todo(item, "forced")
            case "done" if self._redo.wants(item, past.last):
                return Todo(item, "marked")
            case "done":
                return settled if self._has_files(past.last) else Todo(item, "file_missing")
            case "failed" | "skipped":
                return Todo(item, "failed") if _again(past.last, self._redo) else settled
            case "pending":
                return Todo(item, "pending")


@dataclass(slots=True)
class _Twins:
    """Holds items back while another one is made that asks for the same.

    Memory: for the items held back, and for each request that several items share.

    Attributes:
        shared: Hashes of the content keys that several items have.
    """

    shared: Container[int]
    _leaders: dict[str, str] = field(default_factory=dict)  # ids, by content key
    _are_made: dict[str, bool] = field(default_factory=dict)  # of leaders that have ended
    _ended_now: set[str] = field(default_factory=set)
    _held: dict[str, list[Item]] = field(default_factory=dict)  # by content key
    _free: deque[Twin] = field(default_factory=deque)

    def next(self) -> Twin | None:
        """A twin whose leader has ended."""
        return self._free.popleft() if self._free else None

    def leads(self, item: Item, *, is_resolved: bool) -> bool:
        """Whether an item is the first that asks for its picture; else it is held back."""
        if not is_resolved and hash(item.key) not in self.shared:
            return True
        leader = self._leaders.setdefault(item.key, item.id)
        if leader == item.id:
            return True
        if leader in self._are_made:
            self._free.append(Twin(item, leader, self._are_made[leader]))
        else:
            self._held.setdefault(item.key, []).append(item)
        return False

    def is_now(self, twin: Twin) -> bool:
        """Whether the leader of a twin has ended in this run."""
        return twin.leader in self._ended_now

    def settled(self, item: Item, *, is_made: bool) -> None:
        """An item needs nothing in this run; its twins will want to know."""
        if hash(item.key) in self.shared and item.key not in self._leaders:
            self._leaders[item.key] = item.id
            self._are_made[item.id] = is_made

    def ended(self, result: Result) -> None:
        """Free the twins of an item that has ended."""
        if self._leaders.get(result.key) == result.id:
            is_made = result.status == "done"
            self._are_made[result.id] = is_made
            self._ended_now.add(result.id)
            twins = self._held.pop(result.key, ())
            self._free.extend(Twin(item, result.id, is_made) for item in twins)

    def held(self) -> Iterator[Twin]:
        """The items that are still held back."""
        for key, items in self._held.items():
            for item in items:
                yield Twin(item, self._leaders[key], is_made=False)


def _again(last: Attempt, redo: Redo) -> bool:
    if redo.done:
        return True
    if redo.failed is None:
        return last.outcome not in SETTLED_FAILURES
    return not redo.failed or last.outcome in redo.failed


@dataclass(frozen=True, slots=True)
class Overwriting:
    """An item whose picture would take the place of another item's."""

    item_id: str
    path: str
    other_id: str


def find_overwriting(
    marked_items: Callable[[], Iterable[tuple[Item, bool]]],
    history: History,
    layout: Layout,
    redo: Redo,
    *,
    wanted: Container[str] = frozenset(),
    filed: Container[str] = frozenset(),
    vacated: Container[str | None] = frozenset(),
) -> Overwriting | None:
    """Find an item to make that would overwrite the picture of another item of the job.

    Names are distinct within a job; a picture that was filed under an earlier `output.name` may
    still be in the way.

    Args:
        marked_items: Gives the items of the job, each with whether it is selected; called twice if
            anything is in the way.
        history: What earlier runs did.
        layout: The job's directory.
        redo: What is made again though it is done.
        wanted: Ids of items that have no picture.
        filed: Ids of items that are about to get a picture that is there.
        vacated: Paths of pictures that are about to be moved.
    """
    in_the_way: dict[str, Overwriting] = {}
    for item, is_selected in marked_items():
        is_made = item.id in wanted or redo.done or item.id in redo.marked
        if not is_selected or not is_made or item.id in filed:
            continue
        for extension in EXTENSIONS:
            path = layout.image_name(item, extension)
            writer = None if path in vacated else history.owner(path)
            if writer is not None and writer != item.id:
                in_the_way.setdefault(writer, Overwriting(item.id, path, writer))
    if not in_the_way:
        return None
    stay = (item.id for item, is_selected in marked_items() if not (redo.done and is_selected))
    return next((in_the_way[item_id] for item_id in stay if item_id in in_the_way), None)


def refuse_to_overwrite(found: Overwriting | None) -> None:
    """See `find_overwriting`.

    Raises:
        UsageError: A picture would take the place of another item's.
    """
    if found is not None:
        raise UsageError(
            f"{found.path} is the picture of '{found.other_id}', and '{found.item_id}' would "
            "be written over it: change output.name or the id, or use another -o"
        )
