"""The segments that one run writes: its own, and one for each worker that makes calls for it.

All of them are written here, by the run: a machine that dies takes no line with it. The ledger is
read in the order of its segments' names, and of an item the last line counts. So the lines of an
item stay in one segment while it stays with one worker, and go on in one that sorts behind it when
another worker takes it: after each loss, what is handed out goes into segments of a new generation.
"""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Self

from batchgen.sanitize import Secrets
from batchgen.store.layout import Layout
from batchgen.store.ledger import Ledger, Run


@dataclass(slots=True)
class Segments:
    """Finds the segment for a line; `async with` closes all but the run's own.

    Attributes:
        own: The run's own.
        generation: Counts the losses.

    Memory: a reference for each item that is in a worker's hands. A descriptor and a thread for
    each worker, and for each segment before the last loss whose items are not all done.
    """

    layout: Layout
    own: Ledger
    secrets: Secrets
    generation: int = 0
    _run: Run | None = None
    _of_worker: dict[str, Ledger] = field(default_factory=dict)  # of this generation
    _of_item: dict[str, Ledger] = field(default_factory=dict)
    _before: list[Ledger] = field(default_factory=list)  # of the generations before

    async def __aenter__(self) -> Self:
        """There is none yet but the run's own."""
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close them all; the first that fails is raised."""
        async with AsyncExitStack() as stack:
            for ledger in self._others():
                stack.push_async_exit(ledger)
        self._of_worker.clear()
        self._before.clear()

    async def begin(self, run: Run) -> None:
        """Write the first line of the run, which will be that of each segment.

        Raises:
            StoreError: The disk failed.
        """
        self._run = run
        await self.own.append(run)

    def of(self, item_id: str) -> Ledger:
        """Where the lines of an item go."""
        return self._of_item.get(item_id, self.own)

    async def hand_over(self, item_id: str, worker: str) -> None:
        """An item goes to a worker: its lines follow, into the segment of that one.

        Raises:
            StoreError: The disk failed.
        """
        if worker not in self._of_worker:
            name = f"w{self.generation:04x}{worker}"
            ledger = Ledger(self.layout.segment(f"{self.own.path.stem}.{name}"), self.secrets)
            self._of_worker[worker] = await ledger.__aenter__()
            if self._run is not None:
                await ledger.append(self._run)
        self._of_item[item_id] = self._of_worker[worker]

    def let_go(self, item_id: str) -> None:
        """An item has ended: nobody has it in hand any more."""
        self._of_item.pop(item_id, None)

    async def lost(self) -> None:
        """A worker is gone, and what it had goes to others: into segments behind all there are.

        Those that no item needs any more are closed.
        """
        self.generation += 1
        self._before += self._of_worker.values()
        self._of_worker.clear()
        needed = {id(ledger) for ledger in self._of_item.values()}
        idle = [ledger for ledger in self._before if id(ledger) not in needed]
        self._before = [ledger for ledger in self._before if id(ledger) in needed]
        for ledger in idle:
            await ledger.__aexit__()

    def _others(self) -> Iterator[Ledger]:
        yield from self._before
        yield from self._of_worker.values()
