"""Records of whole numbers, kept a column a figure, so that millions of them take little room."""

from array import array
from collections.abc import Iterator
from typing import Any, Final, Generic, TypeVar

RecordT = TypeVar("RecordT", bound=tuple[int | None, ...])

_NONE: Final = -(1 << 63)


class Columns(Generic[RecordT]):
    """A list of named tuples of integers, which may be None; they are made when they are read.

    Cost: eight bytes a figure.
    """

    def __init__(self, kind: Any) -> None:
        """Start empty; `kind` is the NamedTuple."""
        self._kind = kind
        self._fields: tuple[str, ...] = kind._fields
        self._columns = [array("q") for _ in self._fields]

    def append(self, record: RecordT) -> None:
        """Add one at the end."""
        for column, value in zip(self._columns, record, strict=True):
            column.append(_NONE if value is None else value)

    def column(self, name: str) -> "array[int]":
        """One figure of all records; it must not be of those that may be None."""
        return self._columns[self._fields.index(name)]

    def __getitem__(self, n: int) -> RecordT:
        return self._record(tuple([column[n] for column in self._columns]))

    def __iter__(self) -> Iterator[RecordT]:
        return map(self._record, zip(*self._columns, strict=True))

    def __len__(self) -> int:
        return len(self._columns[0])

    def _record(self, values: tuple[int, ...]) -> RecordT:
        if _NONE in values:
            record: RecordT = self._kind._make(_read(value) for value in values)
        else:
            record = self._kind._make(values)
        return record


def _read(value: int) -> int | None:
    return None if value == _NONE else value
