"""The run's side: each call is prepared and given leave here, and made by a worker.

attempt(item, n)          a value in every case, as if it were made here
  ├── prepare             the turn, the files, the body
  └── _try                a ticket at the desk; once more if its worker is lost before it leaves
        ├── _leave        the worker asks; few of each wait at a time, for those are lost with it
        └── _end_of       the worker tells; if it is lost, the end is found where it left it, or is
                          not known
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from batchgen.crew.desk import RunSide
from batchgen.crew.messages import (
    Alive,
    Asked,
    Broke,
    CalledOff,
    Ended,
    Going,
    Gone,
    Granted,
    Left,
    Message,
    News,
    Order,
    Taken,
    Ticket,
    Told,
)
from batchgen.crew.place import Handover, parts_of
from batchgen.errors import (
    AttemptError,
    ClusterError,
    MissingReference,
    NeverLeft,
    StoreError,
)
from batchgen.governor import Governor, Lease
from batchgen.model import Item
from batchgen.pool import to_the_end
from batchgen.preparation import Preparer, Request, given_up
from batchgen.recovery import Recovery
from batchgen.settle import CallEnd
from batchgen.stop import Stop
from batchgen.store.layout import EXTENSIONS, Layout
from batchgen.store.parts import Writer
from batchgen.store.pictures import FindMade
from batchgen.store.receipts import take_from_worker
from batchgen.store.segments import Segments
from batchgen.workshop import Brief

# So many calls of a worker to a model wait for leave, or have it and do not know: a paced slot that
# a lost worker had does not come back.
_AT_THE_DOOR: Final = 2
# A worker that lives says so every ten seconds. One that does not stands still, or is cut off; but
# what it has under way is asked for again then, and may be paid twice.
_SILENCE_S: Final = 180.0
# A call that is given up ends at once; so long it may take to be settled.
_CALLED_OFF_S: Final = 15.0


@dataclass(slots=True, eq=False)
class _Case:
    """A call on its way.

    Attributes:
        stop: Ends its waits: the run stops, or its worker is lost.
        asked: Done when its worker asks for leave, or has ended it without.
        ended: Its end.
        worker: Who has it.
        lease: Once it has leave.
        door: Held while it waits for leave.
    """

    request: Request
    stop: Stop
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Future[CallEnd] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    worker: str | None = None
    lease: Lease | None = None
    door: asyncio.Semaphore | None = None
    is_lost: bool = False

    def end(self, end: CallEnd | Exception) -> None:
        self.asked.set()
        if self.ended.done():
            return
        if isinstance(end, CallEnd):
            self.ended.set_result(end)
        else:
            self.ended.set_exception(end)
            self.ended.exception()  # seen, should nobody be waiting any more

    async def come_to(self, door: asyncio.Semaphore) -> None:
        await door.acquire()
        self.door = door

    def leave_door(self) -> None:
        if self.door is not None:
            self.door.release()
            self.door = None


def _nobody(_worker: str) -> None:
    return


class Hands(Protocol):
    """Gets workers for a run, wherever they are."""

    def at_work(
        self, run_id: str, root: Path, brief: Brief, crew: "Crew"
    ) -> AbstractAsyncContextManager[None]:
        """Have workers at the desk of a run, until the context is left.

        Args:
            run_id: Names the run.
            root: The job's directory.
            brief: What each worker is told.
            crew: What they work for; it hears of each that is lost.

        Raises:
            UsageError: They cannot be had in the way that was asked for.
            ClusterError: There are none to be had.
        """

    async def salvage(self, brief: Brief, stop: Stop, warn: Callable[[str], None]) -> None:
        """Have what workers of earlier runs left put into the store, wherever it lies.

        Machines that are no more are passed over.

        Args:
            brief: What each machine is told.
            stop: Cuts it short.
            warn: Told of what is waited for.

        Raises:
            ClusterError: There is no telling where workers were, or one machine cannot be asked.
            StoreError: The store does not take it.
        """


@dataclass(slots=True)
class Crew:
    """Makes the calls of a run by workers; used from one event loop.

    Attributes:
        find_made: Says what was made last under a path.
        on_given_up: Told of a worker that is alive, as far as anybody knows, and is not heard.
        salvage: Has what a lost worker left put into the store, where its machine lives; raises
            StoreError, or ClusterError. None where all have one disk in common.
        warn: Told of what a person should read.
    """

    layout: Layout
    handover: Handover
    preparer: Preparer
    governor: Governor
    recovery: Recovery
    segments: Segments
    writer: Writer
    find_made: FindMade
    warn: Callable[[str], None]
    on_disk_failure: Callable[[StoreError], None]
    on_given_up: Callable[[str], None] = _nobody
    salvage: Callable[[str], Coroutine[Any, Any, None]] | None = None
    silence_s: float = _SILENCE_S
    called_off_s: float = _CALLED_OFF_S
    _cases: dict[int, _Case] = field(default_factory=dict)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _doors: dict[tuple[str, str], asyncio.Semaphore] = field(default_factory=dict)
    _heard_s: dict[str, float] = field(default_factory=dict)  # when each worker said something
    _given_up: set[str] = field(default_factory=set)
    _had: dict[str, str] = field(default_factory=dict)  # who has an item, by its id
    _outbox: list[Order] = field(default_factory=list)
    _filled: asyncio.Event = field(default_factory=asyncio.Event)
    _failed: Exception | None = None
    _settling: set[asyncio.Task[None]] = field(default_factory=set)
    _hurry: Stop = field(default_factory=Stop)  # asked when calls are given up

    async def attempt(self, item: Item, n: int) -> CallEnd:
        """Make call number n of an item's next turn.

        Raises:
            StoreError: A disk failed, here or where a worker is.
            ClusterError: Nobody is there to make it any more.
        """
        while True:
            request = await self.preparer.prepare(item, n)
            if isinstance(request, CallEnd):
                return request
            end = await self._try(request)
            if end is not None:
                return await to_the_end(self.handover.take_in(end))

    def ended(self, item: Item) -> None:
        """An item has ended: nobody has it in hand any more."""
        self._had.pop(item.id, None)
        self.segments.let_go(item.id)

    async def _try(self, request: Request) -> CallEnd | None:
        """Have a worker make the call; None if that was lost before the call could leave."""
        if self._failed is not None:
            raise self._failed
        number, item = next(self._numbers), request.item
        case = self._cases[number] = _Case(request, self.governor.stop.child())
        names = (self.layout.image_name(item, extension) for extension in EXTENSIONS)
        made = {name: self.find_made(name) for name in names}
        try:
            body = await self.handover.lend(request.body)
            self._order(Ticket(number, replace(request, body=body), made, self._had.get(item.id)))
            is_stopped = await case.stop.cuts_short(_event(case.asked))
            if case.ended.done():
                return await case.ended
            return self._call_off(number, case) if is_stopped else await self._leave(number, case)
        except MissingReference as missing:
            return self.preparer.unsent(item, request.turn, missing)
        except asyncio.CancelledError:
            return self._call_off(number, case)
        finally:
            case.leave_door()
            del self._cases[number]

    def _call_off(self, number: int, case: _Case) -> CallEnd | None:
        """End a call that has no leave: it is made by nobody, or by another worker."""
        if case.is_lost and not self.governor.stop.asked:
            return None
        self._order(CalledOff(number))
        return CallEnd(case.request.item, None, given_up())

    async def _leave(self, number: int, case: _Case) -> CallEnd | None:
        name = (case.worker or "", case.request.item.model)
        door = self._doors.setdefault(name, asyncio.Semaphore(_AT_THE_DOOR))
        if await case.stop.cuts_short(case.come_to(door)):
            return self._call_off(number, case)
        async with self.governor.leave(case.request, case.stop) as lease:
            if lease is None:
                return self._call_off(number, case)
            case.lease = lease
            if lease.is_given_up:
                self._order(CalledOff(number))
                return lease.heard(self._failed_end(lease, case, given_up()))
            if case.is_lost:
                lost = NeverLeft("the worker that was to make the call was lost; nothing was sent")
                return lease.heard(self._failed_end(lease, case, lost))
            self._order(Granted(number, lease.sent))
            end = await self._end_of(number, case)
            if end.line is None:  # called off before the worker could use its leave
                end = self._failed_end(lease, case, end.error or given_up())
            return lease.heard(end)

    def _failed_end(self, lease: Lease, case: _Case, error: AttemptError) -> CallEnd:
        return self.preparer.settler.failed(lease.sent, case.request.item, error, {})

    async def _end_of(self, number: int, case: _Case) -> CallEnd:
        """Wait for the end of a call that has left; given up, it still has one."""
        within_s: float | None = None
        while True:
            try:
                async with asyncio.timeout(within_s):
                    return await asyncio.shield(case.ended)
            except asyncio.CancelledError:
                if case.ended.cancelled():
                    raise
                self._order(CalledOff(number))
                self._hurry.ask("calls are given up")
                within_s = self.called_off_s
            except TimeoutError:
                self._give_up(case.worker)
                within_s = None

    # --- the desk -----------------------------------------------------------------------------

    @asynccontextmanager
    async def at(self, desk: RunSide) -> AsyncIterator[None]:
        """Work by way of a desk; what fails there fails every call."""
        works = (self._send(desk), self._hear(desk), self._watch(desk))
        sides = [asyncio.create_task(work) for work in works]
        for side in sides:
            side.add_done_callback(self._side_ended)
        try:
            yield
        finally:
            sides += self._settling
            for side in sides:
                side.cancel()
            for side in sides:
                with suppress(asyncio.CancelledError, Exception):
                    await side

    def fail(self, failure: Exception) -> None:
        """Let every call fail: there is nobody to make it any more."""
        if self._failed is None:
            self._failed = failure
            self.governor.stop.ask(str(failure), failure)
            for case in self._cases.values():
                case.end(failure)

    def _side_ended(self, side: asyncio.Task[None]) -> None:
        """Nothing is heard any more: who waits for the end of a call would wait for ever."""
        if side.cancelled():
            for case in self._cases.values():
                case.end(ClusterError("the run was left before its workers had told their ends"))
            return
        failure = side.exception()
        if isinstance(failure, ClusterError | StoreError):
            self.fail(failure)
        elif failure is not None:
            why = str(failure).strip().partition("\n")[0] or type(failure).__name__
            what = "the desk between the run and its workers failed"
            self.fail(ClusterError(f"{what}: {why}; run again for what is left"))

    def _order(self, order: Order) -> None:
        self._outbox.append(order)
        self._filled.set()

    async def _send(self, desk: RunSide) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            orders, self._outbox = self._outbox, []
            await desk.order(orders)

    async def _hear(self, desk: RunSide) -> None:
        while True:
            for news in await desk.news():
                await self._take(news)

    async def _watch(self, desk: RunSide) -> None:
        """Give workers up that stand still: nobody else notices what has not died.

        Where it was this process that stood still, what they have said meanwhile is still to come.
        """
        loop, every_s = asyncio.get_running_loop(), min(1.0, self.silence_s / 10)
        while True:
            slept_s = loop.time()
            await asyncio.sleep(every_s)
            now_s = loop.time()
            if now_s - slept_s > 2 * every_s:
                self._heard_s = dict.fromkeys(self._heard_s, now_s)
            for worker, heard_s in self._heard_s.items():
                if now_s - heard_s > self.silence_s:
                    self._give_up(worker)
            given_up, self._given_up = self._given_up, set()
            for worker in given_up & self._heard_s.keys():
                self.on_given_up(worker)
                await desk.lose(worker)

    def _give_up(self, worker: str | None) -> None:
        if worker is not None:
            self._given_up.add(worker)

    async def _take(self, news: News) -> None:
        worker, message = news.worker, news.message
        now_s = asyncio.get_running_loop().time()
        match message:
            case Taken():  # the desk says that
                self._heard_s.setdefault(worker, now_s)
            case _:
                self._heard_s[worker] = now_s
        match message:
            case Gone():
                await self._lose(worker)
            case Alive():
                pass
            case Told(warning):
                self.warn(warning)
            case Broke(StoreError() as failure):
                self.on_disk_failure(failure)
            case Broke(failure):
                self.fail(failure)
            case _ if (case := self._cases.get(message.number)) is not None:
                await self._of_case(worker, case, message)
            case _:
                pass  # it was called off

    async def _of_case(self, worker: str, case: _Case, message: Message) -> None:
        match message:
            case Taken():
                item_id = case.request.item.id
                case.worker = self._had[item_id] = worker
                await self.segments.hand_over(item_id, worker)
            case Asked():
                case.asked.set()
            case Going():
                case.leave_door()
            case Left() if case.lease is not None:
                case.lease.leaves()
            case Ended(_, end):
                case.end(end)
            case _:
                pass

    async def _lose(self, worker: str) -> None:
        """A worker is gone: what it had not sent is for others, what it had is settled here.

        Raises:
            StoreError: The disk failed.
        """
        await self.segments.lost()
        self._heard_s.pop(worker, None)
        self._doors = {name: door for name, door in self._doors.items() if name[0] != worker}
        self._had = {item: name for item, name in self._had.items() if name != worker}
        cases = [case for case in self._cases.values() if case.worker == worker]
        for case in cases:
            case.is_lost = True
            case.stop.ask("its worker is lost")
        under_way = [case for case in cases if case.lease is not None]
        parts = self.layout.parts
        theirs = parts / parts_of(self.governor.run_id, worker)
        # In the thread that clears away what was recorded, or it would look for it in vain.
        adopted = await self.writer.call(partial(take_from_worker, theirs, parts))
        settling = asyncio.create_task(self._settle(worker, under_way, adopted))
        self._settling.add(settling)
        settling.add_done_callback(self._settling.discard)
        settling.add_done_callback(self._side_ended)

    async def _settle(self, worker: str, cases: list[_Case], adopted: Iterable[Path]) -> None:
        """Find the ends of calls whose worker is lost; others are heard of meanwhile.

        Where nobody can say what it had, its calls have no end: the next run looks again.
        """
        try:
            if cases and self.salvage is not None:
                await self._in_no_hurry(self.salvage(worker))
            for case in cases:
                lease, end_of = case.lease, self.recovery.end_of
                if lease is not None and not case.ended.done():
                    lease.leaves()  # as far as anybody knows it may have left up to now
                    await self.handover.find(lease.sent)
                    case.end(await asyncio.to_thread(end_of, lease.sent, case.request.item))
        except (StoreError, ClusterError) as failure:
            for case in cases:
                case.end(failure)
        await asyncio.to_thread(_remove_drafts, adopted)

    async def _in_no_hurry(self, salvaging: Coroutine[Any, Any, None]) -> None:
        """Wait for what a lost worker had, unless calls are given up.

        Raises:
            ClusterError: They are.
        """
        task = asyncio.ensure_future(salvaging)
        if await self._hurry.cuts_short(task) and not task.done():
            raise ClusterError(
                "the run was given up before a lost worker's machine had said what it had; run "
                "again for it"
            )


async def _event(event: asyncio.Event) -> None:
    await event.wait()


def _remove_drafts(adopted: Iterable[Path]) -> None:
    """What was being written when its worker was lost is of no use any more."""
    for path in adopted:
        if path.suffix == ".draft":
            path.unlink(missing_ok=True)
