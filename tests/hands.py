"""Workers of a run in this process: all that they say is pickled on its way, as between machines.

One can be lost: what it does from then on reaches nobody, as of a machine that is cut off.
"""

import asyncio
import pickle
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchgen.clock import Clock
from batchgen.crew import Crew, Desk, Worker, salvage
from batchgen.crew.messages import Message, News, Order, Ticket
from batchgen.crew.place import parts_of
from batchgen.workshop import Brief


def carried(what: Any) -> Any:
    return pickle.loads(pickle.dumps(what))


@dataclass
class Carrying:
    """A desk at which every message goes through bytes."""

    desk: Desk = field(default_factory=Desk)
    said: list[News] = field(default_factory=list)
    items: dict[int, str] = field(default_factory=dict)  # by the numbers of their tickets
    hears: Callable[[str, Message], Awaitable[None]] | None = None  # before the run does
    has_heard: Callable[[str, Message], Awaitable[None]] | None = None

    async def order(self, orders: Sequence[Order]) -> None:
        for order in orders:
            if isinstance(order, Ticket):
                self.items[order.number] = order.request.item.id
        await self.desk.order(carried(list(orders)))

    async def news(self) -> list[News]:
        news: list[News] = carried(await self.desk.news())
        self.said += news
        return news

    async def lose(self, worker: str) -> None:
        await self.desk.lose(worker)

    async def close(self) -> None:
        await self.desk.close()

    async def pull(self, worker: str) -> list[Order] | None:
        orders: list[Order] | None = carried(await self.desk.pull(worker))
        return orders

    async def tell(self, worker: str, messages: Sequence[Message]) -> None:
        for message in messages:
            if self.hears is not None:
                await self.hears(worker, message)
        await self.desk.tell(worker, carried(list(messages)))
        for message in messages:
            if self.has_heard is not None:
                await self.has_heard(worker, message)


@dataclass
class InProcess:
    """Gets so many workers, named from `00` on; each that is lost is replaced."""

    n: int = 3
    desk: Carrying = field(default_factory=Carrying)
    brief: Brief | None = None
    names: list[str] = field(default_factory=list)
    working: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    ready: Callable[[Crew], None] = lambda _crew: None
    n_salvaged: int = 0
    crew: Crew = field(init=False)
    _run_id: str = ""
    _root: Path = Path()

    @asynccontextmanager
    async def at_work(
        self, run_id: str, root: Path, brief: Brief, crew: Crew
    ) -> AsyncIterator[None]:
        self._run_id, self._root, self.brief = run_id, root, carried(brief)
        self.crew = crew
        if brief.address is not None:
            crew.salvage = self._salvage
        self.ready(crew)
        async with crew.at(self.desk):
            for _ in range(self.n):
                self.hire()
            try:
                yield
            finally:
                await self.desk.close()
                await asyncio.gather(*self.working.values(), return_exceptions=True)

    def hire(self) -> None:
        assert self.brief is not None
        name = f"{len(self.names):02x}"
        self.names.append(name)
        worker = Worker(self._run_id, name, self._root, self.brief, self.desk)
        self.working[name] = asyncio.get_running_loop().create_task(worker.work())

    async def salvage(self, *_: Any) -> None:
        """There is no machine but this one, which has been looked at."""
        self.n_salvaged += 1

    async def _salvage(self, name: str) -> None:
        assert self.brief is not None
        await salvage(carried(self.brief), Clock(), print, parts_of(self._run_id, name))

    async def lose(self, name: str, *, is_dead: bool = True) -> None:
        """Cut a worker off, and get another one; what is not dead goes on, and is not heard."""
        await self.desk.lose(name)
        if is_dead:
            self.working[name].cancel()
        self.hire()
