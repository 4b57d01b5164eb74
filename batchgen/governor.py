"""What a request needs before it may leave, and what its end teaches.

leave                 money is set aside, the limits let it go, and `sent` is durable: a lease
  └── Lease.heard     the limits learn, the money is settled, and the run stops if it must

Whoever sends holds a lease while the request is under way, and nobody sends without one.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Final, TypeAlias

import msgspec

from batchgen.breakers import FirstRefusals
from batchgen.budget import Purse
from batchgen.clock import Clock, stamp
from batchgen.cost import PriceBook, estimate_item, input_tokens
from batchgen.events import AttemptBegan, Event
from batchgen.limits import Call, Demand, Limiter
from batchgen.preparation import Request, announcement
from batchgen.settle import CallEnd
from batchgen.stop import Stop
from batchgen.store.ledger import Sent
from batchgen.store.segments import Segments

_NOTHING: Final = Decimal(0)


def _as_it_is(end: CallEnd) -> CallEnd:
    return end


def _unheard() -> None:
    return


@dataclass(slots=True)
class Lease:
    """Leave to send one request, which stands in the ledger by now.

    Attributes:
        sent: Its line.
        leaves: To be told when the first byte is about to leave.
        hear: Learns from the end of the call.
        is_given_up: Somebody gave it up meanwhile: it must not leave any more.
        spent_usd: What it counts with; None while, or where, nobody knows.
    """

    sent: Sent
    leaves: Callable[[], None] = _unheard
    hear: Callable[[CallEnd], CallEnd] = _as_it_is
    is_given_up: bool = False
    spent_usd: Decimal | None = None

    def heard(self, end: CallEnd) -> CallEnd:
        """Say what came of the request, before the next one leaves.

        Returns:
            The same end; where nothing leaves to the model for a while now, its line says so.
        """
        self.spent_usd = _spent_usd(end)
        return self.hear(end)


Leave: TypeAlias = Callable[[], AbstractAsyncContextManager[Lease | None]]


@dataclass(frozen=True, slots=True)
class Governor:
    """Gives the leases of one run.

    Attributes:
        segments: Take the `sent` lines.
        tell: Told of each request when it may leave.
    """

    run_id: str
    limiter: Limiter
    purse: Purse
    stop: Stop
    segments: Segments
    book: PriceBook
    clock: Clock
    tell: Callable[[Event], None]
    first_refusals: FirstRefusals = field(default_factory=FirstRefusals)

    @asynccontextmanager
    async def leave(
        self, request: Request, stop: Stop | None = None
    ) -> AsyncGenerator[Lease | None, None]:
        """Wait until a request may leave, and count it while it is held.

        Yields None if it may not leave any more: the run stops, its money is used up, or the model
        is given up.

        Args:
            request: What is to leave.
            stop: Ends the wait of this one alone.

        Raises:
            StoreError: The disk failed. Nothing has left.
        """
        item, turn = request.item, request.turn.number
        usd = estimate_item(self.book, item, at=self.clock.stamp(), turn=turn)
        if not await self.purse.reserve(usd):
            yield None
            return
        lease: Lease | None = None
        try:
            demand = Demand(input_tokens(item, turn=turn), usd)
            async with self.limiter.departure(
                item.model, demand, item_id=item.id, attempt=request.n, stop=stop or self.stop
            ) as call:
                if call is not None:
                    lease = await self._announced(request, demand, call)
                yield lease
        finally:
            self.purse.settle(usd, _NOTHING if lease is None else lease.spent_usd)

    async def _announced(self, request: Request, demand: Demand, call: Call) -> Lease:
        sent = announcement(request.item, request.turn, request.n, self.run_id, self.clock, demand)
        lease = Lease(sent, lambda: self.limiter.sent(call), lambda end: self._heard(call, end))
        try:
            await self.segments.of(sent.item).append(sent)
        except asyncio.CancelledError:
            lease.is_given_up = True  # its line will be there all the same, and needs an end
            return lease
        self.tell(
            AttemptBegan(
                item=sent.item,
                key=sent.key,
                turn=sent.turn,
                attempt=sent.attempt,
                model=sent.model,
                est_usd=sent.est_usd,
            )
        )
        return lease

    def _heard(self, call: Call, end: CallEnd) -> CallEnd:
        cools_s = self.limiter.heard(call, end.error)
        if end.error is None:
            self.first_refusals.passed()
        else:
            self.first_refusals.refused(end.item.id, end.error)
            if end.error.stops_run:
                self.stop.ask(end.error.message, end.error)
        line = end.line
        if line is None:
            return end
        tokens = line.tokens
        # What may have been drawn, and was never seen, counts as it was reserved.
        n_images = {"yes": max(1, len(line.images)), "maybe": None, "no": 0}[line.billed]
        self.limiter.settle(
            call,
            tokens=None if tokens is None else tokens.input_text + tokens.input_image,
            n_images=n_images,
            usd=line.cost_usd,
        )
        if not cools_s:
            return end
        until = stamp(self.clock.now() + timedelta(seconds=cools_s))
        return replace(end, line=msgspec.structs.replace(line, cools_until=until))


def _spent_usd(end: CallEnd) -> Decimal | None:
    """What a call counts with in a budget; None if nobody knows, which counts as its estimate."""
    if end.line is None or end.line.billed == "no":
        return _NOTHING
    return end.line.cost_usd
