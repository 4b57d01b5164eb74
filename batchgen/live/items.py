"""The items of a job by number and by id, read from where they stand in `items.jsonl`."""

import hashlib
import os
import weakref
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, Self

import msgspec

from batchgen.errors import StoreError, UsageError, store_errors
from batchgen.model import Item
from batchgen.report.summary import MAX_MODELS
from batchgen.store.expanded import decode_item, decode_named
from batchgen.store.inside import open_inside
from batchgen.store.numbered import Numbered

_STEP_BYTES: Final = 1 << 20
_BROKEN: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Seen(NamedTuple):
    """Which file it is, and what it looked like."""

    inode: int
    size_bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Self:
        """What the system says of a file."""
        return cls(stat.st_ino, stat.st_size, stat.st_mtime_ns)

    @classmethod
    def at(cls, path: Path) -> Self | None:
        """What lies at a path; None if nothing does.

        Raises:
            StoreError: The disk does not say.
        """
        try:
            return cls.of(path.stat())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError.of(error, path) from error


class Items:
    """An index into `items.jsonl`, which stays open: a run that replaces it changes nothing here.

    Attributes:
        seen: Which file it is.
        digest: The SHA-256 of its bytes.
        models: Those that they name, at most a few.
        children: The numbers of the items that build on others, by the names that they use.

    Cost: 24 bytes an item, and as many for each reference to another item. An item is read and
    decoded each time that somebody asks for it.
    """

    def __init__(self, path: Path, go_on: Callable[[], None] = lambda: None) -> None:
        """Read it through.

        Args:
            path: The file.
            go_on: Called for each line; what it raises ends the reading.

        Raises:
            UsageError: It is not there.
            StoreError: A line is no item, or the disk failed.
        """
        self._path = path
        self._base = path.parent.resolve()
        self._begins = array("q", [0])
        self._numbers = Numbered()
        self.children: dict[str, array[int]] = {}
        self.models: set[str] = set()
        self._open()
        try:
            self._index(go_on)
        except OSError as error:
            raise StoreError.of(error, path) from error
        except _BROKEN as error:
            raise StoreError(f"{path} cannot be read: {error}") from error

    def _open(self) -> None:
        try:
            file = open_inside(self._path)
        except FileNotFoundError as error:
            raise UsageError(
                f"{self._path.parent} holds no run: {self._path.name} is missing"
            ) from error
        except OSError as error:
            raise StoreError.of(error, self._path) from error
        self._file = file
        weakref.finalize(self, file.close)
        self.seen = Seen.of(os.fstat(file.fileno()))

    def _index(self, go_on: Callable[[], None]) -> None:
        digest = hashlib.sha256()
        for number, line in enumerate(self._file):
            go_on()
            digest.update(line)
            named = decode_named(line)
            self._numbers.put(hash(named.id), number)
            if isinstance(named.model, str) and len(self.models) < MAX_MODELS:
                self.models.add(named.model)
            self._begins.append(self._begins[-1] + len(line))
            # No text in JSON holds it as it stands: see store/expanded.py.
            if b'"item":' in line:
                for reference in decode_item(line, self._base).all_references:
                    if reference.item is not None:
                        self.children.setdefault(reference.item, array("q")).append(number)
        self.digest = digest.hexdigest()

    def __len__(self) -> int:
        return len(self._begins) - 1

    def __iter__(self) -> Iterator[Item]:
        """All of them, in the order of the job."""
        return (self.item(number) for number in range(len(self)))

    def item(self, number: int) -> Item:
        """The item at a place in the job, from 0.

        Raises:
            StoreError: It cannot be read any more.
        """
        begins, ends = self._begins[number], self._begins[number + 1]
        with store_errors(self._path):
            line = os.pread(self._file.fileno(), ends - begins, begins)
        try:
            return decode_item(line, self._base)
        except _BROKEN as error:
            raise StoreError(f"{self._path} was changed by another program: {error}") from error

    def number(self, item_id: str) -> int | None:
        """The place of an item in the job; None if there is none of that id."""
        return self._numbers.get(hash(item_id))

    def has_moved(self, path: Path) -> bool:
        """Whether another file lies at the path by now."""
        return Seen.at(path) != self.seen

    def is_same_as(self, path: Path) -> bool:
        """Whether the file that lies there has the same bytes; it is the one from then on.

        Raises:
            StoreError: The disk failed.
        """
        with store_errors(path), open_inside(path) as file:
            seen = Seen.of(os.fstat(file.fileno()))
            if seen.size_bytes != self.seen.size_bytes:
                return False
            digest = hashlib.sha256()
            while step := file.read(_STEP_BYTES):
                digest.update(step)
        if digest.hexdigest() != self.digest:
            return False
        self.seen = seen
        return True
