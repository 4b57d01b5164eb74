"""The desk: where workers pull tickets and ask for leave, and the run hears of it.

It decides nothing but who gets a ticket, and keeps nothing but what was not fetched yet.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from batchgen.crew.messages import (
    Alive,
    CalledOff,
    Ended,
    Gone,
    Granted,
    Message,
    News,
    Order,
    Taken,
    Ticket,
)

# No more tickets at once: a worker that is lost has little in its hands.
_CHUNK = 32


class RunSide(Protocol):
    """The desk, as the run knows it."""

    async def order(self, orders: Sequence[Order]) -> None:
        """Put up tickets, and answer workers."""

    async def news(self) -> list[News]:
        """Wait for what workers say, in the order in which they said it."""

    async def lose(self, worker: str) -> None:
        """Hear a worker no more; the last news of it is that it is gone."""

    async def close(self) -> None:
        """Send all workers home."""


class WorkerSide(Protocol):
    """The desk, as a worker knows it."""

    async def pull(self, worker: str) -> list[Order] | None:
        """Wait for orders; None if the worker is to go home."""

    async def tell(self, worker: str, messages: Sequence[Message]) -> None:
        """Tell the run; with nothing to say, that the worker is there."""


@dataclass(slots=True)
class _Inbox:
    """What one worker has not fetched yet, and which tickets it has in hand."""

    orders: list[Order] = field(default_factory=list)
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    in_hand: set[int] = field(default_factory=set)
    is_waiting: bool = False

    def put(self, order: Order) -> None:
        self.orders.append(order)
        self.filled.set()


@dataclass(slots=True, repr=False)  # a dashboard would name every message after what is in it
class Desk:
    """Both sides of it; used from one event loop."""

    _inboxes: dict[str, _Inbox] = field(default_factory=dict)
    _lost: set[str] = field(default_factory=set)
    _tickets: deque[Ticket] = field(default_factory=deque)
    _holders: dict[int, str] = field(default_factory=dict)
    _news: list[News] = field(default_factory=list)
    _told: asyncio.Event = field(default_factory=asyncio.Event)
    _is_closed: bool = False

    # --- the run ------------------------------------------------------------------------------

    async def order(self, orders: Sequence[Order]) -> None:
        """Put up tickets, and answer workers."""
        for order in orders:
            match order:
                case Ticket():
                    self._put_up(order)
                case CalledOff(number) if number not in self._holders:
                    self._tickets = deque(one for one in self._tickets if one.number != number)
                case Granted(number) | CalledOff(number):
                    inbox = self._inboxes.get(self._holders.get(number, ""))
                    if inbox is not None:
                        inbox.put(order)
        self._deal()

    async def news(self) -> list[News]:
        """Wait for what workers say, in the order in which they said it."""
        await self._told.wait()
        self._told.clear()
        news, self._news = self._news, []
        return news

    async def lose(self, worker: str) -> None:
        """Hear a worker no more; the last news of it is that it is gone."""
        if worker in self._lost:
            return
        self._lost.add(worker)
        inbox = self._inboxes.pop(worker, None)
        if inbox is not None:
            inbox.filled.set()
            for number in inbox.in_hand:
                self._holders.pop(number, None)
        self._tell(worker, Gone())

    async def close(self) -> None:
        """Send all workers home."""
        self._is_closed = True
        for inbox in self._inboxes.values():
            inbox.filled.set()

    # --- workers ------------------------------------------------------------------------------

    async def pull(self, worker: str) -> list[Order] | None:
        """Wait for orders; None if the worker is to go home."""
        if worker in self._lost:
            return None
        inbox = self._inboxes.setdefault(worker, _Inbox())
        inbox.is_waiting = True
        self._deal()
        if not self._is_closed:  # else nobody would wake who comes late
            await inbox.filled.wait()
        inbox.is_waiting = False
        inbox.filled.clear()
        if worker in self._lost or (self._is_closed and not inbox.orders):
            return None
        orders, inbox.orders = inbox.orders, []
        return orders

    async def tell(self, worker: str, messages: Sequence[Message]) -> None:
        """Tell the run; with nothing to say, that the worker is there."""
        if worker in self._lost:
            return
        inbox = self._inboxes.setdefault(worker, _Inbox())
        for message in messages or (Alive(),):
            if isinstance(message, Ended):
                inbox.in_hand.discard(message.number)
                self._holders.pop(message.number, None)
            self._tell(worker, message)

    # --- who gets what ------------------------------------------------------------------------

    def _put_up(self, ticket: Ticket) -> None:
        """A ticket for whoever is free; at once for its worker, if that is still here."""
        if ticket.worker in self._inboxes:
            self._give(ticket.worker, ticket)
        else:
            self._tickets.append(ticket)

    def _deal(self) -> None:
        """Give tickets to the workers that wait for some, each its share, the idlest first."""
        waiting = [name for name, inbox in self._inboxes.items() if inbox.is_waiting]
        for name in sorted(waiting, key=lambda name: len(self._inboxes[name].in_hand)):
            share = -(-len(self._tickets) // len(self._inboxes))
            for _ in range(min(share, _CHUNK)):
                self._give(name, self._tickets.popleft())

    def _give(self, worker: str, ticket: Ticket) -> None:
        inbox = self._inboxes[worker]
        inbox.in_hand.add(ticket.number)
        self._holders[ticket.number] = worker
        self._tell(worker, Taken(ticket.number))
        inbox.put(ticket)

    def _tell(self, worker: str, message: Message) -> None:
        self._news.append(News(worker, message))
        self._told.set()
