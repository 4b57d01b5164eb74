"""What earlier runs left, as the run that comes after them takes it over.

look      what a killed run had begun to file is ended; what belongs elsewhere now is found
settle    calls without an outcome get their lines
file      what was made already goes to whoever asks for it now
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_UP, Decimal
from pathlib import Path
from typing import Final, Self

from batchgen.budget import Budget, day_of
from batchgen.clock import stamp
from batchgen.dependencies import read_lineage
from batchgen.errors import store_errors
from batchgen.events import Event, Warned
from batchgen.filing import Filer, finish_filings
from batchgen.limits import Demand, Limiter, Limits
from batchgen.model import Item
from batchgen.plan import Redo, find_overwriting, refuse_to_overwrite
from batchgen.recorder import Recorder
from batchgen.recovery import Recovery
from batchgen.search import Filing, Search
from batchgen.selection import NO_GROUPS, Selection, Shard
from batchgen.stop import Stop
from batchgen.store.broken import Broken
from batchgen.store.expanded import read_items
from batchgen.store.history import Departed, History, Name
from batchgen.store.layout import Layout
from batchgen.store.receipts import adopt_parts, answered, received, take_from_worker
from batchgen.store.staged import records
from batchgen.wording import counted

_MICRO_USD: Final = Decimal("0.000001")


@dataclass(slots=True)
class Takeover:
    """A job's directory between two runs; nothing is sent.

    Attributes:
        redo: What is made anew though it is done.
        is_alone: Nobody else may write in the directory at this moment.
    """

    layout: Layout
    history: History
    selection: Selection
    search: Search
    redo: Redo
    is_alone: bool = True
    _filings: list[Filing] = field(default_factory=list)

    @classmethod
    async def look(
        cls,
        layout: Layout,
        history: History,
        selection: Selection,
        *,
        any_model: bool,
        redo: Redo,
        is_alone: bool = True,
        groups: Mapping[str, str] = NO_GROUPS,
    ) -> Self:
        """End what a killed run had begun to file, and find what belongs elsewhere now.

        Beside other shards each looks after its own: after its parts, and its items.

        Raises:
            UsageError: A picture would take the place of another item's.
            StoreError: The disk failed.
        """
        await finish_filings(layout, history)
        if is_alone:
            await _adopt_parts(layout, history)

        def marked_items() -> Iterator[tuple[Item, bool]]:
            lineage = read_lineage(layout, history)
            return selection.marked(lambda: map(lineage.resolved, items()), groups)

        def items() -> Iterable[Item]:
            return read_items(layout.items)

        broken = Broken.read(layout.broken)
        search = Search(
            layout, history, marked_items, broken, any_model=any_model, only_selected=not is_alone
        )
        takeover = cls(layout, history, selection, search, redo, is_alone)
        await asyncio.to_thread(takeover._find)
        if search.wanted or redo.done or redo.marked:
            await asyncio.to_thread(takeover._refuse_to_overwrite)
        if layout.shard is None:
            await takeover._sum_up_the_last_run()
        return takeover

    @classmethod
    def of_nothing(cls, layout: Layout, selection: Selection) -> Self:
        """What there is to take over in a directory that is as the last run sealed it."""
        history = History()
        return cls(layout, history, selection, Search(layout, history, tuple), Redo())

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to settle or to file."""
        return bool(self._filings or self.history.unfinished or self._received())

    @property
    def foregone(self) -> frozenset[Name]:
        """What need not be made, though the ledger does not say so yet."""
        if self.redo.done:
            return frozenset()
        return frozenset(one.name for one in self._filings) | self._received()

    def _received(self) -> frozenset[Name]:
        """What was answered, wholly, to a run that was killed before it could say so."""
        parts = self.layout.parts
        left = (*answered(parts), *(one.sent for one in records(parts)))
        return frozenset((sent.item, sent.key) for sent in left if not self.history.knows(sent))

    def _arriving(self) -> list[Item]:
        """The items whose pictures are about to take their places."""
        parts = self.layout.parts
        return [*received(parts), *(one.item for one in records(parts))]

    async def settle(self, recovery: Recovery, recorder: Recorder, stop: Stop) -> None:
        """Write the lines that a killed run did not live to write, and clear away its parts.

        Raises:
            StoreError: The disk failed.
        """
        was_killed = False
        if self.layout.away is not None:
            for item in await asyncio.to_thread(self._arriving):
                await self.layout.shelf.clear(item)
        ends = recovery.ends(self.history)
        while (step := await asyncio.to_thread(next, ends, None)) is not None:
            was_killed = True
            end, decision = step
            await recorder.write(end, decision)
            if decision == "stop" and end.error is not None:
                stop.ask(end.error.message, end.error)
        await asyncio.to_thread(recovery.clear_parts)
        if self.is_alone:
            await asyncio.to_thread(_forget_other_parts, self.layout)
        if was_killed:  # what was wanted may have been among it
            await asyncio.to_thread(self._find)

    async def file(self, filer: Filer, tell: Callable[[Event], None]) -> None:
        """Give what was made already to the items that ask for it now.

        Raises:
            StoreError: The disk failed; the next run sees it through.
        """
        n_moved, n_copied = await filer.file_all(self.search, self._filings)
        if n_moved:
            names = "name it has" if n_moved == 1 else "names they have"
            tell(Warned(f"{counted(n_moved, 'picture')} moved to the {names} now"))
        if n_copied:
            tell(Warned(f"{counted(n_copied, 'picture')} copied to items that ask for the same"))

    def _find(self) -> None:
        self._filings = [] if self.redo.done else self.search.filings()

    def _refuse_to_overwrite(self) -> None:
        found = find_overwriting(
            self.search.marked_items,
            self.history,
            self.layout,
            self.redo,
            wanted=self.search.wanted,
            filed={one.name[0] for one in self._filings},
            vacated={one.vacates for one in self._filings},
        )
        refuse_to_overwrite(found)

    async def _sum_up_the_last_run(self) -> None:
        """Write the summary of a run that was killed when it had ended, and not told it yet."""
        last = max(self.history.ends, default=None)
        if last is None or last != max(self.history.runs, default=None):
            return
        if self.history.runs[last].shard is not None:
            return  # there is none of all shards; and their job is not this one
        if not (self.layout.runs / f"{last}.json").exists():
            from batchgen.report.rebuild import rebuild  # noqa: PLC0415 - few runs need it now

            await asyncio.to_thread(rebuild, self.layout)


async def _adopt_parts(layout: Layout, history: History) -> None:
    """Take what killed runs of other parts of the job were receiving for one's own.

    Only for a run that is alone in the directory.

    Raises:
        StoreError: The disk failed.
    """
    for other in layout.others:
        if other.parts.is_dir():
            await finish_filings(other, history)
            await asyncio.to_thread(adopt_parts, other.parts, layout.parts)
    await asyncio.to_thread(_adopt_of_workers, layout.parts)


def _adopt_of_workers(parts: Path) -> None:
    """What the workers of a killed run were receiving."""
    with store_errors(parts):
        for theirs in [path for path in parts.iterdir() if path.is_dir() and not path.is_symlink()]:
            take_from_worker(theirs, parts)


def _forget_other_parts(layout: Layout) -> None:
    """Remove the expanded jobs that no report goes by any more, now that this run is the last.

    Raises:
        StoreError: The disk failed.
    """
    total = None if layout.shard is None else layout.shard.total
    for other in layout.others:
        if other.shard is not None and other.shard.total != total:
            with store_errors(other.own):
                for job in (other.items, *other.own.glob(".items.*.tmp")):
                    job.unlink(missing_ok=True)


def counts_since(limits: Limits, budget: Budget, now: datetime) -> str | None:
    """From when on requests of earlier runs count for limits and budgets; None if none do."""
    spans_s = [0.0]
    if limits.rpd is not None or budget.max_cost_usd_per_day is not None:
        spans_s.append(25 * 3600)
    if limits.usd_per_10min is not None:
        spans_s.append(660)
    if limits.tpm is not None:
        spans_s.append(66)
    spans_s += [66 / min(1.0, count) for count in (limits.rpm, limits.ipm) if count is not None]
    return stamp(now - timedelta(seconds=max(spans_s))) if max(spans_s) else None


def recall(
    history: History, limiter: Limiter, now: datetime, shard: Shard | None = None
) -> Decimal:
    """Let the limits know, once, of what left in earlier runs; return what was spent today.

    Of a shard, see `Parted`.
    """
    today, spent_usd = day_of(now), Decimal(0)
    departed = sorted(history.recent, key=lambda past: past.at)
    parted = None if shard is None else Parted.of(history, shard)
    for past in departed if parted is None else parted.dealt(departed):
        at = datetime.fromisoformat(past.at)
        limiter.recall(past.model, at, Demand(past.input_tokens, past.usd))
    for past in departed:
        # What seems to be of a later day left before the clock was set back.
        if day_of(datetime.fromisoformat(past.at)) >= today:
            usd = past.usd or Decimal(0)
            spent_usd += usd if parted is None else parted.usd(past, usd)
    history.since = None
    history.recent.clear()
    return spent_usd


@dataclass(frozen=True, slots=True)
class Parted:
    """What of earlier runs counts for one shard, so that all of them count everything once.

    What was sent up to the last run that was no shard of this job is shared by all alike; of what
    came after it, each counts its own.

    Attributes:
        until: The last run of the whole job, or of other parts of it.
        own: The shard's own runs.
    """

    shard: Shard
    until: str
    own: frozenset[str]

    @classmethod
    def of(cls, history: History, shard: Shard) -> Self:
        """By the runs that the ledger knows."""
        parts = {run_id: Shard.read(run.shard or "") for run_id, run in history.runs.items()}
        others = (one for one, part in parts.items() if part is None or part.total != shard.total)
        own = frozenset(run_id for run_id, part in parts.items() if part == shard)
        return cls(shard, max(others, default=""), own)

    def dealt(self, departed: Sequence[Departed]) -> Iterator[Departed]:
        """The requests that count; shared ones are dealt out from the newest on, model by model.

        All shards have the newest in common, however far back each of them looks.
        """
        n_dealt: Counter[str] = Counter()
        for past in reversed(departed):
            if past.run_id in self.own and past.run_id > self.until:
                yield past
            elif past.run_id <= self.until:
                if n_dealt[past.model] % self.shard.total == self.shard.number - 1:
                    yield past
                n_dealt[past.model] += 1

    def usd(self, past: Departed, usd: Decimal) -> Decimal:
        """What of the cost of a request counts: its share is rounded up."""
        if past.run_id <= self.until:
            return (usd / self.shard.total).quantize(_MICRO_USD, ROUND_UP)
        return usd if past.run_id in self.own else Decimal(0)
