"""Writes down what became of each call: durable first, then told."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from batchgen.acceptance import why_final_differs
from batchgen.errors import StoreError, TooLarge
from batchgen.events import AttemptEnded, Event, Warned
from batchgen.model import Attempt, Decision, Outcome
from batchgen.settle import CallEnd, Settler, decided
from batchgen.store.history import History
from batchgen.store.layout import Layout
from batchgen.store.parts import Writer
from batchgen.store.receipts import RECEIPT
from batchgen.store.segments import Segments


@dataclass(slots=True)
class Recorder:
    """The segments and the history of one run, always at the same line.

    Attributes:
        writer: Clears away what nobody waits for.
        met_bug: A call was recorded as `bug`.
    """

    layout: Layout
    segments: Segments
    history: History
    settler: Settler
    writer: Writer
    tell: Callable[[Event], None]
    met_bug: bool = False
    _told_wrong_size: bool = False
    _unclear: StoreError | None = None

    async def write(self, end: CallEnd, decision: Decision, why: str | None = None) -> None:
        """Make an attempt durable, and have what it leaves cleared away behind it.

        Nothing sent, nothing written.

        Raises:
            StoreError: The disk failed; what is left is found by the next run.
        """
        if end.staged:
            end = await asyncio.to_thread(self.settler.make_way, end)
        if end.line is None:
            return
        line = decided(end.line, decision, why)
        self.met_bug = self.met_bug or line.outcome is Outcome.BUG
        if end.is_unsettled:
            is_lost = decision == "failed" or line.outcome is Outcome.BUG
            is_of_use = is_lost and line.billed != "no" and not isinstance(end.error, TooLarge)
            keep = partial(self._keep_parts, end, line, only_whole=not is_of_use)
            line = await self.writer.call(keep)
        shelf = self.layout.shelf
        await shelf.keep(end.item, line, end.staged)
        ledger = self.segments.of(line.item)
        (begins,) = await ledger.append(line)
        shelf.recorded(end.item, line)
        if end.leftovers:
            self.writer.hand_over(partial(self._clear, end.leftovers), 0)
        self.history.apply(line, self.history.place_in(ledger.path, begins))
        self.tell(AttemptEnded(line))
        for told in end.displaced:
            self.tell(Warned(f"warning: {line.item}: {told}"))
        if not self._told_wrong_size and (differs := why_final_differs(end.item, line.images)):
            self._told_wrong_size = True
            self.tell(
                Warned(
                    f"warning: {line.item}: {differs}; it is taken as it is, and so are others "
                    "like it, unless output.on_wrong_size says otherwise"
                )
            )

    def _keep_parts(self, end: CallEnd, line: Attempt, *, only_whole: bool) -> Attempt:
        """See `Settler.keep_parts`; in the thread in which they may be taken from a worker."""
        there = (self._found(path) for path in end.leftovers)
        return self.settler.keep_parts(tuple(there), line, only_whole=only_whole)

    def _found(self, path: Path) -> Path:
        """Where a part lies: its worker may be lost since, and what it had is among ours."""
        return path if path.exists() else self.layout.parts / path.name

    async def cleared(self) -> None:
        """Wait until all is cleared away.

        Raises:
            StoreError: The disk failed; the next run clears away what is left.
        """
        await self.writer.caught_up()
        if self._unclear is not None:
            raise self._unclear

    def _clear(self, leftovers: Iterable[Path]) -> None:
        try:
            for path in leftovers:
                is_ours = path.parent == self.layout.parts
                if is_ours and path.suffix == RECEIPT:
                    self.settler.blanks.leave(path)
                else:
                    (path if is_ours else self._found(path)).unlink(missing_ok=True)
        except OSError as error:
            self._unclear = StoreError.of(error, self.layout.parts)
            self.writer.fail(self._unclear)
