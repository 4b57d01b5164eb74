"""The workers of one run on a cluster, and whoever looks after them.

Ray's own restarts are used, and its retries of calls are not: whether a request is sent again is
decided by the run.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from batchgen.crew import Crew, Desk
from batchgen.crew.place import parts_of
from batchgen.errors import BatchgenError, ClusterError
from batchgen.executors.ray.actors import AtDesk, Place, cause_of, check_version, why
from batchgen.executors.ray.salvage import salvage_on
from batchgen.wording import duration
from batchgen.workshop import Brief

_BETWEEN_LOOKS_S: Final = 0.2
_UNTOLD_S: Final = 15.0
_FAREWELL_S: Final = 15.0
_MAX_WAITING: Final = 100_000


@dataclass(slots=True)
class Shift:
    """The workers of one run, and whoever looks after them."""

    ray: Any
    run_id: str
    root: Path
    brief: Brief
    crew: Crew
    desk: AtDesk = field(init=False)
    _keepers: list[asyncio.Task[None]] = field(default_factory=list)
    _places: list[Any] = field(default_factory=list)
    _at_work: set[int] = field(default_factory=set)
    _given_up: dict[str, asyncio.Event] = field(default_factory=dict)
    _nodes: dict[str, str] = field(default_factory=dict)  # where each worker was, by its name

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
        self.desk = AtDesk(self.ray.remote(Desk).options(**options).remote())

    def begin(self, n_workers: int) -> None:
        """Have so many workers, from now on."""
        self.crew.on_given_up = self._give_up
        if self.brief.address is not None:
            self.crew.salvage = self._salvage
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
        from ray.exceptions import ActorDiedError, RayActorError, RayTaskError

        place, life, was_there = self._new_place(), 0, False
        while True:
            name = f"{number:02x}{life:02x}"
            try:
                version, self._nodes[name] = await place.is_there.remote()
                check_version(version)
                was_there = True
                self._at_work.add(number)
                if await self._works(place, name):
                    return
                place = self._new_place()  # the one that stands still may do so for ever
            except RayTaskError as failed:
                raise cause_of(failed) from None
            except ActorDiedError as failed:
                if not was_there:
                    raise ClusterError(f"a worker could not be started: {why(failed)}") from None
                place = self._new_place()
            except RayActorError:
                await asyncio.sleep(_BETWEEN_LOOKS_S)
            if number in self._at_work:
                self._at_work.discard(number)
                await self.desk.lose(name)
                life += 1

    async def _works(self, place: Any, name: str) -> bool:
        """Have a worker work until it is sent home; False if it was given up before that."""
        given_up = self._given_up[name] = asyncio.Event()
        arguments = (self.run_id, name, self.root, self.brief, self.desk.actor)
        working = asyncio.ensure_future(place.work.remote(*arguments))
        waiting = asyncio.ensure_future(given_up.wait())
        try:
            await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
                return True
        finally:
            waiting.cancel()
            del self._given_up[name]
        working.add_done_callback(_heard)
        self.ray.kill(place)
        return False

    async def _salvage(self, name: str) -> None:
        if (node := self._nodes.get(name)) is not None:
            which = parts_of(self.run_id, name)
            await salvage_on(self.ray, node, self.brief, self.crew.warn, which)

    def _give_up(self, name: str) -> None:
        if (given_up := self._given_up.get(name)) is not None:
            given_up.set()

    def _new_place(self) -> Any:
        options = {
            "num_cpus": 1,
            "max_restarts": -1,
            "max_task_retries": 0,
            "scheduling_strategy": "SPREAD",
        }
        place = self.ray.remote(Place).options(**options).remote()
        self._places.append(place)
        return place

    def _kept(self, keeper: asyncio.Task[None]) -> None:
        if keeper.cancelled() or (failed := keeper.exception()) is None:
            return
        if isinstance(failed, BatchgenError | RuntimeError):
            self.crew.fail(failed)
        else:
            self.crew.fail(ClusterError(f"the Ray cluster failed: {why(failed)}; run again"))

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
                    f"Ray has placed no worker for {duration(gone_s)} (retries.patience): free a "
                    "processor in the cluster, or lower --ray-workers, and run again"
                )


def _heard(ended: "asyncio.Future[Any]") -> None:
    """What came of it does not matter any more."""
    if not ended.cancelled():
        ended.exception()
