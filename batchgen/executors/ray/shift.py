"""The workers of one run on a cluster, and the desk between it and them.

Ray carries messages and nothing else: no picture, no file of a prompt and no key goes through its
object store, its environments or its logs. A worker is told the key as an argument of a method,
each time that it is started.

Ray's own restarts are used, and its retries of calls are not: whether a request is sent again is
decided by the run.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from batchgen._version import __version__
from batchgen.crew import Crew, Desk, Worker
from batchgen.crew.messages import Message, News, Order
from batchgen.errors import BatchgenError, ClusterError, UsageError
from batchgen.executors.local import raise_file_limit
from batchgen.workshop import Brief

_BETWEEN_LOOKS_S: Final = 0.2
_UNTOLD_S: Final = 15.0
_FAREWELL_S: Final = 15.0
_MAX_WAITING: Final = 100_000


@dataclass(frozen=True, slots=True)
class _AtDesk:
    """The desk as an actor, for both sides."""

    actor: Any

    async def order(self, orders: Sequence[Order]) -> None:
        await self.actor.order.remote(orders)

    async def news(self) -> list[News]:
        news: list[News] = await self.actor.news.remote()
        return news

    async def lose(self, worker: str) -> None:
        await self.actor.lose.remote(worker)

    async def close(self) -> None:
        await self.actor.close.remote()

    async def pull(self, worker: str) -> list[Order] | None:
        orders: list[Order] | None = await self.actor.pull.remote(worker)
        return orders

    async def tell(self, worker: str, messages: Sequence[Message]) -> None:
        await self.actor.tell.remote(worker, messages)


class _Place:
    """A process on some node, in which one worker after the other may work."""

    async def is_there(self) -> str:
        """Answer, with the version that is installed there."""
        return __version__

    async def work(self, name: str, root: Path, brief: Brief, desk: Any) -> None:
        """Work until the desk sends the worker home."""
        raise_file_limit()
        await Worker(name, root, brief, _AtDesk(desk)).work()


@dataclass(slots=True)
class Shift:
    """The workers of one run, and whoever looks after them."""

    ray: Any
    run_id: str
    root: Path
    brief: Brief
    crew: Crew
    desk: _AtDesk = field(init=False)
    _keepers: list[asyncio.Task[None]] = field(default_factory=list)
    _places: list[Any] = field(default_factory=list)
    _at_work: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Put up the desk on the node of the run, whose end is the run's."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = self.ray.get_runtime_context().get_node_id()
        options = {
            "name": f"batchgen-limiter-{self.run_id}",
            "num_cpus": 0,
            "max_concurrency": _MAX_WAITING,
            "max_restarts": 0,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=False),
        }
        self.desk = _AtDesk(self.ray.remote(Desk).options(**options).remote())

    def begin(self, n_workers: int) -> None:
        """Have so many workers, from now on."""
        self._keepers = [asyncio.create_task(self._keep(n)) for n in range(n_workers)]
        self._keepers.append(asyncio.create_task(self._watch()))
        for keeper in self._keepers:
            keeper.add_done_callback(self._kept)

    async def end(self) -> None:
        """Send all home, and wait for them for a while."""
        with suppress(Exception):
            await asyncio.wait_for(self.desk.close(), _FAREWELL_S)
        *keepers, watch = self._keepers
        watch.cancel()
        at_work = [keepers[number] for number in self._at_work]
        if at_work:
            await asyncio.wait(at_work, timeout=_FAREWELL_S)
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for actor in (*self._places, self.desk.actor):
            with suppress(Exception):
                self.ray.kill(actor)

    async def _keep(self, number: int) -> None:
        """Have a worker; another one, whenever it is lost."""
        from ray.exceptions import RayActorError, RayTaskError

        place = self._new_place()
        life = 0
        while True:
            name = f"{number:02x}{life:02x}"
            try:
                self._check(await place.is_there.remote())
                self._at_work.add(number)
                await place.work.remote(name, self.root, self.brief, self.desk.actor)
            except RayTaskError as failed:
                raise _cause(failed) from None
            except RayActorError:
                if number in self._at_work:
                    self._at_work.discard(number)
                    await self.desk.lose(name)
                    life += 1
                await asyncio.sleep(_BETWEEN_LOOKS_S)
            else:
                return

    def _new_place(self) -> Any:
        options = {
            "num_cpus": 1,
            "max_restarts": -1,
            "max_task_retries": 0,
            "scheduling_strategy": "SPREAD",
        }
        place = self.ray.remote(_Place).options(**options).remote()
        self._places.append(place)
        return place

    def _check(self, version: str) -> None:
        if version != __version__:
            raise UsageError(
                f"a node of the Ray cluster has batchgen {version}, and this is {__version__}: "
                "install the same everywhere"
            )

    def _kept(self, keeper: asyncio.Task[None]) -> None:
        if keeper.cancelled() or (failed := keeper.exception()) is None:
            return
        if isinstance(failed, BatchgenError | RuntimeError):
            self.crew.fail(failed)
        else:
            self.crew.fail(ClusterError(f"the Ray cluster failed: {failed!r}; run again"))

    async def _watch(self) -> None:
        """Tell that nobody is at work, and end the run when that has lasted too long."""
        clock = self.crew.preparer.clock
        patience_s = self.crew.recovery.retries.patience
        since_s, is_told = clock.monotonic_s(), False
        while True:
            await asyncio.sleep(1)
            if self._at_work:
                since_s, is_told = clock.monotonic_s(), False
                continue
            gone_s = clock.monotonic_s() - since_s
            if gone_s > _UNTOLD_S and not is_told:
                is_told = True
                self.crew.warn("Ray has placed no worker yet: each needs one free processor")
            if gone_s > patience_s:
                raise ClusterError(
                    f"Ray has placed no worker for {gone_s / 60:.0f} minutes, which is longer than "
                    "retries.patience; run again when there is a free processor"
                )


def _cause(failed: Any) -> Exception:
    """What a worker raised, without the wrapping of Ray."""
    cause = getattr(failed, "cause", None)
    return cause if isinstance(cause, Exception) else RuntimeError(str(failed))
