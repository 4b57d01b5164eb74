"""The job of the last run, found again by id: an index into its `items.jsonl`."""

from array import array
from bisect import bisect_left
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
_BUCKET_BITS: Final = 8
_N_BUCKETS: Final = 1 << _BUCKET_BITS
_OFFSET_BITS: Final = 40
_OFFSET: Final = (1 << _OFFSET_BITS) - 1
_HASH: Final = (1 << 64 - _OFFSET_BITS) - 1


def _buckets(typecode: str) -> list["array[int]"]:
    return [array(typecode) for _ in range(_N_BUCKETS)]


@dataclass(slots=True)
class Former:
    """The items of the last run, each read again when somebody asks for it.

    Bits of an id's hash and where its line begins are one number, which is looked for in a sorted
    bucket; the line itself says whether it is the one.

    Attributes:
        n_unreadable: Lines that are no items: what they were is not known.

    Cost: 8 bytes for each item.
    """

    path: Path
    n_unreadable: int = 0
    _base: Path = field(init=False)
    _file: BinaryIO | None = None
    _places: list["array[int]"] = field(default_factory=lambda: _buckets("Q"))

    def __post_init__(self) -> None:
        """Know where references are relative to."""
        self._base = self.path.parent.resolve()

    def take(self, file: BinaryIO) -> None:
        """Index a file, and read in it from then on."""
        self._file = file
        begins = 0
        for line in file:
            if (item_id := _id(line)) is None:
                self.n_unreadable += 1
            else:
                bucket, bits = _split(item_id)
                self._places[bucket].append(bits << _OFFSET_BITS | begins)
            begins += len(line)
        for number, places in enumerate(self._places):
            self._places[number] = array("Q", sorted(places))

    def get(self, item_id: str) -> Item | None:
        """The item as the last run had it; None if it had none by that id.

        Raises:
            StoreError: The disk failed.
        """
        bucket, bits = _split(item_id)
        places = self._places[bucket]
        for n in range(bisect_left(places, bits << _OFFSET_BITS), len(places)):
            if places[n] >> _OFFSET_BITS != bits:
                break
            item = _item(self._line(places[n] & _OFFSET), self._base)
            if item is not None and item.id == item_id:
                return item
        return None

    def without(self, ids: Iterable[str]) -> Iterator[Item]:
        """The items whose ids are not among these, in their order.

        Cost: 16 bytes for each item for a while, and a hash for each that is found.

        Raises:
            StoreError: The disk failed.
        """
        gone = _only_in(map(_id, self._lines()), ids)
        for line in self._lines() if gone else ():
            if hash(_id(line)) in gone and (item := _item(line, self._base)) is not None:
                yield item

    def _lines(self) -> Iterator[bytes]:
        if self._file is not None:
            with store_errors(self.path):
                self._file.seek(0)
                yield from self._file

    def _line(self, begins: int) -> bytes:
        assert self._file is not None  # noqa: S101 - it is where the place was found
        with store_errors(self.path):
            self._file.seek(begins)
            return self._file.readline()


def _split(item_id: str) -> tuple[int, int]:
    """The bucket of an id, and the bits of its hash that are looked for there."""
    hashed = hash(item_id)
    return hashed & _N_BUCKETS - 1, hashed >> _BUCKET_BITS & _HASH


def _only_in(these: Iterable[str | None], those: Iterable[str]) -> set[int]:
    """Hashes of the ids that are among these and not among those, compared bucket by bucket."""
    sides = _buckets("q"), _buckets("q")
    for side, ids in zip(sides, (these, those), strict=True):
        for hashed in (hash(item_id) for item_id in ids if item_id is not None):
            side[hashed & _N_BUCKETS - 1].append(hashed)
    return set().union(*(set(one).difference(other) for one, other in zip(*sides, strict=True)))


def _id(line: bytes) -> str | None:
    with suppress(*_NO_ITEM):
        return decode_id(line)
    return None


def _item(line: bytes, base: Path) -> Item | None:
    with suppress(*_NO_ITEM):
        return decode_item(line, base)
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
