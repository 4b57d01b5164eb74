"""Where the items of a job stand, counted while it changes."""

from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from batchgen.model import Outcome, Result, Status
from batchgen.report.summary import FailureGroup, ItemTotals


class Standing(NamedTuple):
    """What is counted of an item."""

    status: Status
    outcome: Outcome | None = None
    is_wrong_size: bool = False


_DONE: Final = (Standing("done"), Standing("done", is_wrong_size=True))
_LOSSES: Final[tuple[Status, ...]] = ("failed", "skipped")
_LOST: Final = tuple(
    Standing(status, outcome) for status in _LOSSES for outcome in (None, *Outcome)
)
# What a byte means. The first is where all begin.
_STANDINGS: Final = (Standing("pending"), *_DONE, *_LOST)
_CODES: Final = {standing: code for code, standing in enumerate(_STANDINGS)}
_SELECTED: Final = 1
_THIS_RUNS: Final = 2


class Counted(NamedTuple):
    """So many items that stand alike."""

    standing: Standing
    flags: int
    n: int

    @property
    def is_this_runs(self) -> bool:
        """Whether the last run has come to them."""
        return bool(self.flags & _THIS_RUNS)


@dataclass(slots=True)
class Counts:
    """The standing of each item, and how many there are of each kind.

    Attributes:
        n_items: All items of the job.
        limit: The most items that the last run makes.

    Cost: two bytes an item. A change costs the same however many there are; the beginning of a run
    a look at each of these bytes.
    """

    n_items: int
    limit: int | None = None
    _codes: bytearray = field(init=False)
    _flags: bytearray = field(init=False)
    _counter: Counter[tuple[int, int]] = field(init=False)

    def __post_init__(self) -> None:
        self._codes = bytearray(self.n_items)
        self._flags = bytearray(self.n_items)
        self._counter = Counter({(0, 0): self.n_items})

    def begin(self, selected: Iterable[bool] | None, limit: int | None) -> None:
        """Another run begins.

        Args:
            selected: Of each item, whether the run is about it; None if it is about all.
            limit: The most items that it makes.
        """
        self.limit = limit
        if selected is None:
            self._flags = bytearray([_SELECTED]) * self.n_items
        else:
            self._flags = bytearray(_SELECTED if one else 0 for one in selected)
        self._counter = Counter(zip(self._codes, self._flags, strict=True))

    def put(
        self, number: int, result: Result, run_ids: Container[str], *, is_wrong_size: bool
    ) -> None:
        """Note where an item stands after the run, or at this moment of it."""
        self._counter[self._codes[number], self._flags[number]] -= 1
        is_done = result.status == "done"
        outcome = None if result.status in {"done", "pending"} else result.outcome
        standing = Standing(result.status, outcome, is_wrong_size and is_done)
        is_this_runs = result.run_id in run_ids
        self._codes[number] = _CODES[standing]
        self._flags[number] = self._flags[number] & _SELECTED | _THIS_RUNS * is_this_runs
        self._counter[self._codes[number], self._flags[number]] += 1

    def status(self, number: int) -> Status:
        """Where an item stands."""
        return _STANDINGS[self._codes[number]].status

    def of_job(self) -> list[Counted]:
        """All items."""
        pairs = self._counter.items()
        return [Counted(_STANDINGS[code], flags, n) for (code, flags), n in pairs if n]

    def of_run(self) -> list[Counted]:
        """Those that the last run is about, and, of a run with a limit, those that it came to."""
        is_whole = self.limit is None
        return [
            one
            for one in self.of_job()
            if one.flags & _SELECTED
            and (is_whole or one.is_this_runs or one.standing.status == "done")
        ]

    @property
    def n_left(self) -> int:
        """Items that the last run is about and that have not ended."""
        selected = (one for one in self.of_job() if one.flags & _SELECTED)
        return sum(one.n for one in selected if one.standing.status == "pending")

    def failures(self, counted: Iterable[Counted]) -> Iterator[tuple[Outcome, int, int]]:
        """Each cause of failure, how many items have it, and the number of the first of them.

        Cost: a look at each item's two bytes at most, for each cause.
        """
        counts, firsts = Counter[Outcome](), dict[Outcome, int]()
        for one in counted:
            if (outcome := one.standing.outcome) is not None:
                first = self._first(_CODES[one.standing], one.flags)
                counts[outcome] += one.n
                firsts[outcome] = min(first, firsts.get(outcome, first))
        return (
            (outcome, counts[outcome], firsts[outcome])
            for outcome in sorted(firsts, key=firsts.__getitem__)
        )

    def _first(self, code: int, flags: int) -> int:
        at = self._codes.find(code)
        while self._flags[at] != flags:
            at = self._codes.find(code, at + 1)
        return at


def totals(counted: Iterable[Counted]) -> ItemTotals:
    """The counts as a summary has them, without the groups of failures."""
    found = ItemTotals()
    for one in counted:
        status = one.standing.status
        found.by_status[status] = found.by_status.get(status, 0) + one.n
        found.n_wrong_size += one.n * one.standing.is_wrong_size
        found.n_reused += one.n * (status == "done" and not one.is_this_runs)
    return found


def group(outcome: Outcome, count: int, result: Result) -> FailureGroup:
    """The items that failed for one cause, with the first of them as the example."""
    message = result.error.message if result.error else ""
    return FailureGroup(outcome=outcome, count=count, example=message, item=result.id)
