"""What a gateway billed, by request: the rows of its log, summed and sorted for a look-up."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from batchgen.errors import UsageError
from batchgen.known_models import KnownModels, plain_name
from batchgen.reconcile.columns import Columns
from batchgen.reconcile.rows import AnyRow, Besides, Odd, Row, read_rows

if TYPE_CHECKING:
    from array import array

MAX_ODD: Final = 20
_TO_EIGHTHS: Final = 61  # of 64 bits


class Models:
    """Models as numbers: one for all the ids that mean the same."""

    def __init__(self) -> None:
        """Start with none."""
        self._numbers: dict[str, int] = {}
        self._by_id: dict[str, int] = {}
        self.names: list[str] = []

    def number(self, model: str) -> int:
        """The number of a model."""
        if (number := self._by_id.get(model)) is None:
            known = KnownModels.shipped().find(model.strip())
            name = plain_name(model.strip()) if known is None else known.name
            number = self._by_id[model] = self._numbers.setdefault(name, len(self.names))
            if number == len(self.names):
                self.names.append(name)
        return number


class Request(NamedTuple):
    """What the rows of one request come to.

    Attributes:
        key: The hash of its id; of a row without an id, one of its own.
        has_id: Whether the rows have an id.
        number: The first of its rows, from 1.
        n_rows: How many there are: a charge and its refund are two.
        nano_usd: Their sum.
        at_s: The first time that any of them has.
        model: A number of `Models`; None where no row names any.
    """

    key: int
    has_id: int
    number: int
    n_rows: int
    nano_usd: int
    at_s: int | None
    model: int | None

    def plus(self, more: "Request") -> "Request":
        """The same with the rows of another."""
        ats = [at for at in (self.at_s, more.at_s) if at is not None]
        return self._replace(
            number=min(self.number, more.number),
            n_rows=self.n_rows + more.n_rows,
            nano_usd=self.nano_usd + more.nano_usd,
            at_s=min(ats, default=None),
            model=more.model if self.model is None else self.model,
        )


class Bill:
    """The requests of a usage log, by the hash of their ids.

    Attributes:
        n_besides: Rows about no call.
        n_undated: Rows about calls without a time that can be read.
        odd: Where rows stand that cannot be read, and why; the first of `n_odd`.

    Cost: 56 bytes a request, and as much again a row while it is read.
    """

    def __init__(self, path: Path, models: Models) -> None:
        """Read a log.

        Raises:
            UsageError: It cannot be read, or nothing in it can.
        """
        self.path = path
        self.n_rows = self.n_besides = self.n_undated = self.n_odd = 0
        self.odd: list[str] = []
        self.first_at_s: int | None = None
        self.last_at_s: int | None = None
        self.requests = _merged(self._requests(read_rows(path), models))
        self._keys = self.requests.column("key")
        if self.n_odd == self.n_rows > 0:
            raise UsageError(f"{path} is no usage log: {self.odd[0]}")

    def find(self, key: int) -> int | None:
        """The place of the request of an id, by its hash."""
        place = bisect_left(self._keys, key)
        return place if place < len(self._keys) and self._keys[place] == key else None

    def ids(self, numbers: set[int]) -> dict[int, str | None]:
        """The ids in some rows, read again; nothing where the log can be read only once."""
        if not numbers or not self.path.is_file():
            return {}
        rows = (row for row in read_rows(self.path) if isinstance(row, Row))
        wanted = (row for row in rows if row.number in numbers)
        return {row.number: row.request_id for row in islice(wanted, len(numbers))}

    def _requests(self, rows: Iterable[AnyRow], models: Models) -> Iterator[Request]:
        for row in rows:
            self.n_rows += 1
            match row:
                case Besides():
                    self.n_besides += 1
                case Odd(_, message):
                    self.n_odd += 1
                    if len(self.odd) < MAX_ODD:
                        self.odd.append(message)
                case Row():
                    self._date(row.at_s)
                    yield _request(row, models)

    def _date(self, at_s: int | None) -> None:
        if at_s is None:
            self.n_undated += 1
            return
        self.first_at_s = at_s if self.first_at_s is None else min(self.first_at_s, at_s)
        self.last_at_s = at_s if self.last_at_s is None else max(self.last_at_s, at_s)


def _request(row: Row, models: Models) -> Request:
    return Request(
        key=hash((row.number,)) if row.request_id is None else hash(row.request_id),
        has_id=row.request_id is not None,
        number=row.number,
        n_rows=1,
        nano_usd=row.nano_usd,
        at_s=row.at_s,
        model=None if row.model is None else models.number(row.model),
    )


def _merged(requests: Iterable[Request]) -> Columns[Request]:
    """One of each key, in the order of the keys."""
    each: Columns[Request] = Columns(Request)
    for request in requests:
        each.append(request)
    merged: Columns[Request] = Columns(Request)
    last: Request | None = None
    for place in _in_order(each.column("key")):
        request = each[place]
        if last is not None and last.key == request.key:
            last = last.plus(request)
            continue
        if last is not None:
            merged.append(last)
        last = request
    if last is not None:
        merged.append(last)
    return merged


def _in_order(keys: "array[int]") -> Iterator[int]:
    """The places of keys by their size, an eighth at a time: a list of all takes 80 bytes each."""
    for eighth in range(-4, 4):
        places = [place for place, key in enumerate(keys) if key >> _TO_EIGHTHS == eighth]
        yield from sorted(places, key=keys.__getitem__)
