"""Which items build on which, and whether that can be done at all.

Only items with `item:` references are in it, so that a job without any costs nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from batchgen.errors import MAX_SHOWN_PROBLEMS
from batchgen.manifest.fields import nearest
from batchgen.model import Item

# So many ids are kept to name the nearest of.
_MAX_IDS: Final = 10_000
_MAX_SHOWN: Final = 6
_MAX_CIRCLES: Final = 1_000


class _Step(NamedTuple):
    """An item on the way up: the name that led to it, and those that it names itself."""

    id: str
    by: str
    waiting: Iterator[str]


@dataclass(frozen=True, slots=True)
class _Circle:
    """The first items of a circle, in the order in which they build on one another.

    Attributes:
        names: The items' ids.
        by: The name by which the first item refers to the next, as it was written.
        is_cut: Whether there are more items.
    """

    names: tuple[str, ...]
    by: str
    is_cut: bool

    @property
    def message(self) -> str:
        """What is said of it."""
        told = " → ".join([*self.names, *(["…"] if self.is_cut else [])])
        return f"it builds on itself: {told} → {self.names[0]}"


class Graph:
    """Items by their ids, each with the ids that it names.

    `item:ID` means the item with that id; of an item with a count, which is none, it is `ID#1`.
    """

    def __init__(self) -> None:
        """Start without items."""
        self._parents: dict[str, list[str]] = {}
        self._wanted: set[str] = set()
        self._found: set[str] = set()
        self._bad: set[str] = set()
        self._ids: list[str] = []

    def __bool__(self) -> bool:
        """Whether any item builds on another."""
        return bool(self._parents)

    def add(self, item: Item) -> None:
        """Note what an item builds on."""
        for reference in item.all_references:
            if reference.item is not None:
                self._parents.setdefault(item.id, []).append(reference.item)
                self._wanted.add(reference.item)

    def found(self, identity: str) -> None:
        """Note that an item is there; all that build on others have been added."""
        if identity in self._wanted or identity.removesuffix("#1") in self._wanted:
            self._found.add(identity)
        if self._parents and len(self._ids) < _MAX_IDS:
            self._ids.append(identity)

    def found_bad(self, identity: str) -> None:
        """Note that an item is there that has mistakes, so that its copies are not known."""
        self.found(identity)
        if self._parents:
            self._bad.add(identity)

    def faults(self) -> Mapping[str, Mapping[str, str]]:
        """What is wrong, by the item and by the id that it names; all items have been found."""
        faults: dict[str, dict[str, str]] = {}
        missing = {name for name in self._wanted if not self._is_there(name)}
        said: dict[str, str] = {}
        for child, parents in self._parents.items() if missing else ():
            for name in missing.intersection(parents):
                if name not in said:  # a search takes time, so only what is shown is worth it
                    near = nearest(name, self._ids) if len(said) < MAX_SHOWN_PROBLEMS else ""
                    said[name] = f"no item has the id '{name}'{near}"
                faults.setdefault(child, {})[name] = said[name]
        for circle in islice(self._circles(), _MAX_CIRCLES):
            faults.setdefault(circle.names[0], {})[circle.by] = circle.message
        return faults

    def _is_there(self, name: str) -> bool:
        whole, mark, _ = name.rpartition("#")
        return self._meant(name) in self._found or (bool(mark) and whole in self._bad)

    def _meant(self, name: str) -> str:
        """The id of the item that a reference names."""
        return name if name in self._found else f"{name}#1"

    def _circles(self) -> Iterator[_Circle]:
        """Yield circles, each once, beginning with the item that comes first in the job."""
        done: set[str] = set()
        for start in self._parents:
            if start not in done:
                yield from self._circles_from(start, done)

    def _circles_from(self, start: str, done: set[str]) -> Iterator[_Circle]:
        """Walk up from an item, without recursion: chains may be long."""
        path = [_Step(start, "", iter(self._parents[start]))]
        positions = {start: 0}
        while path:
            name = next(path[-1].waiting, None)
            if name is None:
                finished = path.pop()
                del positions[finished.id]
                done.add(finished.id)
                continue
            parent = self._meant(name)
            if parent in positions:
                yield _circle(path, positions[parent], name)
            elif parent in self._parents and parent not in done:
                positions[parent] = len(path)
                path.append(_Step(parent, name, iter(self._parents[parent])))


def _circle(path: Sequence[_Step], at: int, back: str) -> _Circle:
    """The end of a path from a position on, whose last item names the one there."""
    end = at + _MAX_SHOWN
    by = path[at + 1].by if at + 1 < len(path) else back
    return _Circle(tuple(step.id for step in path[at:end]), by, is_cut=len(path) > end)
