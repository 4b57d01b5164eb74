"""What earlier runs left: their history, and the calls whose outcome nobody wrote down."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from batchgen.errors import AttemptError, Interrupted, WorkerLost, store_errors
from batchgen.model import Decision, Item
from batchgen.retry import Again, GiveUp, Later, Retries, StopRun, Tries, decide
from batchgen.settle import CallEnd, Settler
from batchgen.store.history import History, read_history
from batchgen.store.layout import Layout
from batchgen.store.ledger import (
    Line,
    Sent,
    move_torn_tail,
    run_id_of,
    segments,
    sync_again,
)
from batchgen.store.receipts import answered, load_receipt, part_name
from batchgen.store.staged import Staged, record_name, records

_MAX_TOLD = 10
_KILLED = "the run was killed before the answer was whole; it may be billed"
_LOST = "the worker that made the call was lost before the answer was whole; it may be billed"
_LATE = (
    "the run was killed before its answer was recorded, and another has made the picture since; it "
    "may be billed, and what came is kept in quarantine/"
)


def read_past(
    layout: Layout,
    warn: Callable[[str], None],
    *,
    is_alone: bool = True,
    since: str | None = None,
    observe: Callable[[Line], None] | None = None,
) -> History:
    """Read the ledger of a directory that this process holds; see `read_history` for the rest.

    A torn last line, as a power cut leaves one, is moved aside; a line that does not parse is
    passed over. Both are told. Beside other shards, their segments are only read: a line may be on
    its way, and what they have under way is not unfinished.

    Raises:
        StoreError: A newer batchgen wrote here.
    """
    paths = segments(layout.ledger)
    if not is_alone:
        ours = layout.segment("").name
        paths = [path for path in paths if path.name.endswith(ours)]
    for path in paths:
        if (aside := move_torn_tail(path)) is not None:
            warn(f"{path.name} ended in a torn line, which is now in {aside.name}")
    history = look_at_past(layout, warn, since=since, observe=observe)
    if not is_alone:
        ran = {run_id_of(path) for path in paths}
        left = history.unfinished.items()
        history.unfinished = {call: sent for call, sent in left if sent.run_id in ran}
    for path in _killed_last(paths, history):
        with store_errors(path):
            sync_again(path)  # what it says is gone by from now on
    return history


def _killed_last(paths: Sequence[Path], history: History) -> Iterator[Path]:
    """The segments of the last run, if that did not end; of shards, those of the last of each."""
    last: dict[str | None, str] = {}
    for path in reversed(paths):
        run_id = run_id_of(path)
        if last.get(None, run_id) != run_id:
            return
        run = history.runs.get(run_id)
        shard = None if run is None else run.shard
        if last.setdefault(shard, run_id) == run_id and run_id not in history.ends:
            yield path


def look_at_past(
    layout: Layout,
    warn: Callable[[str], None],
    *,
    since: str | None = None,
    observe: Callable[[Line], None] | None = None,
) -> History:
    """Read the ledger of a directory, and touch nothing: a run may be writing there.

    A last line without its end is left out; a line that does not parse is passed over, and told.

    Raises:
        StoreError: A newer batchgen wrote here.
    """
    history = read_history(segments(layout.ledger), since=since, observe=observe)
    for place in history.unreadable[:_MAX_TOLD]:
        warn(f"the ledger has a line that cannot be read: {place}")
    return history


@dataclass(frozen=True, slots=True)
class Recovery:
    """Settles what a killed run left: whole answers are finished, the others are listed."""

    layout: Layout
    settler: Settler
    retries: Retries
    rng: random.Random

    def ends(self, history: History) -> Iterator[tuple[CallEnd, Decision]]:
        """Yield the end of each request that left and has no `attempt` line, and what follows.

        An answer of which a receipt is found is finished from disk and costs nothing more, also
        where a damaged ledger has nothing of its request; any other may have been billed, and is
        `interrupted`.

        Raises:
            StoreError: The disk failed.
        """
        parts = self.layout.parts
        staged = {one.sent.call: one for one in records(parts)}
        found = (*answered(parts), *(one.sent for one in staged.values()))
        unknown = {sent.call: sent for sent in found if not history.knows(sent)}
        for sent in (unknown | history.unfinished).values():
            receipt, one = load_receipt(parts, sent), staged.get(sent.call)
            if receipt is None and one is None:
                yield self._interrupted(sent, Interrupted(_KILLED)), "retry"
            elif _is_made_since(history, sent):
                yield self._interrupted(sent, Interrupted(_LATE)), "retry"
            elif one is not None:
                end = self._arrived(one)
                yield end, self._decision(end.error)
            elif receipt is not None:
                end = self.settler.settle(receipt, recovered=True)
                yield end, self._decision(end.error)

    def clear_parts(self) -> None:
        """Remove the part files of answers that never became whole.

        Raises:
            StoreError: The disk failed, or something lies there that is no file.
        """
        with store_errors(self.layout.parts):
            for left in self.layout.parts.iterdir():
                left.unlink(missing_ok=True)  # what was just recorded goes by itself

    def end_of(self, sent: Sent, item: Item) -> CallEnd:
        """The end of a call of this run whose worker is gone; its parts are among ours by now.

        A whole answer is finished from disk, or is staged in a store, and costs nothing more.

        Raises:
            StoreError: The disk failed.
        """
        receipt = load_receipt(self.layout.parts, sent)
        staged = next(records(self.layout.parts, part_name(sent)), None)
        if staged is not None:
            return self._arrived(staged)
        if receipt is None:
            return self._interrupted(sent, WorkerLost(_LOST), item)
        return self.settler.settle(receipt, recovered=True)

    def _arrived(self, staged: Staged) -> CallEnd:
        """The end of a call whose worker has put all that came of it into a store."""
        line = msgspec.structs.replace(staged.line, recovered=True)
        record = self.layout.parts / record_name(part_name(line))
        return CallEnd(staged.item, line, staged.error, (record,), staged=staged.paths)

    def _interrupted(self, sent: Sent, lost: AttemptError, item: Item | None = None) -> CallEnd:
        item = item or Item(id=sent.item, model=sent.model, prompt="", key=sent.key)
        end = self.settler.failed(sent, item, lost, {})
        # What had come of its pictures: here, or already set aside by a run that was killed again.
        stem = part_name(sent)
        found = (*self.layout.parts.glob(f"{stem}.*.part"), *self.layout.set_aside(stem))
        parts = sorted({self.layout.parts / f"{path.stem}.part" for path in found})
        return CallEnd(item, end.line, lost, tuple(parts), is_unsettled=True)

    def _decision(self, error: AttemptError | None) -> Decision:
        """What is decided of a recovered answer: as if it were the run's first."""
        if error is None:
            return "done"
        match decide(error, Tries(), self.retries, self.rng):
            case Again() | Later():
                return "retry"
            case GiveUp():
                return "failed"
            case StopRun():
                return "stop"


def _is_made_since(history: History, sent: Sent) -> bool:
    """Whether a later run has made what a call of a killed one was for, without knowing of it.

    Only another machine that goes by the same store can have.
    """
    past = history.past((sent.item, sent.key))
    return past is not None and past.made is not None and past.made.run_id > sent.run_id
