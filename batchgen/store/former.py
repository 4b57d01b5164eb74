"""The job of the last run, found again by id: an index into its `items.jsonl`."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from batchgen.errors import store_errors
from batchgen.model import Item
from batchgen.store.expanded import decode_id, decode_item
from batchgen.store.inside import open_inside

_NO_ITEM: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


@dataclass(slots=True)
class Former:
    """The items of the last run, each read again when somebody asks for it.

    Attributes:
        n_unreadable: Lines that are no items: what they were is not known.

    Cost: about 100 bytes for each item.
    """

    path: Path
    n_unreadable: int = 0
    _base: Path = field(init=False)
    _file: BinaryIO | None = None
    _begins: dict[int, int] = field(default_factory=dict)  # of lines, by the hash of the id

    def __post_init__(self) -> None:
        """Know where references are relative to."""
        self._base = self.path.parent.resolve()

    def take(self, file: BinaryIO) -> None:
        """Index a file, and read in it from then on."""
        self._file = file
        begins = 0
        for line in file:
            try:
                self._begins[hash(decode_id(line))] = begins
            except _NO_ITEM:
                self.n_unreadable += 1
            begins += len(line)

    def get(self, item_id: str) -> Item | None:
        """The item as the last run had it; None if it had none by that id.

        Raises:
            StoreError: The disk failed.
        """
        begins = self._begins.get(hash(item_id))
        item = None if begins is None else self._read(begins)
        return item if item is not None and item.id == item_id else None

    def without(self, ids: Iterable[str]) -> Iterator[Item]:
        """The items whose ids are not among these, in their order.

        Raises:
            StoreError: The disk failed.
        """
        left = self._begins.copy()
        for item_id in ids if left else ():
            left.pop(hash(item_id), None)
        for begins in left.values():
            if (item := self._read(begins)) is not None:
                yield item

    def _read(self, begins: int) -> Item | None:
        assert self._file is not None  # noqa: S101 - it is where the index comes from
        with store_errors(self.path):
            self._file.seek(begins)
            line = self._file.readline()
        with suppress(*_NO_ITEM):
            return decode_item(line, self._base)
        return None


@contextmanager
def open_former(path: Path) -> Iterator[Former]:
    """Index the `items.jsonl` of a job's directory; without one there are no items.

    It stays open, so that a run that begins meanwhile, and puts another file in its place, changes
    nothing for who reads here.

    Raises:
        StoreError: The disk failed, or something lies there that is no file.
    """
    former = Former(path)
    with ExitStack() as stack:
        with store_errors(path), suppress(FileNotFoundError):
            former.take(stack.enter_context(open_inside(path)))
        yield former
