"""Items that build on items: who waits for whom, and what follows when one has ended.

    Lineage        who builds on whom, and the pictures of those that are done
    Dependencies   holds each item back until all that it builds on have ended

An item that builds on others (`references: ["item:hero"]`) asks for something that is known only
when those are done. Until then it goes by the key that it has in `items.jsonl`, in which a picture
counts by the id of the item that makes it; from then on by the key in which it counts by its bytes.

Both are told what happens and do nothing by themselves; only `read_lineage` reads a file.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import msgspec

from batchgen.model import ImageFile, Item, Reference, content_key
from batchgen.store.expanded import read_items, read_parents, with_references
from batchgen.store.history import History, final_image
from batchgen.store.layout import Layout


class Lineage:
    """Which items others build on, and the pictures of those that are done.

    Attributes:
        pictures: By the id of the item that they were made for.
    """

    def __init__(self, parents: Mapping[str, str], root: Path) -> None:
        """Start without a picture.

        Args:
            parents: The ids of items that others build on, by the names that references use.
            root: The job's directory, where the pictures are.
        """
        self._ids = parents
        self._parents = frozenset(parents.values())
        self._root = str(root.resolve())
        self.pictures: dict[str, ImageFile] = {}

    def is_parent(self, item_id: str) -> bool:
        """Whether any item builds on this one."""
        return item_id in self._parents

    def parents(self, item: Item) -> list[str]:
        """The ids of the items that an item builds on, each once."""
        if not self._ids:
            return []
        names = (ref.item for ref in item.all_references if ref.item is not None)
        return list(dict.fromkeys(self._ids.get(name, name) for name in names))

    def picture(self, name: str) -> ImageFile | None:
        """The picture of the item that references mean by a name; None as long as it has none."""
        return self.pictures.get(self._ids.get(name, name))

    def resolved(self, item: Item) -> Item:
        """The item with the pictures that it builds on, and the key that it has by their bytes.

        As it is in `items.jsonl` if there is nothing to resolve, or not every picture yet.
        """
        parents = self.parents(item)
        if not parents or any(parent not in self.pictures for parent in parents):
            return item
        filled = self.filled(item)
        return msgspec.structs.replace(filled, key=content_key(filled))

    def filled(self, item: Item) -> Item:
        """The item with those pictures that are there; its key is left as it is."""
        if not self._ids:
            return item
        return with_references(item, lambda ref: self._filled(ref, item.reference_max_px))

    def _filled(self, reference: Reference, max_px: int | None) -> Reference:
        picture = None if reference.item is None else self.picture(reference.item)
        if picture is None:
            return reference
        longest_px = max(picture.width or 0, picture.height or 0)
        return msgspec.structs.replace(
            reference,
            path=f"{self._root}/{picture.path}",
            sha256=picture.sha256,
            max_px=max_px if max_px is not None and longest_px > max_px else None,
        )


@dataclass(frozen=True, slots=True)
class Ready:
    """An item of which all that it builds on is done; its references are resolved."""

    item: Item


@dataclass(frozen=True, slots=True)
class Barred:
    """An item that builds on one that ended without a picture; as it is in `items.jsonl`."""

    item: Item
    parent: str


Freed: TypeAlias = Ready | Barred


@dataclass(slots=True)
class _Held:
    """An item that waits. `missing` is empty once it has been freed."""

    item: Item
    missing: set[str]


@dataclass(slots=True)
class Dependencies:
    """Holds items back until those that they build on have ended.

    Items come in any order, also before what they build on. Each is freed exactly once; one whose
    parents never end is never freed.

    Cost: memory for the items held back and for the parents, and nothing for any other item.
    Each reference is looked at twice; how long a chain is does not matter.
    """

    lineage: Lineage
    _lost: set[str] = field(default_factory=set)
    _held: dict[str, list[_Held]] = field(default_factory=dict)
    _freed: deque[Freed] = field(default_factory=deque)

    def add(self, item: Item) -> None:
        """Take an item in; it is freed at once if it waits for nothing."""
        parents = self.lineage.parents(item)
        if not parents:
            self._freed.append(Ready(item))
            return
        lost = next((parent for parent in parents if parent in self._lost), None)
        missing = {parent for parent in parents if parent not in self.lineage.pictures}
        if lost is not None:
            self._freed.append(Barred(item, lost))
        elif missing:
            held = _Held(item, missing)
            for parent in missing:
                self._held.setdefault(parent, []).append(held)
        else:
            self._freed.append(Ready(self.lineage.resolved(item)))

    def take(self) -> Freed | None:
        """The next item that has been freed; None if there is none now."""
        return self._freed.popleft() if self._freed else None

    def ended(self, item_id: str, picture: ImageFile | None) -> None:
        """Take notice of an item's end, with its picture or without, and free what waited for it.

        Only the first end of an item counts: what builds on it has been freed by that.
        """
        lineage = self.lineage
        if not lineage.is_parent(item_id) or item_id in lineage.pictures or item_id in self._lost:
            return
        if picture is None:
            self._lost.add(item_id)
        else:
            lineage.pictures[item_id] = picture
        for held in self._held.pop(item_id, ()):
            self._let_go(held, item_id, is_lost=picture is None)

    def waiting(self) -> Iterator[tuple[Item, str]]:
        """The items that are still held back, each once, with one that it waits for."""
        seen: set[int] = set()
        for held in (held for line in self._held.values() for held in line):
            if held.missing and id(held) not in seen:
                seen.add(id(held))
                yield held.item, min(held.missing)

    def _let_go(self, held: _Held, parent: str, *, is_lost: bool) -> None:
        if parent not in held.missing:  # another parent was lost before
            return
        if is_lost:
            held.missing.clear()
            self._freed.append(Barred(held.item, parent))
            return
        held.missing.remove(parent)
        if not held.missing:
            self._freed.append(Ready(self.lineage.resolved(held.item)))


def trace(lineage: Lineage, items: Iterable[Item], history: History) -> None:
    """Find the pictures of all parents that are done, in whatever order they come."""
    dependencies = Dependencies(lineage)
    for item in items:
        if not lineage.is_parent(item.id):
            continue
        dependencies.add(item)
        while (freed := dependencies.take()) is not None:
            standing = history.standing(freed.item)
            if standing is not None and standing.status == "done":
                dependencies.ended(freed.item.id, final_image(standing.last.images))


def read_lineage(layout: Layout, history: History) -> Lineage:
    """Who builds on whom in a job's directory, and what the ledger has of their pictures.

    Raises:
        UsageError: There are no items: no run has been here.
        StoreError: A line is no item.
    """
    parents = read_parents(layout.items)
    lineage = Lineage(parents, layout.root)
    if parents:
        trace(lineage, read_items(layout.items), history)
    return lineage
