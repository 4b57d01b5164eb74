"""The course of a run: which item is next, what is done for it, and what its end leads to.

take              the next item of the agenda that is to be sent, or skipped
attempt           one call of it, unless what it builds on is missing or its model is gone
record            written down; then the agenda, and whoever watches, hear where it stands
give_up_model     nothing goes to a model any more: its items fail, or stay to be done
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from batchgen.budget import Allowance
from batchgen.ending import EXIT_SOME_FAILED
from batchgen.errors import AttemptError, Cancelled, ModelUnavailable, SkippedDependency
from batchgen.events import Event, ItemEnded, Warned
from batchgen.filing import Filer
from batchgen.forecast import Forecast
from batchgen.limits import Out
from batchgen.model import Decision, Item, Result
from batchgen.plan import Agenda, Settled, Skip, Todo, Twin
from batchgen.recorder import Recorder
from batchgen.report.standing import result_of
from batchgen.search import Filing, place_of
from batchgen.settle import CallEnd
from batchgen.stop import Stop
from batchgen.store.history import final_image
from batchgen.store.ledger import Sent
from batchgen.wording import counted


class Calls(Protocol):
    """Makes calls: here, or on other machines."""

    async def attempt(self, item: Item, n: int) -> CallEnd:
        """Make call number n of an item's next turn; a failed call is a value.

        Raises:
            StoreError: The disk failed.
        """

    def ended(self, item: Item) -> None:
        """No more calls are made for an item in this run."""


@dataclass(slots=True)
class Course:
    """What the pool asks for, over the agenda, the caller and the recorder of one run.

    Attributes:
        forecast: What the run set out to do.
        max_failures: One failed item more stops the run.
        limit: No more items than these are sent.
        outs: The models to which nothing goes any more, and why.
    """

    agenda: Agenda
    caller: Calls
    recorder: Recorder
    filer: Filer
    stop: Stop
    tell: Callable[[Event], None]
    forecast: Forecast
    max_failures: Allowance | None = None
    limit: int | None = None
    outs: dict[str, Out] = field(default_factory=dict)
    _skipped: dict[str, str] = field(default_factory=dict)  # about to be, and why
    _shared: dict[str, str] = field(default_factory=dict)  # about to get the picture of another
    _n_taken: int = 0
    _n_failed: int = 0

    def take(self) -> Item | None:
        """The next item of the agenda to see through; None if there is none now."""
        while self._has_more_to_take and (step := self.agenda.next()) is not None:
            match step:
                case Todo(item) if self._is_left(item):
                    pass
                case Todo(item):
                    self._n_taken += 1
                    return item
                case Skip(item, parent):
                    self._skipped[item.id] = (
                        f"it builds on {parent}, which is not done; a later run makes it once "
                        f"{parent} is done"
                    )
                    return item
                case Twin(item, leader, is_made=True):
                    self._shared[item.id] = leader
                    return item
                case Twin(item, leader):
                    self._skipped[item.id] = (
                        f"{leader} asks for the same and has no picture; it gets the same one "
                        f"once {leader} is done"
                    )
                    return item
                case Settled(item, _, is_found):
                    if is_found:
                        self.tell(ItemEnded(self._standing(item)))
        return None

    async def attempt(self, item: Item, n: int) -> CallEnd:
        """Make call number n of an item, unless nothing can be sent for it."""
        if (why := self._skipped.pop(item.id, None)) is not None:
            return self._unsent(item, SkippedDependency(f"nothing was sent: {why}"))
        if item.id in self._shared:
            return CallEnd(item, None, None)
        if self._is_gone(item):
            return self._gone(item)
        end = await self.caller.attempt(item, n)
        if end.line is None and self._is_gone(item):
            return self._gone(item)
        return end

    async def record(self, end: CallEnd, decision: Decision, why: str | None) -> Result:
        """Write an attempt down, and tell where its item stands now."""
        if (leader := self._shared.pop(end.item.id, None)) is not None:
            await self._share(end.item, leader)
        await self.recorder.write(end, decision, why)
        result = self._standing(end.item)
        has_ended = decision != "retry" and (decision != "done" or result.status != "pending")
        if decision == "failed" and result.status == "done" and end.error is not None:
            why = end.error.message
            self.tell(Warned(f"warning: {end.item.id}: not made again, its picture stays: {why}"))
        if has_ended and not (end.line is None and isinstance(end.error, Cancelled)):
            self.agenda.ended(result)
            self.caller.ended(end.item)
            self.tell(ItemEnded(result))
            if not self._is_gone(end.item):
                self._count_failure(result)
        return result

    def give_up_model(self, model: str, out: Out) -> None:
        """Nothing goes to a model any more; without work for another one, the run ends."""
        self.outs[model] = out
        if self._has_other_models or out.fails:
            what = "its items fail" if out.fails else "its items are left for another run"
            self.tell(Warned(f"warning: {out.reason}; {what}"))
        else:
            self.stop.ask(out.reason, exit_code=out.exit_code)

    @property
    def out_codes(self) -> frozenset[int]:
        """What given-up models mean; gone ones count if there was work for no other."""
        outs = self.outs.values()
        return frozenset(
            out.exit_code for out in outs if not (out.fails and self._has_other_models)
        )

    @property
    def stop_reason(self) -> str | None:
        """Why the run stopped, or left the items of a model alone."""
        if self.stop.reason is not None:
            return self.stop.reason
        left = (out.reason for out in self.outs.values() if not out.fails)
        return next(left, None)

    def tell_waiting(self) -> None:
        """Say why items are left in a run that went to its end: what they build on is not in it."""
        if self.stop.asked or self.limit is not None or self.outs:
            return  # then there is another reason, which was told
        waiting = self.agenda.waiting()
        if (first := next(waiting, None)) is not None:
            item, missing = first
            n_others = sum(1 for _ in waiting)
            wait = f"it and {n_others} more wait" if n_others else "it waits"
            self.tell(
                Warned(
                    f"warning: {item.id} builds on {missing}, which is not done and not part of "
                    f"this run: {wait}"
                )
            )

    @property
    def _has_more_to_take(self) -> bool:
        return self.limit is None or self._n_taken < self.limit

    @property
    def _has_other_models(self) -> bool:
        """Whether the run has work for a model that was not given up."""
        return bool(self.forecast.todo_by_model.keys() - self.outs.keys())

    def _is_left(self, item: Item) -> bool:
        """Whether an item stays to be done, because its model is not asked any more."""
        out = self.outs.get(item.model)
        return out is not None and not out.fails

    def _is_gone(self, item: Item) -> bool:
        """Whether an item fails, because its model is gone."""
        out = self.outs.get(item.model)
        return out is not None and out.fails

    def _gone(self, item: Item) -> CallEnd:
        """An item whose model is gone: told once, and not again each night."""
        error = ModelUnavailable(f"nothing was sent: {self.outs[item.model].reason}")
        past = self.recorder.history.standing(item)
        if past is not None and past.status == "failed" and past.last.outcome is error.outcome:
            return CallEnd(item, None, error)
        return self._unsent(item, error)

    def _unsent(self, item: Item, error: AttemptError) -> CallEnd:
        never_sent = Sent(
            run_id=self.filer.run_id,
            item=item.id,
            key=item.key,
            turn=1,
            attempt=0,
            at=self.filer.clock.stamp(),
            model=item.model,
        )
        return self.recorder.settler.failed(never_sent, item, error, {})

    async def _share(self, item: Item, leader: str) -> None:
        """Give an item the picture that was made for another one that asks for the same.

        If somebody has taken that away meanwhile, the item is left for the next run.
        """
        source, history = (leader, item.key), self.recorder.history
        past = history.past(source)
        if past is None or not history.has_files(past.last, self.filer.layout.shelf):
            return
        if (picture := final_image(past.last.images)) is not None:
            path = place_of(self.filer.layout, item, len(item.turns), picture)
            await self.filer.file(
                [Filing((item.id, item.key), path, source, picture.path, is_moved=False)]
            )

    def _standing(self, item: Item) -> Result:
        return result_of(item, self.recorder.history.standing(item))

    def _count_failure(self, result: Result) -> None:
        """Stop the run when more items have failed than may."""
        self._n_failed += result.status == "failed"
        allowed = self.max_failures
        if allowed is not None and self._n_failed > allowed.of(self.forecast.n_todo):
            self.stop.ask(
                f"{counted(self._n_failed, 'item')} failed, and budget.max_failures is {allowed}: "
                "see what they have in common before you run it again",
                exit_code=EXIT_SOME_FAILED,
            )
