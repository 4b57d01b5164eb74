"""Which items build on which, and whether that can be done at all.

Only items with `item:` references are in it, so that a job without any costs nothing.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from batchgen.errors import MAX_SHOWN_PROBLEMS
from batchgen.manifest.fields import nearest
from batchgen.model import Item

# So many ids are kept to name the nearest of.
_MAX_IDS: Final = 10_000
_MAX_SHOWN: Final = 6


class Graph:
    """Items by their ids, each with the ids that it names.

    `item:ID` of an item with a count means `ID#1`.
    """

    def __init__(self) -> None:
        """Start without items."""
        self._parents: dict[str, list[str]] = {}
        self._wanted: set[str] = set()
        self._found: set[str] = set()
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
        """Note that an item is there."""
        name = identity.removesuffix("#1")
        self._found.update({identity, name} & self._wanted)
        if self._parents and len(self._ids) < _MAX_IDS:
            self._ids.append(identity)

    def faults(self) -> Mapping[str, Mapping[str, str]]:
        """What is wrong, by the item and by the id that it names; all items have been found."""
        faults: dict[str, dict[str, str]] = {}
        missing = self._wanted - self._found
        said: dict[str, str] = {}
        for child, parents in self._parents.items() if missing else ():
            for name in missing.intersection(parents):
                if name not in said:  # a search takes time, so only what is shown is worth it
                    near = nearest(name, self._ids) if len(said) < MAX_SHOWN_PROBLEMS else ""
                    said[name] = f"no item has the id '{name}'{near}"
                faults.setdefault(child, {})[name] = said[name]
        for circle in self._circles():
            told = " → ".join([*circle[:_MAX_SHOWN], *(["…"] if len(circle) > _MAX_SHOWN else ())])
            message = f"it builds on itself: {told} → {circle[0]}"
            named = circle[1 % len(circle)]
            faults.setdefault(circle[0], {}).update(
                {named: message, named.removesuffix("#1"): message}
            )
        return faults

    def _circles(self) -> Iterator[list[str]]:
        """Yield circles, each once, beginning with the item that comes first in the job."""
        done: set[str] = set()
        for start in self._parents:
            if start not in done:
                yield from self._circles_from(start, done)

    def _circles_from(self, start: str, done: set[str]) -> Iterator[list[str]]:
        """Walk up from an item, without recursion: chains may be long."""
        path: dict[str, Iterator[str]] = {start: self._above(start)}
        while path:
            current = next(reversed(path))
            parent = next(path[current], None)
            if parent is None:
                done.add(current)
                del path[current]
            elif parent in path:
                names = list(path)
                yield names[names.index(parent) :]
            elif parent not in done:
                path[parent] = self._above(parent)

    def _above(self, child: str) -> Iterator[str]:
        """The parents of an item that have parents themselves."""
        for name in self._parents[child]:
            parent = name if name in self._parents else f"{name}#1"
            if parent in self._parents:
                yield parent
