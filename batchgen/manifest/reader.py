"""A whole job: its settings, and its items as a stream, with every problem and its place.

    source.items()      what is written for each item
      └── expand        each × matrix − exclude, templates filled
            └── items   checked, defaults merged, files examined, key worked out
                  └── copies      count

What needs the whole job (ids that are there twice, equal items, items that build on items) is
found by a second reading, and only where the first one left eight-byte marks that call for it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from batchgen.cost import PriceBook
from batchgen.errors import MAX_SHOWN_PROBLEMS
from batchgen.manifest.comparison import Comparison, Entry, Marks
from batchgen.manifest.expand import EXPANSION, BadRow, Draft, Expansion
from batchgen.manifest.fields import Checker, shown
from batchgen.manifest.items import FIELDS, ItemReader, copies
from batchgen.manifest.nodes import Place
from batchgen.manifest.output_name import OutputName
from batchgen.manifest.problems import Problems, written_id
from batchgen.manifest.reference_files import Files, References
from batchgen.manifest.shapes import Line, Shapes, usual_fields
from batchgen.manifest.sources import (
    Source,
    Unreadable,
    UsualLine,
    Written,
    open_source,
    report_head,
)
from batchgen.manifest.tables import Tables
from batchgen.model import Item
from batchgen.objects import address_of
from batchgen.sanitize import Secrets
from batchgen.seen import Seen

# Something that was read, and the items that came of it.
_Read: TypeAlias = tuple[Entry, Sequence[Item]]

# So much of what items say is looked through at once.
_BLOCK_BYTES: Final = 1 << 16
_BACKSLASH: Final = ord("\\")


class Manifest:
    """An opened job.

    Reading its items once finds every problem; only a job whose items have been read to their end
    without an error may be run.

    Attributes:
        path: The file, as the user named it.
        settings: The head of the job.
        problems: What has been found so far.
        n_items: Items read so far, bad ones included.
        keys: Hashes of their content keys.
    """

    def __init__(self, source: Source, problems: Problems) -> None:
        """Take a source; its head has been read."""
        self.path = source.path
        self.settings = source.settings
        self.problems = problems
        self.n_items = 0
        self.keys = Seen()
        self._source = source
        self._tables = Tables(self._base)
        self._is_incomplete = False
        self._secrets: Secrets | None = None

    @property
    def name(self) -> str:
        """The job's name; the file's stem unless it says otherwise."""
        return self.settings.name or self.path.stem

    @property
    def sha256(self) -> str:
        """Of what was read, once it has been; by now the file may be another one."""
        return self._source.version.sha256

    def items(
        self,
        references: References,
        *,
        model: str | None = None,
        on: date | None = None,
        book: PriceBook | None = None,
        secrets: Secrets | None = None,
    ) -> Iterator[Item]:
        """Yield the good items in order, and gather the problems of all.

        Args:
            references: Examines the files that are named.
            model: Wins over the job's default, not over an item's own.
            on: The day by which a model's end is judged; today, unless told.
            book: Each model must have a price in it; None asks for none.
            secrets: What no item may hold, from whatever file it came.

        Raises:
            JobError: The job, or a file that it names, changed while it was read.
        """
        self._secrets = secrets
        reader = self._reader(references, model, on or datetime.now(UTC).date())
        if book is None and self.settings.needs_prices:
            book = PriceBook.shipped().under(self.settings.prices)
        if book is not None:
            reader = replace(reader, is_priced=_is_priced(book, reader.on))
        self._examine_head(reader)
        marks = Marks()
        self.keys = marks.keys
        self.n_items = 0
        for entry, items in self._read(reader, self.problems):
            if items:
                self.n_items += len(items)
                for item in items:
                    marks.take(item)
                    yield item
            else:
                self.n_items += 1
                marks.take_bad(entry)
        if self.n_items == 0 and not self.problems.errors:
            self.problems.error(self.path, Place(1, 1), "items", "the job has no items")
        if marks.call_for_more:
            self._compare(reader, marks)

    def raise_problems(self) -> None:
        """Raise JobError if anything is wrong."""
        self.problems.raise_errors()

    def check_name(self) -> None:
        """Report a file whose stem cannot name a directory, where the job has no name itself."""
        check = Checker()
        if self.settings.name is None and check.job_name(self.path.stem, ()) is None:
            message = f"the file's name {shown(self.path.stem)} is no job name; write a name here"
            self.problems.error(self.path, Place(1, 1), "name", message)

    def _reader(self, references: References, model: str | None, on: date) -> ItemReader:
        defaults = dict(self.settings.defaults)
        if model is not None:
            defaults["model"] = model
        return ItemReader(
            defaults=defaults,
            names=self.settings.references,
            base=self._base,
            files=Files(self._base, references),
            on=on,
            max_body_bytes=self.settings.max_body_bytes,
        )

    def _examine_head(self, reader: ItemReader) -> None:
        """Report the references of the head that cannot be sent, whether items use them or not."""
        if self._source.head is not None:
            check = Checker()
            reader.files.examine_head(check, self.settings.references, self.settings.defaults)
            report_head(self.problems, check, self._source.head)

    @property
    def _base(self) -> Path:
        path = self.path
        return path.parent if address_of(path) is not None else path.resolve().parent

    # --- one item -----------------------------------------------------------------------------

    def _read(self, reader: ItemReader, problems: Problems) -> Iterator[_Read]:
        """Read all items; a bad one yields none."""
        reads = self._read_each(reader, problems)
        if (name := self.settings.output_name) is not None:
            reads = _named(reads, name, problems)
        return reads if self._secrets is None else _discreet(reads, self._secrets, problems)

    def _read_each(self, reader: ItemReader, problems: Problems) -> Iterator[_Read]:
        """Read all items, each by itself."""
        shapes = Shapes(problems.repeats_warning)
        for n, written in enumerate(self._source.items(), 1):
            if isinstance(written, UsualLine):
                if (item := shapes.like(written.line)) is not None:
                    yield written, (item,)
                else:
                    yield self._read_in_full(reader, problems, shapes, n, written, written.line)
            else:
                for draft in self._drafts(n, written, problems):
                    line = usual_fields(draft.fields)
                    if line is not None and (item := shapes.like(line)) is not None:
                        read: _Read = draft, (item,)
                    else:
                        read = self._read_in_full(reader, problems, shapes, n, draft, line)
                    yield _varied(draft, read) if draft.from_matrix else read

    def _read_in_full(
        self,
        reader: ItemReader,
        problems: Problems,
        shapes: Shapes,
        n: int,
        entry: UsualLine | Draft,
        line: Line | None,
    ) -> _Read:
        """Read an item that is like none that was read before."""
        draft, check = entry.draft(), _checker(problems)
        read = reader.read(check, draft.fields)
        problems.tell(n, draft, check)
        if read is None:
            return draft, ()
        if line is not None and read.count == 1 and reader.has_room_for_more(read.item):
            shapes.learn(line, read.item, tuple(one.message for one in check.warnings))
        return draft, copies(read)

    def _drafts(self, n: int, written: Written | Unreadable, problems: Problems) -> Iterator[Draft]:
        """Yield what is to be read as an item; nothing is, where what is written makes no sense.

        Args:
            n: The number of what is written, from 1.
            written: What is written.
            problems: Takes what is wrong with whole items, rows and templates.
        """
        if isinstance(written, Unreadable):
            self._skip()
            problems.error(written.path, written.place, written.owner, written.message)
        elif _is_template(written.value):
            yield from self._expanded(n, written, problems)
        else:
            yield Draft(written.value, written.origin)

    def _expanded(self, n: int, written: Written, problems: Problems) -> Iterator[Draft]:
        check, whole = Checker(), Draft({}, written.origin)
        expansion = Expansion(
            check, written.value, written.origin, tables=self._tables, item_fields=FIELDS
        )
        problems.tell(n, whole, check)
        if check.mistakes:
            self._skip()
            return
        for made in expansion.drafts():
            if isinstance(made, BadRow):
                self._skip()
                problems.tell_row(n, made)
            else:
                yield made
        check = Checker()
        for steps in expansion.unmatched():
            check.warn(steps, "it matches no row and no combination")
        problems.tell(n, whole, check)

    def _skip(self) -> None:
        """Count something of which not even the id is known."""
        self.n_items += 1
        self._is_incomplete = True

    # --- what only the whole job can tell -----------------------------------------------------

    def _compare(self, reader: ItemReader, marks: Marks) -> None:
        """Read the job again, for what its items have to do with one another."""
        n_items = self.n_items
        comparison = Comparison(self.problems, marks)
        for entry, items in self._read(reader, Problems()):
            comparison.take(entry, items)
        faults = marks.graph.faults() if not self._is_incomplete else {}
        if faults:
            for entry, items in self._read(reader, Problems()):
                comparison.tell_faults(entry, items, faults)
        self.n_items = n_items


def open_manifest(path: Path) -> Manifest:
    """Open a job file by its ending: JSON Lines, CSV, TSV, else YAML; `-` is standard input.

    Raises:
        JobError: It cannot be read at all.
    """
    problems = Problems()
    manifest = Manifest(open_source(path, problems), problems)
    manifest.check_name()
    return manifest


def _is_priced(book: PriceBook, on: date) -> Callable[[str], bool]:
    return cache(lambda model: book.find(model, at=on.isoformat()) is not None)


def _checker(problems: Problems) -> Checker:
    """Who checks an item; only what is shown of a job's errors is worth a search."""
    return Checker(may_search=problems.n_errors < MAX_SHOWN_PROBLEMS)


def _named(reads: Iterable[_Read], name: OutputName, problems: Problems) -> Iterator[_Read]:
    """Say where pictures lie; a missing tag is a mistake of its item."""
    for entry, items in reads:
        may_search = problems.n_errors < MAX_SHOWN_PROBLEMS
        if items and (fault := name.fault(items[0], may_search=may_search)) is not None:
            draft = entry.draft()
            home, owner = draft.home, written_id(draft.fields)
            problems.error(home.path, home.place(("tags",)), f"items[{owner}].tags", fault)
            yield draft, ()
        else:
            yield entry, [msgspec.structs.replace(item, file=name.path(item)) for item in items]


def _discreet(reads: Iterator[_Read], secrets: Secrets, problems: Problems) -> Iterator[_Read]:
    """Pass on what was read; one with the key in it, which the service would be told, is a mistake.

    To look through a block takes hardly longer than through one item. Where the key is found, it
    may be in what many items share: from there on each is looked through by itself.
    """
    for block, said in _blocks(reads):
        if secrets.are_in(said):
            yield from (_discreetly(read, secrets, problems) for read in chain(block, reads))
        else:
            yield from block


def _blocks(reads: Iterable[_Read]) -> Iterator[tuple[Sequence[_Read], bytes]]:
    """What was read, in blocks, each with all that its items say and no earlier one does.

    A line that is like an earlier one has nothing of its own but its text, which without a
    backslash is written as it is meant. The earlier one was looked through if it was good.
    """
    encode_into = msgspec.json.Encoder().encode_into
    block: list[_Read] = []
    said = bytearray()
    are_good = True
    for read in reads:
        block.append(read)
        entry, items = read
        if not items:
            are_good = False
        elif are_good and isinstance(entry, UsualLine) and _BACKSLASH not in entry.raw:
            said += entry.raw.rstrip()
        else:
            encode_into(items[0], said, -1)
        if len(said) > _BLOCK_BYTES:
            yield block, bytes(said)
            block = []
            said.clear()
    yield block, bytes(said)


def _discreetly(read: _Read, secrets: Secrets, problems: Problems) -> _Read:
    entry, items = read
    if not items or not secrets.are_in(msgspec.json.encode(items[0])):
        return read
    draft = entry.draft()
    owner = secrets.redact(written_id(draft.fields) or items[0].id)
    message = "it holds the API key, which would be sent as its words: take it out of the job"
    problems.error(draft.home.path, draft.home.place(()), f"items[{owner}]", message)
    return draft, ()


def _varied(draft: Draft, read: _Read) -> _Read:
    """Items, with the values of the matrix that they were made of."""
    entry, items = read
    variant = dict(draft.from_matrix)
    return entry, [msgspec.structs.replace(item, variant=variant) for item in items]


def _is_template(written: Any) -> bool:
    return isinstance(written, dict) and any(written.get(name) is not None for name in EXPANSION)
