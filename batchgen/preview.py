"""What a run would do now, and why: read, and nothing more.

preview            the job, the earlier runs, and the plan that follows from them
  └── _Foresight   what becomes of each item, counted

It needs no key, sends nothing, takes no lock, and writes nothing but a draft of the expanded job,
which lies elsewhere and goes away again. So it may be asked at any time, also while a run goes on.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal, TypeAlias, Unpack

import msgspec

from batchgen.access import choose_provider
from batchgen.clock import Clock
from batchgen.cost import PriceBook
from batchgen.dependencies import Lineage, trace
from batchgen.errors import store_errors
from batchgen.forecast import forecast
from batchgen.intake import Intake
from batchgen.manifest import Manifest, open_manifest
from batchgen.model import Item, Outcome
from batchgen.options import (
    RunOptions,
    check_options,
    choose_output,
    read_budget,
    read_choice,
    read_limits,
)
from batchgen.plan import (
    Agenda,
    Reason,
    Redo,
    Settled,
    Skip,
    Step,
    Todo,
    Twin,
    find_overwriting,
    refuse_to_overwrite,
)
from batchgen.pricing import choose_book
from batchgen.recovery import look_at_past
from batchgen.references import ReferenceLibrary
from batchgen.search import Search
from batchgen.selection import Selection
from batchgen.store.broken import Broken
from batchgen.store.expanded import read_items, read_parents
from batchgen.store.history import History, Name, turn_names
from batchgen.store.layout import Layout
from batchgen.store.receipts import load_receipt

MAX_NAMED: Final = 10

# What becomes of an item: why something is sent for it, or why nothing is.
Fate: TypeAlias = (
    Reason
    | Literal[
        "unfetched", "received", "done", "filed", "shared", "settled", "skipped", "beyond_limit"
    ]
)
TO_MAKE: Final[tuple[Fate, ...]] = (
    *("new", "pending", "failed", "file_missing", "forced", "marked", "unfetched", "waiting"),
)
LEFT_ALONE: Final[tuple[Fate, ...]] = (
    *("done", "filed", "shared", "received", "settled", "skipped", "beyond_limit"),
)


class Group(msgspec.Struct, kw_only=True):
    """So many items, and the ids of the first of them."""

    count: int = 0
    ids: list[str] = []

    def add(self, item: Item) -> None:
        """Count one more."""
        self.count += 1
        if len(self.ids) < MAX_NAMED:
            self.ids.append(item.id)


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What a run would do now.

    Attributes:
        directory: The job's; there is none before the first run.
        last_run_id: The last run that was there.
        n_items: Selected items, whatever becomes of them.
        n_to_make: Those for which something would be sent.
        to_make, left_alone: Items by why they are made, and by why they are not.
        by_model: Items to make.
        planned_usd: What they should cost, as a run tells it when it begins; None where that is
            not known.
        n_addresses: Addresses that items refer to. They count as they were when they were last
            fetched; a run fetches them anew.
        n_unfinished: Requests that left and have no outcome yet: of a run that goes on, or that
            was killed.
    """

    v: int = 1
    job: str
    directory: str
    last_run_id: str | None
    n_items: int
    n_to_make: int
    to_make: dict[Fate, Group]
    left_alone: dict[Fate, Group]
    by_model: dict[str, int]
    planned_usd: Decimal | None
    n_addresses: int
    n_unfinished: int


def preview(
    job: str | Path,
    *,
    warn: Callable[[str], None],
    clock: Clock | None = None,
    **options: Unpack[RunOptions],
) -> Preview:
    """Tell what a run with these options would do now.

    Args:
        job: The job file.
        warn: Told of what may be wrong with the job, and of the ledger's lines that are none.
        clock: Its day is that of the prices.
        options: As for a run; those that only say how it goes are checked all the same.

    Raises:
        UsageError: A run would refuse these options, or to write over another item's picture.
        JobError: The job has errors; all of them are in `problems`.
        StoreError: The disk failed, or a newer batchgen wrote to the directory.
    """
    check_options(options)
    clock = clock or Clock()
    manifest = open_manifest(Path(job))
    choose_provider(manifest.settings.provider, options.get("provider"), options.get("base_url"))
    parent = choose_output(options.get("output"), Path(job), manifest.name)
    layout = Layout(parent / manifest.name)
    with store_errors(Path("the directory for temporary files")):
        aside = TemporaryDirectory(prefix="batchgen-")
    with aside as place:
        intake = Intake(
            manifest, ReferenceLibrary(layout.references), Path(place) / "items.jsonl", _go_on
        )
        book = choose_book(
            options.get("prices"), manifest.settings.prices, lambda told: warn(f"warning: {told}")
        )
        is_bound = _needs_prices(manifest, options, clock)
        intake.read(model=options.get("model"), book=book if is_bound else None)
        for warning in intake.warnings():
            warn(warning)
        intake.recall()
        return _look(intake, layout, book, clock, warn, options)


def _go_on() -> None:
    """Nothing asks to stop but Ctrl-C, which is heard anywhere."""


def _needs_prices(manifest: Manifest, options: RunOptions, clock: Clock) -> bool:
    """Whether a run with these options would refuse a model without a price."""
    settings = manifest.settings
    limits = read_limits(settings.limits, options)
    budget = read_budget(settings.budget, options, clock)
    return replace(settings, limits=limits, budget=budget).needs_prices


def _look(
    intake: Intake,
    layout: Layout,
    book: PriceBook,
    clock: Clock,
    warn: Callable[[str], None],
    options: RunOptions,
) -> Preview:
    """Hold the job that was read against what earlier runs did."""
    items = partial(read_items, intake.draft)
    redo, selection = read_choice(options, layout)
    history = look_at_past(layout, lambda told: warn(f"warning: {told}"))
    search = _search(intake, layout, history, selection, options)
    filings = [] if redo.done else search.filings()
    filed = frozenset(one.name for one in filings)
    vacated = {one.vacates for one in filings}
    refuse_to_overwrite(
        find_overwriting(
            search.marked_items,
            history,
            layout,
            redo,
            wanted=search.wanted,
            filed={item_id for item_id, _ in filed},
            vacated=vacated,
        )
    )
    agenda = Agenda(
        items(),
        history,
        layout.root,
        redo,
        read_parents(intake.draft),
        marks=selection.marks(items),
        twins=intake.twins,
        broken=Broken.read(layout.broken),
    )
    foresight = _Foresight.of(history, layout, redo, options.get("limit"))
    foresight.filed = filed
    told = forecast(
        foresight.to_make(agenda.foreseen()),
        history,
        book,
        at=clock.stamp(),
        is_anew=redo.done,
    )
    return Preview(
        job=intake.manifest.name,
        directory=str(layout.root),
        last_run_id=max(history.runs, default=None),
        n_items=sum(group.count for group in foresight.groups.values()),
        n_to_make=told.n_todo,
        to_make=foresight.named(TO_MAKE),
        left_alone=foresight.named(LEFT_ALONE),
        by_model=dict(told.todo_by_model.most_common()),
        planned_usd=told.planned_usd,
        n_addresses=intake.n_addresses,
        n_unfinished=len(history.unfinished),
    )


def _search(
    intake: Intake, layout: Layout, history: History, selection: Selection, options: RunOptions
) -> Search:
    """Looks for the pictures that are there for items that look as if they had none."""
    items = partial(read_items, intake.draft)
    lineage = Lineage(read_parents(intake.draft), layout.root)
    trace(lineage, items(), history)

    def marked_items() -> Iterator[tuple[Item, bool]]:
        return zip(map(lineage.resolved, items()), selection.marks(items), strict=True)

    any_model = "model" in options.get("ignore_change", ())
    broken = Broken.read(layout.broken)
    return Search(layout, history, marked_items, broken, any_model=any_model)


@dataclass(slots=True)
class _Foresight:
    """What becomes of the items of a plan, as far as it can be told before anything is done.

    Attributes:
        received: What was answered, wholly, to a run that was killed before it could say so.
        interrupted: What left and was not answered, to this day.
        limit: No more items than these are made.
        is_anew: What is done is made again.
        filed: Items whose picture is there under another name.
    """

    received: frozenset[Name]
    interrupted: frozenset[Name]
    limit: int | None
    is_anew: bool
    filed: frozenset[Name] = frozenset()
    groups: dict[Fate, Group] = field(default_factory=dict)
    _n_to_make: int = 0

    @classmethod
    def of(cls, history: History, layout: Layout, redo: Redo, limit: int | None) -> "_Foresight":
        """Look at what earlier runs did not live to write down."""
        left = history.unfinished.values()
        whole = {sent.call for sent in left if load_receipt(layout.parts, sent) is not None}
        names = {sent.call: (sent.item, sent.key) for sent in left}
        received = frozenset(names[call] for call in whole)
        interrupted = frozenset(names.values()) - received
        return cls(received, interrupted, limit, is_anew=redo.done)

    def to_make(self, steps: Iterable[Step]) -> Iterator[Todo]:
        """Count each step, and pass on those for which something would be sent."""
        for step in steps:
            fate = self._fate(step)
            self.groups.setdefault(fate, Group()).add(step.item)
            if isinstance(step, Todo) and fate in TO_MAKE:
                self._n_to_make += 1
                yield step

    def named(self, fates: Iterable[Fate]) -> dict[Fate, Group]:
        """Those of these groups that there are."""
        return {fate: self.groups[fate] for fate in fates if fate in self.groups}

    def _fate(self, step: Step) -> Fate:
        match step:
            case Settled(_, last):
                if last.decision == "skipped":
                    return "skipped"
                return "done" if last.outcome is Outcome.IMAGE else "settled"
            case Skip():
                return "skipped"
            case Twin():
                return "beyond_limit" if self._is_at_limit else "shared"
            case Todo(item) if (item.id, item.key) in self.filed:
                return "filed"
            case Todo():
                return self._why(step)

    @property
    def _is_at_limit(self) -> bool:
        return self.limit is not None and self._n_to_make >= self.limit

    def _why(self, todo: Todo) -> Fate:
        """Why something is sent for an item, unless it need not be, or is left for another run."""
        is_received = (todo.item.id, todo.item.key) in self.received
        match todo:
            case _ if is_received and not self.is_anew:
                return "received"
            case _ if self._is_at_limit:
                return "beyond_limit"
            case Todo(_, "waiting"):
                return "waiting"
            case Todo(item) if _is_unfetched(item):
                return "unfetched"
            case Todo(item, "new") if not self.interrupted.isdisjoint(turn_names(item)):
                return "pending"
            case Todo(_, "new") if is_received:
                return "forced"
            case Todo(_, reason):
                return reason


def _is_unfetched(item: Item) -> bool:
    """Whether what an item asks for depends on bytes that nobody has fetched yet."""
    return any(ref.url is not None and ref.sha256 is None for ref in item.all_references)
