"""Pictures of items that are in the job no more: what becomes of them. Nothing does, mostly."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Self

from batchgen.model import Item
from batchgen.search import Filing
from batchgen.store.former import Former
from batchgen.store.history import History
from batchgen.store.layout import EXTENSIONS, Layout


@dataclass(slots=True)
class Orphans:
    """Items of the last run that the job has no more, and that leave a picture.

    Cost: about 200 bytes for each of them, and nothing for any other item.
    """

    former: Former
    layout: Layout
    _left: dict[int, str] = field(default_factory=dict)  # ids, by the hash of where pictures lie
    _written_over: dict[int, str] = field(default_factory=dict)

    @classmethod
    def find(
        cls,
        former: Former,
        ids: Iterable[str],
        history: History,
        layout: Layout,
        filings: Iterable[Filing],
    ) -> Self:
        """Find them.

        Args:
            former: The job of the last run.
            ids: Those of all items that the job has now, selected or not.
            history: What earlier runs did.
            layout: The job's directory.
            filings: Pictures that go to other items.

        Raises:
            StoreError: The disk failed.
        """
        filings = list(filings)
        taken = {one.vacates for one in filings}
        found = cls(former, layout)
        for item in former.without(ids):
            for path in _places(layout, item):
                if path not in taken and _has_picture(item, path, history, layout):
                    found._left[hash(_stem(path))] = item.id
                    break
        for one in filings:
            found._lose(one.path)
        return found

    def make_way(self, item: Item) -> None:
        """Take notice that an item gets its picture: one that lies there is written over."""
        if self._left:
            self._lose(next(_places(self.layout, item)))

    @property
    def kept(self) -> Iterable[str]:
        """Ids of those whose pictures stay where they are."""
        return self._left.values()

    @property
    def written_over(self) -> Iterable[str]:
        """Ids of those at whose place another item's picture will lie."""
        return self._written_over.values()

    def _lose(self, path: str) -> None:
        place = hash(_stem(path))
        if (item_id := self._left.pop(place, None)) is not None:
            self._written_over[place] = item_id


def _places(layout: Layout, item: Item) -> Iterator[str]:
    return (layout.image_name(item, extension) for extension in EXTENSIONS)


def _stem(path: str) -> str:
    return path.rpartition(".")[0]


def _has_picture(item: Item, path: str, history: History, layout: Layout) -> bool:
    """Whether an item's own picture lies at a path, as far as a look at its place can tell."""
    made = history.made_last(path)
    return made is not None and made.item == item.id and history.has_files(made, layout.shelf)
