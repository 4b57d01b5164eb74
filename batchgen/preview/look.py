"""The job and the earlier runs, and the plan that follows from them.

It needs no key, sends nothing, takes no lock, and writes nothing but a draft of the expanded job,
which lies elsewhere and goes away again. So it may be asked at any time, also while a run goes on.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self, Unpack

import msgspec

from batchgen.access import choose_provider
from batchgen.clock import Clock
from batchgen.dependencies import Lineage, trace
from batchgen.errors import store_errors
from batchgen.forecast import forecast
from batchgen.forecast.experience import Experience, read_experience
from batchgen.forecast.figures import Figures
from batchgen.forecast.turns import Grounds
from batchgen.foresight import warnings_ahead
from batchgen.intake import Intake
from batchgen.manifest import open_manifest
from batchgen.mirror.reading import open_place
from batchgen.mirror.remote import Remote
from batchgen.model import Item
from batchgen.options import (
    RunOptions,
    check_options,
    choose_place,
    chosen_shard,
    needs_prices,
    read_choice,
    read_limits,
)
from batchgen.plan import Agenda, Redo, find_overwriting, refuse_to_overwrite
from batchgen.preview.changes import Changes
from batchgen.preview.foresight import LEFT_ALONE, TO_MAKE, Fate, Foresight, Group, Left
from batchgen.preview.orphans import Orphans
from batchgen.pricing import choose_book
from batchgen.recovery import look_at_past
from batchgen.references import ReferenceLibrary
from batchgen.search import Filing, Search
from batchgen.selection import NO_GROUPS, Selection
from batchgen.store.broken import Broken
from batchgen.store.expanded import read_groups, read_ids, read_items, read_parents
from batchgen.store.former import Former, open_former
from batchgen.store.history import History, final_image
from batchgen.store.layout import Layout
from batchgen.store.ledger import Line
from batchgen.wording import counted


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What a run would do now.

    Attributes:
        directory: The job's; there is none before the first run.
        last_run_id: The last run that was there.
        n_items: Selected items, whatever becomes of them.
        n_to_make: Those for which something would be sent.
        to_make, left_alone: Items by why they are made, and by why they are not.
        orphaned: Items of the last run whose pictures stay where they are, though the job has them
            no more.
        written_over: The same, but that another item's picture will lie there.
        by_model: Items to make.
        planned_usd: What they should cost, as a run tells it when it begins; None where that is
            not known.
        figures: Tokens, money and time that they should take, low, expected and high; None where
            nothing is to be sent.
        n_addresses: Addresses that items refer to. They count as they were when they were last
            fetched; a run fetches them anew.
        n_unfinished: Requests that left and have no outcome yet: of a run that goes on, or that
            was killed.
        warnings: What may be wrong with the job, and what a run would warn of; a line each.
    """

    v: int = 1
    job: str
    directory: str
    last_run_id: str | None
    n_items: int
    n_to_make: int
    to_make: dict[Fate, Group]
    left_alone: dict[Fate, Group]
    orphaned: Group
    written_over: Group
    by_model: dict[str, int]
    planned_usd: Decimal | None
    figures: Figures | None
    n_addresses: int
    n_unfinished: int
    warnings: list[str] = []


def preview(
    job: str | Path,
    *,
    warn: Callable[[str], None],
    clock: Clock | None = None,
    histories: Sequence[Path] = (),
    **options: Unpack[RunOptions],
) -> Preview:
    """Tell what a run with these options would do now.

    Args:
        job: The job file.
        warn: Told of what may be wrong with the job, and of the ledger's lines that are none.
        clock: Its day is that of the prices.
        histories: Directories of other jobs, for what this one has no experience with.
        options: As for a run; those that only say how it goes are checked all the same.

    Raises:
        UsageError: A run would refuse these options, or to write over another item's picture; or
            there is no ledger in one of the other directories.
        JobError: The job has errors; all of them are in `problems`.
        StoreError: The disk failed, or a newer batchgen wrote to the directory.
    """
    check_options(options)
    warnings: list[str] = []

    def tell(warning: str) -> None:
        warnings.append(warning)
        warn(warning)

    found = _previewed(Path(job), tell, clock or Clock(), histories, options)
    return msgspec.structs.replace(found, warnings=warnings)


def _previewed(
    job: Path,
    warn: Callable[[str], None],
    clock: Clock,
    histories: Sequence[Path],
    options: RunOptions,
) -> Preview:
    """Read, look and plan; see `preview`."""
    own, others = Experience(), read_experience(histories) if histories else None
    manifest = open_manifest(job)
    choose_provider(manifest.settings.provider, options.get("provider"), options.get("base_url"))
    root, address = choose_place(options.get("output"), job, manifest.name)
    with store_errors(Path("the directory for temporary files")):
        aside = TemporaryDirectory(prefix="batchgen-")
    with aside as place, ExitStack() as stack:
        layout = Layout(root, chosen_shard(options))
        references = ReferenceLibrary(layout.references)
        if address is not None:
            layout = stack.enter_context(open_place(Path(str(address))))
        intake = Intake(manifest, references, Path(place) / "items.jsonl", _go_on)
        book = choose_book(options.get("prices"), manifest.settings.prices, warn)
        is_bound = needs_prices(manifest.settings, options, clock)
        today = clock.now().date()
        intake.read(model=options.get("model"), book=book if is_bound else None, on=today)
        for warning in intake.warnings():
            warn(warning)
        intake.recall()
        former = stack.enter_context(open_former(_last_items(layout)))
        _tell_of_unreadable(former, warn)
        look = _Look.at(intake, layout, former, warn, options, observe=own.take)
        limits = read_limits(manifest.settings.limits, options)
        parents = read_parents(intake.draft)
        found = look.told(Grounds(book, clock.stamp(), own, limits, others, parents))
        disk = layout.root if address is None else None
        for warning in warnings_ahead(found.by_model, found.figures, book, disk, today):
            warn(f"warning: {warning}")
        return found


def _last_items(layout: Layout) -> Path:
    """The job as the last run had it: of a shard that was never run, as all of them had it."""
    return layout.items if layout.items.is_file() else Layout(layout.root).items


def _shown(layout: Layout) -> str:
    away = layout.away
    return away.address if isinstance(away, Remote) else str(layout.root)


def _go_on() -> None:
    """Nothing asks to stop but Ctrl-C, which is heard anywhere."""


def _tell_of_unreadable(former: Former, warn: Callable[[str], None]) -> None:
    if former.n_unreadable:
        lines = counted(former.n_unreadable, "line")
        warn(f"warning: {lines} of {former.path} cannot be read: what changed there is not told")


@dataclass(frozen=True, slots=True)
class _Look:
    """The job that was read, held against what earlier runs did.

    Attributes:
        former: The job of the last run.
        lineage: Who builds on whom, with the pictures of those that are done.
    """

    intake: Intake
    layout: Layout
    history: History
    former: Former
    lineage: Lineage
    redo: Redo
    selection: Selection
    limit: int | None
    any_model: bool
    broken: Broken
    groups: Mapping[str, str]

    @classmethod
    def at(
        cls,
        intake: Intake,
        layout: Layout,
        former: Former,
        warn: Callable[[str], None],
        options: RunOptions,
        *,
        observe: Callable[[Line], None],
    ) -> Self:
        """Read what earlier runs did; `observe` is told of each line of theirs."""
        redo, selection = read_choice(options, layout)
        history = look_at_past(layout, lambda told: warn(f"warning: {told}"), observe=observe)
        lineage = Lineage(read_parents(intake.draft), layout.root)
        any_model = "model" in options.get("ignore_change", ())
        broken = Broken.read(layout.broken)
        choice = (redo, selection, options.get("limit"), any_model)
        groups = (
            NO_GROUPS
            if selection.shard is None
            else read_groups(intake.draft, read_parents(intake.draft), intake.twins)
        )
        look = cls(intake, layout, history, former, lineage, *choice, broken, groups)
        trace(lineage, look.items(), history)
        return look

    def items(self) -> Iterator[Item]:
        """The items of the job."""
        return read_items(self.intake.draft)

    def marked_items(self) -> Iterator[tuple[Item, bool]]:
        """The items by all that is known of what they build on, each with whether it is wanted."""
        return self.selection.marked(lambda: map(self.lineage.resolved, self.items()), self.groups)

    def told(self, grounds: Grounds) -> Preview:
        """Plan, and count."""
        search = Search(
            self.layout, self.history, self.marked_items, self.broken, any_model=self.any_model
        )
        filings = [] if self.redo.done else self._filings(search)
        self._refuse_to_overwrite(search, filings)
        foresight = self._foresight(filings)
        cost = forecast(
            foresight.to_make(self._agenda()),
            self.history,
            grounds,
            is_anew=self.redo.done,
            foregone=frozenset(one.name for one in filings),
        )
        return Preview(
            job=self.intake.manifest.name,
            directory=_shown(self.layout),
            last_run_id=max(self.history.runs, default=None),
            n_items=sum(group.count for group in foresight.groups.values()),
            n_to_make=cost.n_todo,
            to_make=foresight.named(TO_MAKE),
            left_alone=foresight.named(LEFT_ALONE),
            orphaned=Group.of(foresight.orphans.kept),
            written_over=Group.of(foresight.orphans.written_over),
            by_model=dict(cost.todo_by_model.most_common()),
            planned_usd=cost.planned_usd,
            figures=cost.figures,
            n_addresses=self.intake.n_addresses,
            n_unfinished=len(self.history.unfinished),
        )

    def _filings(self, search: Search) -> list[Filing]:
        """Pictures that belong elsewhere now, those of items that build on renamed ones as well."""
        while True:
            filings = search.filings()
            if not self._learns_of(filings):
                return filings
            trace(self.lineage, self.items(), self.history)

    def _learns_of(self, filings: Iterable[Filing]) -> bool:
        """Whether there is a picture among these on which an item builds, and is not known yet."""
        is_new = False
        for one in filings:
            item_id, pictures = one.name[0], self.lineage.pictures
            if self.lineage.is_parent(item_id) and item_id not in pictures:
                past = self.history.past(one.source)
                made = None if past is None or past.made is None else final_image(past.made.images)
                if made is not None:
                    pictures[item_id] = made
                    is_new = True
        return is_new

    def _refuse_to_overwrite(self, search: Search, filings: Sequence[Filing]) -> None:
        refuse_to_overwrite(
            find_overwriting(
                self.marked_items,
                self.history,
                self.layout,
                self.redo,
                wanted=search.wanted,
                filed={one.name[0] for one in filings},
                vacated={one.vacates for one in filings},
            )
        )

    def _agenda(self) -> Agenda:
        return Agenda(
            self.selection.marked(self.items, self.groups),
            self.history,
            self.layout.root,
            self.redo,
            read_parents(self.intake.draft),
            twins=self.intake.twins,
            broken=self.broken,
            shelf=self.layout.shelf,
        )

    def _foresight(self, filings: Sequence[Filing]) -> Foresight:
        former, history, layout = self.former, self.history, self.layout
        ids = read_ids(self.intake.draft)
        return Foresight(
            history,
            Left.behind(history, layout),
            self.limit,
            is_anew=self.redo.done,
            filings={one.name: one for one in filings},
            changes=Changes(former, history, layout, self.lineage),
            orphans=Orphans.find(former, ids, history, layout, filings),
        )
