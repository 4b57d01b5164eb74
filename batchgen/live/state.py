"""What is known of a job at this moment, and which of its cards changed when.

A line of the ledger costs the same however many items there are: what it says of its item, that
item's card, and those of the items that build on it. Only the beginning, and a run that is about a
part of the job, take a pass over all items.
"""

import weakref
from collections import deque
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass

import msgspec
from markupsafe import Markup

from batchgen.acceptance import why_final_differs
from batchgen.clock import Clock
from batchgen.dependencies import read_lineage
from batchgen.errors import UsageError
from batchgen.live.alive import Liveness
from batchgen.live.counts import Counted, Counts, group, totals
from batchgen.live.deck import Deck
from batchgen.live.figures import Median, Moment, RunFigures, run_figures
from batchgen.live.follow import Follower
from batchgen.live.items import Items
from batchgen.live.marks import Marks
from batchgen.live.pace import Pace
from batchgen.model import Attempt, Item, Result
from batchgen.report.cards import Card, Cards
from batchgen.report.charts.charts import charts, figures
from batchgen.report.charts.series import RunSeries
from batchgen.report.last_run import LastRun, summary_of
from batchgen.report.page import MAX_SHOWN, Shown
from batchgen.report.past import LedgerRuns, last_runs, last_with_calls
from batchgen.report.standing import result_of
from batchgen.report.summary import ItemTotals, Summary, WholeJob
from batchgen.report.trail import Trail
from batchgen.store.expanded import read_parents
from batchgen.store.history import History, final_image
from batchgen.store.layout import Layout
from batchgen.store.ledger import End, Filed, Line, Run, Sent
from batchgen.store.shards import gather_items


@dataclass(frozen=True, slots=True)
class Setting:
    """What a state needs besides the files.

    Attributes:
        max_shown: How many items are shown.
        thumbnails: The SHA-256 of the pictures that have one; None if one is made for who asks.
        go_on: Called often while all is read; what it raises ends that.
    """

    clock: Clock
    max_shown: int = MAX_SHOWN
    thumbnails: Container[str] | None = None
    go_on: Callable[[], None] = lambda: None


class State:
    """What the ledger and `items.jsonl` of a directory say, kept up to date by `poll`.

    Attributes:
        first_seq: The number of this state before anything changed.
        deck: The cards.

    Cost: for each item about 260 bytes, the index of the ledger included, and a twentieth of a
    millisecond at the beginning; for each of at most 20,000 that are shown its calls, half a
    kilobyte each, and what the deck takes.
    """

    def __init__(self, layout: Layout, setting: Setting, first_seq: int) -> None:
        """Read everything.

        Raises:
            UsageError: There is no run in the directory.
            LedgerReplaced: Another ledger was put there meanwhile.
            StoreError: A file cannot be read, or is of a newer batchgen.
        """
        gather_items(layout)
        if layout.items.exists() and not layout.segments:  # before a million items are read
            raise UsageError(f"{layout.root} holds no run: its ledger is empty")
        self.first_seq = first_seq
        self._layout, self._setting = layout, setting
        self._history, self._last_run, self._pace = History(), LastRun(), Pace()
        self._series, self._runs = RunSeries(), LedgerRuns()
        self._median = Median()
        self._marks = Marks(layout.review)
        self._items = Items(layout.items, setting.go_on)
        self._names: dict[str, list[str]] = {}
        for name, parent in read_parents(layout.items).items():
            self._names.setdefault(parent, []).append(name)
        self._follower = Follower(layout.ledger, setting.go_on)
        self._read_ledger()
        self._lineage = read_lineage(layout, self._history)
        self._counts = Counts(len(self._items))
        self._select()
        self._deal(self._choose())
        self._take_marks()
        self._liveness = Liveness(layout.lock, setting.clock.monotonic_s)
        self._liveness.begin(self._last_run.run_ids, is_ended=self._end is not None)

    def _read_ledger(self) -> None:
        for path, begins, line in self._follower.lines():
            self._apply(line, self._history.place_in(path, begins))
        if not self._history.runs:
            raise UsageError(f"{self._layout.root} holds no run: its ledger is empty")

    def _deal(self, shown: dict[str, int]) -> None:
        """Make ready what is needed to make the cards of these items."""
        self._trail = Trail(shown)
        for line in self._follower.again():
            self._trail.take(line)
        marks, thumbnails = self._marks.valid, self._setting.thumbnails
        self._cards = Cards(self._layout, self._history, self._trail, marks, thumbnails)
        me = weakref.proxy(self)
        self.deck = Deck(
            lambda number: me.card(number),  # noqa: PLW0108 - a bound method would keep all alive
            self._trail.forget,
            self._layout.root.resolve(),
            self._setting.max_shown,
            self.first_seq,
            shown,
        )

    # --- what changes ---------------------------------------------------------------------------

    def is_replaced(self) -> bool:
        """Whether the items are those of another job by now.

        Raises:
            StoreError: The disk failed, or there are none any more.
        """
        gather_items(self._layout)
        path = self._layout.items
        return self._items.has_moved(path) and not self._items.is_same_as(path)

    def poll(self) -> None:
        """Take whatever is new.

        Raises:
            LedgerReplaced: Another ledger is there.
            StoreError: A file cannot be read, or is of a newer batchgen.
        """
        has_grown = False
        for path, begins, line in self._follower.lines():
            has_grown = True
            self._take(line, self._history.place_in(path, begins))
        self._take_marks()
        is_ended = self._end is not None
        if self._liveness.look(self._last_run.run_ids, is_ended=is_ended, has_grown=has_grown):
            self._touch_what_is_under_way()

    @property
    def trouble(self) -> list[str]:
        """What a person should know, and that stops nothing."""
        told = [
            f"the ledger has a line that cannot be read: {at}" for at in self._follower.unreadable
        ]
        return told if self._marks.trouble is None else [*told, self._marks.trouble]

    def _take(self, line: Line, place: int) -> None:
        if self._history.knows(line):
            return
        is_other_run = line.run_id not in self._last_run.run_ids
        self._apply(line, place)
        match line:
            case Run():
                if is_other_run:  # and no further segment of the same one
                    self._select()
                    self._touch_what_is_under_way()  # and is so no more
            case Sent() | Attempt() | Filed():
                self._take_of_item(line)
            case End():
                pass

    def _apply(self, line: Line, place: int) -> None:
        if self._history.knows(line):
            return
        self._last_run.take(line, self._history)
        self._history.apply(line, place)
        self._pace.take(line)
        self._series.take(line)
        self._runs.take(line)

    def _take_of_item(self, line: Sent | Attempt | Filed) -> None:
        number = self._items.number(line.item)
        if number is None:
            return
        self.deck.show(line.item, number)
        self._trail.take(line)
        if isinstance(line, Sent):
            self.deck.touch(line.item, number)
            return
        self._restand(number)
        # Who gave a picture up has its cost no more.
        if isinstance(line, Filed) and line.made.item != line.item:
            giver = self._items.number(line.made.item)
            if giver is not None:
                self._restand(giver)

    def _select(self) -> None:
        run = self.run
        marks = None
        if not run.selection.is_whole:
            marked = run.selection.marked(lambda: iter(self._items))
            marks = (is_selected for _, is_selected in marked)
        self._counts.begin(marks, run.limit)

    def _restand(self, number: int) -> None:
        """Find out anew where an item stands, and all that builds on it."""
        waiting = deque([number])
        while waiting:
            one = waiting.popleft()
            item, result = self._standing(one)
            self._count(one, item, result)
            self._marks.judge(result)
            self.deck.touch(item.id, one)
            if self._lineage.is_parent(item.id) and self._has_other_picture(item, result):
                waiting.extend(self._children(item.id))

    def _standing(self, number: int) -> tuple[Item, Result]:
        item = self._lineage.resolved(self._items.item(number))
        return item, result_of(item, self._history.standing(item))

    def _count(self, number: int, item: Item, result: Result) -> None:
        is_wrong_size = why_final_differs(item, result.images) is not None
        self._counts.put(number, result, self._last_run.run_ids, is_wrong_size=is_wrong_size)

    def _has_other_picture(self, item: Item, result: Result) -> bool:
        """Note the picture that others build on; whether it is another one than before."""
        pictures = self._lineage.pictures
        before = pictures.pop(item.id, None)
        has_all = all(parent in pictures for parent in self._lineage.parents(item))
        now = final_image(result.images) if result.status == "done" and has_all else None
        if now is not None:
            pictures[item.id] = now
        return now != before

    def _children(self, item_id: str) -> Iterator[int]:
        for name in self._names.get(item_id, ()):
            yield from self._items.children.get(name, ())

    def _take_marks(self) -> None:
        for item_id in self._marks.changed():
            if (number := self._items.number(item_id)) is not None:
                self._marks.judge(self._standing(number)[1])
                self.deck.touch(item_id, number)

    def _touch_what_is_under_way(self) -> None:
        for sent in self._history.unfinished.values():
            if (number := self._items.number(sent.item)) is not None:
                self.deck.touch(sent.item, number)

    # --- which items are shown ------------------------------------------------------------------

    def _choose(self) -> dict[str, int]:
        """Find out where all items stand, and choose those that a page shows.

        What failed stands last: the first make room for others.
        """

        def results() -> Iterator[Result]:
            for number in range(len(self._items)):
                self._setting.go_on()
                item, result = self._standing(number)
                self._count(number, item, result)
                yield result

        ids = Shown.of(results(), self._setting.max_shown).ids
        numbers = ((item_id, self._items.number(item_id)) for item_id in ids)
        found = [(item_id, number) for item_id, number in numbers if number is not None]
        found.sort(key=lambda one: (self._counts.status(one[1]) in {"failed", "skipped"}, one[1]))
        return dict(found)

    # --- what is shown --------------------------------------------------------------------------

    @property
    def run(self) -> Run:
        """The last run."""
        return self._last_run.run(self._history.ends)[0]

    @property
    def is_alive(self) -> bool:
        """Whether the last run is going on."""
        return self._liveness.is_alive

    @property
    def _end(self) -> End | None:
        return self._last_run.run(self._history.ends)[1]

    def card(self, number: int) -> Card:
        """The card of an item by its place in the job, as it is now."""
        item, result = self._standing(number)
        card = self._cards.card(number, item, result)
        sent = self._trail.under_way(item.id)
        is_of_it = sent is not None and sent.run_id in self._last_run.run_ids
        if is_of_it and self._liveness.is_alive:
            return msgspec.structs.replace(card, is_under_way=True)
        return card

    def result(self, item_id: str) -> Result | None:
        """Where an item stands; None if there is none of that id."""
        number = self._items.number(item_id)
        if number is None:
            return None
        item, result = self._standing(number)
        return result if item.id == item_id else None

    def results(self) -> Iterator[Result]:
        """Where all items stand, in the order of the job."""
        return (self._standing(number)[1] for number in range(len(self._items)))

    def summary(self) -> Summary:
        """The figures of the last run as `summary.json` has them, but not what is different."""
        items = self._totals(self._counts.of_run())
        return summary_of(self.run, self._end, self._last_run, items)

    def whole(self) -> WholeJob:
        """Where all items of the job stand, whichever of them the last run is about."""
        counted = self._totals(self._counts.of_job())
        counted.models.update(self._items.models)
        return counted.whole

    def _totals(self, counted: list[Counted]) -> ItemTotals:
        """Counts with the groups of failures, each of which has an item as its example."""
        items = totals(counted)
        for outcome, count, first in self._counts.failures(counted):
            items.failures[outcome] = group(outcome, count, self._standing(first)[1])
        return items

    def drawn(self, summary: Summary) -> tuple[Markup, str]:
        """The charts of the last run that sent anything, and which it is.

        Args:
            summary: Of the last run.
        """
        runs = self._layout.runs
        last = last_with_calls(runs, summary, self._series.run_id)
        is_going_on = self.is_alive and last.run_id == self.run.run_id
        now = self._setting.clock.now() if is_going_on else None
        past = last_runs(runs, self._runs.points)
        return figures(charts(last, self._series, past, now=now)), last.run_id

    def figures(self) -> RunFigures:
        """The figures of the last run at this moment."""
        end, is_alive, calls = self._end, self._liveness.is_alive, self._last_run.totals
        marks = [mark.mark for mark in self._marks.valid.values()]
        moment = Moment(
            now=self._setting.clock.now(),
            run=self.run,
            end=end,
            is_alive=is_alive,
            n_in_flight=self._n_in_flight(),
            n_left=self._n_left(),
            n_kept=marks.count("keep"),
            n_redo=marks.count("redo"),
        )
        p50_s = self._median.of(calls, is_over=not is_alive)
        return run_figures(moment, totals(self._counts.of_job()).counts, calls, self._pace, p50_s)

    def _n_left(self) -> int:
        """How many items the last run has yet to end."""
        n_left, limit = self._counts.n_left, self.run.limit
        return n_left if limit is None else min(n_left, max(0, limit - self._pace.n_ends))

    def _n_in_flight(self) -> int:
        if not self._liveness.is_alive:
            return 0
        run_ids = self._last_run.run_ids
        return sum(sent.run_id in run_ids for sent in self._history.unfinished.values())
