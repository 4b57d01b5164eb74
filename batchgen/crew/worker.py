"""A worker: pulls tickets from the desk, asks for leave, sends, receives and settles.

It decides nothing. What it has received lies in a directory of its own, until it is taken from it:
then it has been given up for lost, and can put nothing in its place any more.
"""

import asyncio
import traceback
from collections.abc import AsyncGenerator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from batchgen.attempt import Sender
from batchgen.clock import Clock
from batchgen.crew.desk import WorkerSide
from batchgen.crew.messages import (
    Asked,
    Broke,
    CalledOff,
    Ended,
    Going,
    Granted,
    Left,
    Message,
    Order,
    Ticket,
    Told,
)
from batchgen.crew.place import Workplace, in_jobs_directory, in_own_directory, parts_of
from batchgen.errors import BatchgenError, StoreError
from batchgen.governor import Lease
from batchgen.pool import to_the_end
from batchgen.store.ledger import Sent
from batchgen.store.parts import Writer
from batchgen.workshop import Brief, open_sender

# A worker that has said nothing for long is given up, see `crew`.
_BETWEEN_SIGNS_S: Final = 10.0


@dataclass(slots=True)
class Worker:
    """One worker of one run; used from one event loop.

    Attributes:
        run_id: Names the run.
        name: Distinct from all that were before it in this run.
        root: The job's directory, which the run has under the same path.
    """

    run_id: str
    name: str
    root: Path
    brief: Brief
    desk: WorkerSide
    clock: Clock = field(default_factory=Clock)
    _place: Workplace = field(init=False)
    _made: dict[str, str | None] = field(default_factory=dict)
    _calls: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    _granted: dict[int, asyncio.Future[Sent | None]] = field(default_factory=dict)
    _sent: dict[int, Sent] = field(default_factory=dict)
    _outbox: list[Message] = field(default_factory=list)
    _filled: asyncio.Event = field(default_factory=asyncio.Event)

    async def work(self) -> None:
        """Make calls until the desk sends it home.

        Raises:
            StoreError: The job's directory is not here, or cannot be written.
        """
        async with AsyncExitStack() as stack:
            self._place = await stack.enter_async_context(self._placed())
            layout = self._place.layout
            writer = await stack.enter_async_context(Writer(self._fail))
            settler = self.brief.settler(layout, self._made.get)
            transport = self.brief.transport()
            sender = await open_sender(transport, settler, writer, self.clock, self._warn, stack)
            telling = asyncio.create_task(self._send())
            try:
                await self._follow(sender, telling)
            finally:
                self._place.give_up()
                for call in self._calls.values():
                    call.cancel()
                await asyncio.gather(*self._calls.values(), return_exceptions=True)
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)

    def _placed(self) -> AbstractAsyncContextManager[Workplace]:
        brief = self.brief
        if brief.address is None:
            return in_jobs_directory(self.root, self.run_id, self.name)
        name, about = parts_of(self.run_id, self.name), (self.clock, self._warn)
        return in_own_directory(brief.address, brief.patience_s, name, brief.secrets, *about)

    async def _follow(self, sender: Sender, telling: asyncio.Task[None]) -> None:
        """Do as the desk says, until it has nothing to say any more."""
        while True:
            pulling = asyncio.ensure_future(self.desk.pull(self.name))
            try:
                await asyncio.wait({pulling, telling}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not pulling.done():
                    pulling.cancel()
            if telling.done():
                telling.result()
            orders = await pulling
            if orders is None:
                return
            for order in orders:
                self._take(order, sender)

    def _take(self, order: Order, sender: Sender) -> None:
        match order:
            case Ticket(number):
                call = asyncio.create_task(self._see(order, sender))
                self._calls[number] = call
                call.add_done_callback(lambda _: self._calls.pop(number, None))
            case Granted(number, sent):
                granted = self._granted.get(number)
                if granted is not None and not granted.done():
                    granted.set_result(sent)
            case CalledOff(number):
                if (call_off := self._calls.get(number)) is not None:
                    call_off.cancel()

    async def _see(self, ticket: Ticket, sender: Sender) -> None:
        self._made.update(ticket.made)
        try:
            async with self._place.at_hand(ticket.request.body) as body:
                leave = partial(self._leave, ticket.number)
                end = await sender.send(replace(ticket.request, body=body), leave)
            sent = self._sent.get(ticket.number)
            self._tell(Ended(ticket.number, await to_the_end(self._place.hand_in(end, sent))))
        except Exception as failure:  # noqa: BLE001 - it is raised where the run is
            self._tell(Ended(ticket.number, self._portable(failure)))
        finally:
            self._sent.pop(ticket.number, None)
            for path in ticket.made:
                self._made.pop(path, None)

    def _portable(self, failure: Exception) -> Exception:
        """A failure as it may travel; one that is none of ours as text, with its trace."""
        self.brief.secrets.scrub(failure)
        if isinstance(failure, BatchgenError):
            return failure
        trace = "".join(traceback.format_exception(failure))
        return RuntimeError(self.brief.secrets.redact(f"in a worker: {trace}"))

    @asynccontextmanager
    async def _leave(self, number: int) -> AsyncGenerator[Lease | None, None]:
        granted = self._granted[number] = asyncio.get_running_loop().create_future()
        self._tell(Asked(number))
        try:
            sent = await granted
        finally:
            del self._granted[number]
        if sent is None:
            yield None
            return
        self._sent[number] = sent
        self._tell(Going(number))
        yield Lease(sent, leaves=lambda: self._tell(Left(number)))

    # --- what it says -------------------------------------------------------------------------

    def _tell(self, message: Message) -> None:
        self._outbox.append(message)
        self._filled.set()

    async def _send(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_BETWEEN_SIGNS_S):
                    await self._filled.wait()
            self._filled.clear()
            messages, self._outbox = self._outbox, []
            await self.desk.tell(self.name, messages)

    def _warn(self, warning: str) -> None:
        self._tell(Told(warning))

    def _fail(self, failure: StoreError) -> None:
        self._tell(Broke(failure))
