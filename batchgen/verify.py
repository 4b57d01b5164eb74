"""Whether what was made is still there as it was made: every picture of every done item.

    ledger, items ──> records of done items ──> looked at, in threads ──> Findings
                                                     a run may be at work: ──> read once more

The final picture decides, as for `run`: it is wrong, and is made again. What else was kept of an
item (drafts, thoughts, the turns of a conversation) is warned of and never paid for again. Only
`Findings.write` writes, and nothing but `broken.jsonl`.

Memory: the ledger's history, the names under images/, and for a thread what `recorded.look` says.
"""

import os
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Final, TypeAlias

from batchgen.conversation import find_content
from batchgen.dependencies import read_lineage
from batchgen.errors import UsageError, store_errors
from batchgen.mirror.remote import Remote
from batchgen.model import Attempt, ImageFile, Item
from batchgen.store.broken import found_broken, write_broken
from batchgen.store.expanded import read_items
from batchgen.store.history import History, final_image, read_history, turn_names
from batchgen.store.layout import EXTENSIONS, Layout
from batchgen.store.ledger import Call, segments
from batchgen.store.recorded import Fault, look
from batchgen.store.shards import gather_items

# Disk and processor are waited for in turn; each thread may hold a decoded picture.
_N_THREADS: Final = max(2, min(4, os.cpu_count() or 1))
_WINDOW: Final = 64

GoOn: TypeAlias = Callable[[], None]
OnLooked: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """A file of a done item that is not as it was recorded.

    Attributes:
        sha256: What was recorded.
        call: The call that made it.
    """

    item_id: str
    path: str
    fault: Fault
    sha256: str
    call: Call

    @property
    def is_judged(self) -> bool:
        """Whether the file could be read; else nothing is known of it."""
        return self.fault.problem != "unreadable"

    def __str__(self) -> str:
        """`images/hero.png (hero): its SHA-256 is not the recorded one`."""
        return f"{self.path} ({self.item_id}): {self.fault}"


@dataclass(slots=True)
class Findings:
    """What came of looking at every picture.

    Attributes:
        n_checked: Done items, each with its final picture.
        wrong: Final pictures that are not as recorded.
        warnings: The same of what else was kept, and pictures too large to decode here.
        n_unsettled: Pictures that are not as recorded while a call for their item is under way, or
            was when a run was killed: the next run settles them.
        n_orphans: Files under images/ that belong to no item of the job.
        unreadable: Places of lines of the ledger that cannot be read.
    """

    n_checked: int = 0
    wrong: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    n_unsettled: int = 0
    n_orphans: int = 0
    unreadable: list[str] = field(default_factory=list)

    def write(self, place: Path | Layout) -> None:
        """Tell the next run which pictures to make again; not those that could not be read.

        Of an object the file that was looked at is gone by then: it counts as broken until another
        one is made.

        Raises:
            StoreError: The disk, or the store, could not take it.
        """
        layout = Layout.at(place)
        is_here = layout.away is None
        write_broken(
            layout.broken,
            [
                found_broken(
                    *(one.item_id, one.path, one.sha256, one.fault.problem),
                    one.fault.seen if is_here else None,
                )
                for one in self.wrong
                if one.is_judged
            ],
        )
        layout.shelf.replace(layout.relative(layout.broken))


@dataclass(frozen=True, slots=True)
class _Record:
    """A done item: its picture, the call that made it, and the lines of its turns."""

    item: Item
    final: ImageFile
    call: Call
    turns: tuple[Attempt, ...]

    def finding(self, image: ImageFile, fault: Fault) -> Finding:
        return Finding(self.item.id, image.path, fault, image.sha256, self.call)


def verify(place: Path | Layout, *, on_looked: OnLooked | None = None) -> Findings:
    """Look at every picture of every done item in a job's directory; write nothing.

    Args:
        place: The job's directory; a run may be at work in it.
        on_looked: Told after each picture how many were looked at, and how many are wrong.

    Raises:
        UsageError: There is no run in the directory.
        StoreError: Ledger or items cannot be read.
    """
    layout = Layout.at(place)
    findings = Findings()
    _look_through(layout, findings, on_looked)
    if findings.wrong:
        _leave_out_unsettled(layout, findings)
    return findings


def _look_through(layout: Layout, findings: Findings, on_looked: OnLooked | None) -> None:
    orphans = _files(layout)  # before the ledger is read: what comes later is of a run at work
    history = _read(layout)
    findings.unreadable = history.unreadable
    records = _records(layout, history, orphans)
    with closing(_looked_at(layout, records)) as looked, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own: what is wrong is raised
        for final, besides in looked:
            findings.n_checked += 1
            findings.warnings += besides
            if final is not None:
                is_whole = final.fault.problem == "too_large"
                (findings.warnings if is_whole else findings.wrong).append(final)
            if on_looked is not None:
                on_looked(findings.n_checked, len(findings.wrong))
    findings.n_orphans = len(orphans)


def _read(layout: Layout) -> History:
    history = read_history(segments(layout.ledger))
    if not history.runs:
        raise UsageError(f"{layout.root} holds no run: its ledger is empty")
    gather_items(layout)
    return history


def _records(
    layout: Layout, history: History, orphans: set[str] | None = None
) -> Iterator[_Record]:
    """The done items in the order of the job; what belongs to any item is no orphan."""
    lineage = read_lineage(layout, history)
    with store_errors(layout.root):
        for item in read_items(layout.items):
            if orphans:
                names = (layout.image(item, extension) for extension in EXTENSIONS)
                orphans.difference_update(map(layout.relative, names))
            record = _record(lineage.resolved(item), history)
            if record is not None:
                if orphans:
                    orphans.discard(record.final.path)
                yield record


def _record(item: Item, history: History) -> _Record | None:
    standing = history.standing(item)
    last = None if standing is None or standing.status != "done" else standing.last
    final = None if last is None else final_image(last.images)
    if last is None or final is None:
        return None
    past = (history.past(name) for name in turn_names(item))
    turns = tuple(one.last for one in past if one is not None and one.last.decision == "done")
    return _Record(item, final, (last.run_id, last.item, last.turn, last.attempt), turns)


def _looked_at(
    layout: Layout, records: Iterable[_Record]
) -> Generator[tuple[Finding | None, list[Finding]]]:
    """Look at records in threads, so many at a time, and yield in their order what was found.

    Who closes this in the middle, as Ctrl-C does, waits for no picture to be finished.
    """
    gone = Event()

    def go_on() -> None:
        if gone.is_set():
            raise InterruptedError

    pool = ThreadPoolExecutor(_N_THREADS)
    under_way: deque[Future[tuple[Finding | None, list[Finding]]]] = deque()
    try:
        for record in records:
            under_way.append(pool.submit(_look_at, layout, record, go_on))
            if len(under_way) == _WINDOW:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        gone.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _look_at(layout: Layout, record: _Record, go_on: GoOn) -> tuple[Finding | None, list[Finding]]:
    """What is wrong with the final picture of an item, and with what else was kept of it."""
    with layout.shelf.borrowed(record.final.path):
        fault = look(layout.root, record.final, go_on)
    final = None if fault is None else record.finding(record.final, fault)
    return final, list(_besides(layout, record, go_on))


def _besides(layout: Layout, record: _Record, go_on: GoOn) -> Iterator[Finding]:
    for line in record.turns:
        for image in line.images:
            # What is in quarantine is there for people to do with as they like.
            if image.role in {"draft", "thought"}:
                with layout.shelf.borrowed(image.path):
                    fault = look(layout.root, image, go_on)
                if fault is not None:
                    yield record.finding(image, fault)
        if not record.item.turns:
            continue
        said = layout.relative(layout.turn(line.item, line.turn, "json"))
        with layout.shelf.borrowed(said):
            content = find_content(layout, line)
        if content is not None:
            path, wrong = content
            if wrong is not None:
                is_there = layout.shelf.size_bytes(path) is not None
                fault = Fault("undecodable", found=wrong) if is_there else Fault("missing")
                yield Finding(record.item.id, path, fault, "", record.call)


def _leave_out_unsettled(layout: Layout, findings: Findings) -> None:
    """Leave out what a run has made anew meanwhile, or is just making.

    A picture gets its name between the `sent` line of its call and the line of its outcome, both
    durable. So what was found is true where the ledger, read now, tells of no later call.
    """
    history = _read(layout)
    calls = {one.item_id for one in findings.wrong}
    now = {
        record.item.id: record.call
        for record in _records(layout, history)
        if record.item.id in calls
    }
    found = [one for one in findings.wrong if now.get(one.item_id) == one.call]
    being_made = {sent.item for sent in history.unfinished.values()}
    findings.wrong = [one for one in found if one.item_id not in being_made]
    findings.n_unsettled = len(found) - len(findings.wrong)


def _files(layout: Layout) -> set[str]:
    """The files under images/, but for those that a desktop hides there."""
    if isinstance(layout.away, Remote):
        return set(layout.away.names("images"))
    return {
        layout.relative(Path(folder, name))
        for folder, _, names in os.walk(layout.images)
        for name in names
        if not name.startswith(".")
    }
