"""What to do for each item of a job, given what earlier runs did. Pure but for one `stat`."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Literal, TypeAlias, assert_never

from batchgen.dependencies import Barred, Dependencies, Freed, Lineage, Ready
from batchgen.errors import UsageError
from batchgen.model import Attempt, ImageFile, Item, Outcome, Result
from batchgen.store.layout import EXTENSIONS, Layout
from batchgen.store.ledger import History, final_image

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


Reason: TypeAlias = Literal["new", "pending", "failed", "file_missing", "forced", "waiting"]


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


Step: TypeAlias = Todo | Settled | Skip


class Agenda:
    """Decides item by item, lazily, in the job's order but each after those that it builds on.

    Whoever takes the steps tells of each end; what an end makes possible comes before the rest.

    Memory: nothing for an item that waits for no other.
    """

    def __init__(
        self,
        items: Iterable[Item],
        history: History,
        root: Path,
        redo: Redo,
        parents: Mapping[str, str] | None = None,
        *,
        marks: Iterable[bool] | None = None,
    ) -> None:
        """Set what there is to decide on; nothing is read yet.

        Args:
            items: The expanded job, with content keys.
            history: What earlier runs did, and what this one adds.
            root: The job's directory, where the pictures are.
            redo: What to send besides what is not done.
            parents: The ids of items that others build on, by the names that references use.
            marks: Whether each item is selected; all are, unless it is told. There are no steps
                for what is not, but what is done of it can be built on.
        """
        self._items = zip(items, repeat(object=True) if marks is None else marks, strict=False)
        self._history = history
        self._root = root
        self._redo = redo
        self._lineage = Lineage(parents or {}, root)
        self._dependencies = Dependencies(self._lineage)
        self._ended_now: set[str] = set()
        self._unselected: set[str] = set()  # those on which others build

    def next(self) -> Step | None:
        """Decide on the next item that waits for nothing; None if there is none now.

        There may be one again after the next end, also of an item that was skipped.
        """
        freed = self._next_freed()
        if freed is None:
            return None
        step = self._step(freed)
        match step:
            case Settled(item, last, is_found):
                picture = final_image(last.images) if last.decision == "done" else None
                self._end(item.id, picture, is_now=is_found)
            case Skip(item):
                self._end(item.id, None, is_now=True)
            case Todo():
                pass  # its end is told
        return step

    def ended(self, result: Result) -> None:
        """Take notice of where an item stands now; one that is pending has not ended."""
        if result.status != "pending":
            picture = final_image(result.images) if result.status == "done" else None
            self._end(result.id, picture, is_now=True)

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
        for item, _ in self.waiting():
            yield Todo(item, "waiting")

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
        if self._history.has_files(past.last, self._root):
            self._end(item.id, final_image(past.last.images), is_now=False)

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
            case "done":
                is_there = self._history.has_files(past.last, self._root)
                return settled if is_there else Todo(item, "file_missing")
            case "failed" | "skipped":
                return Todo(item, "failed") if _again(past.last, self._redo) else settled
            case "pending":
                return Todo(item, "pending")


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
    items: Callable[[], Iterable[Item]], history: History, layout: Layout
) -> Overwriting | None:
    """Find an item to make that would overwrite the picture of another item of the job.

    Names are distinct within a job; a picture that was filed under an earlier `output.name` may
    still be in the way.

    Args:
        items: Gives the items of the job; called twice if anything is in the way.
        history: What earlier runs did.
        layout: The job's directory.
    """
    in_the_way: dict[str, Overwriting] = {}
    for item in items():
        past = history.standing(item)
        if past is not None and past.status == "done":
            continue
        for extension in EXTENSIONS:
            path = layout.relative(layout.image(item, extension))
            writer, _ = history.writers.get(path, (item.id, ""))
            if writer != item.id:
                in_the_way.setdefault(writer, Overwriting(item.id, path, writer))
    if not in_the_way:
        return None
    return next((in_the_way[item.id] for item in items() if item.id in in_the_way), None)


def refuse_to_overwrite(
    items: Callable[[], Iterable[Item]], history: History, layout: Layout
) -> None:
    """See `find_overwriting`.

    Raises:
        UsageError: A picture would take the place of another item's.
    """
    found = find_overwriting(items, history, layout)
    if found is not None:
        raise UsageError(
            f"{found.path} is the picture of '{found.other_id}', and '{found.item_id}' would "
            "be written over it: change output.name or the id, or use another -o"
        )
