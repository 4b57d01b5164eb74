"""The workers of one run on a cluster, and the desk between it and them.

Ray carries messages and nothing else: no picture, no file of a prompt and no key goes through its
object store, its environments or its logs. A worker is told the key as an argument of a method,
each time that it is started.

Ray's own restarts are used, and its retries of calls are not: whether a request is sent again is
decided by the run.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from batchgen._version import __version__
from batchgen.clock import Clock
from batchgen.crew import Crew, Desk, Worker, salvage
from batchgen.crew.messages import Message, News, Order
from batchgen.crew.place import parts_of
from batchgen.errors import BatchgenError, ClusterError, UsageError
from batchgen.executors.local import raise_file_limit
from batchgen.wording import duration
from batchgen.workshop import Brief

_BETWEEN_LOOKS_S: Final = 0.2
_UNTOLD_S: Final = 15.0
_FAREWELL_S: Final = 15.0
# A node that is to look what workers left there answers within so long, or is asked again.
_REACHED_S: Final = 60.0
_ASKED_AGAIN_S: Final = (2.0, 10.0, 30.0, None)
_MAX_WAITING: Final = 100_000


@dataclass(frozen=True, slots=True)
class _AtDesk:
    """The desk as an actor, for both sides."""

    actor: Any

    async def order(self, orders: Sequence[Order]) -> None:
        await _answer(self.actor.order.remote(orders))

    async def news(self) -> list[News]:
        news: list[News] = await _answer(self.actor.news.remote())
        return news

    async def lose(self, worker: str) -> None:
        await _answer(self.actor.lose.remote(worker))

    async def close(self) -> None:
        await _answer(self.actor.close.remote())

    async def pull(self, worker: str) -> list[Order] | None:
        orders: list[Order] | None = await _answer(self.actor.pull.remote(worker))
        return orders

    async def tell(self, worker: str, messages: Sequence[Message]) -> None:
        await _answer(self.actor.tell.remote(worker, messages))


async def _answer(asked: Awaitable[Any]) -> Any:
    """What the desk answers.

    Raises:
        ClusterError: It is there no more.
    """
    from ray.exceptions import RayError

    try:
        return await asked
    except RayError as failed:
        raise ClusterError(
            f"the Ray cluster was lost ({_why(failed)}); what was under way may be billed, start "
            "the cluster and run again"
        ) from None


class _Place:
    """A process on some node, in which one worker after the other may work."""

    async def is_there(self) -> tuple[str, str]:
        """Answer, with the version that is installed there, and the node."""
        import ray

        return __version__, ray.get_runtime_context().get_node_id()

    async def work(self, run_id: str, name: str, root: Path, brief: Brief, desk: Any) -> None:
        """Work until the desk sends the worker home."""
        raise_file_limit()
        await Worker(run_id, name, root, brief, _AtDesk(desk)).work()

    async def salvage(self, brief: Brief, worker: str) -> None:
        """Put what workers left here into the store; see `crew.salvage`."""
        await salvage(brief, Clock(), _unheard, worker)


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
        self.desk = _AtDesk(self.ray.remote(Desk).options(**options).remote())

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
                self._check(version)
                was_there = True
                self._at_work.add(number)
                if await self._works(place, name):
                    return
                place = self._new_place()  # the one that stands still may do so for ever
            except RayTaskError as failed:
                raise _cause(failed) from None
            except ActorDiedError as failed:
                if not was_there:
                    raise ClusterError(f"a worker could not be started: {_why(failed)}") from None
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
            self.crew.fail(ClusterError(f"the Ray cluster failed: {_why(failed)}; run again"))

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


async def salvage_on(
    ray: Any, node: str, brief: Brief, warn: Callable[[str], None], worker: str = "*"
) -> None:
    """Have what workers left on a node put into the store; nothing, if the node is no more.

    Raises:
        ClusterError: The node is there, and cannot be asked.
        StoreError: The store does not take it.
    """
    from ray.exceptions import RayError, RayTaskError

    loop = asyncio.get_running_loop()
    for wait_s in _ASKED_AGAIN_S:
        if (host := await asyncio.to_thread(_host_of, ray, node)) is None:
            return
        told = f"{host} is putting answers that workers left there into the store"
        telling = loop.call_later(_UNTOLD_S, warn, told)
        try:
            await _ask(ray, node, brief, worker)
        except RayTaskError as failed:
            raise _cause(failed) from None
        except (RayError, TimeoutError) as failed:
            if wait_s is None:
                raise ClusterError(
                    f"{host} cannot be asked for answers that workers may have left there "
                    f"({_why(failed)}); run again for them"
                ) from None
            await asyncio.sleep(wait_s)  # or it is dying, and that is not noticed yet
        else:
            return
        finally:
            telling.cancel()


async def _ask(ray: Any, node: str, brief: Brief, worker: str) -> None:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node, soft=False)
    options = {"num_cpus": 0, "max_restarts": 0, "scheduling_strategy": there}
    place = ray.remote(_Place).options(**options).remote()
    try:
        async with asyncio.timeout(_REACHED_S):
            await place.is_there.remote()
        await place.salvage.remote(brief, worker)  # Ray tells if it dies
    finally:
        with suppress(Exception):
            ray.kill(place)


def _host_of(ray: Any, node: str) -> str | None:
    """What a node calls itself; None if it is no more."""
    there = (one for one in ray.nodes() if one["NodeID"] == node and one["Alive"])
    return next((str(one["NodeManagerHostname"]) for one in there), None)


def _unheard(_warning: str) -> None:
    """The run tells that it waits for this."""


def _cause(failed: Any) -> Exception:
    """What a worker raised, without the wrapping of Ray."""
    cause = getattr(failed, "cause", None)
    return cause if isinstance(cause, Exception) else RuntimeError(str(failed))


def _why(failed: BaseException) -> str:
    """What Ray says of a failure, as far as a person can use it: the last line with an error."""
    lines = [line.strip() for line in str(failed).splitlines() if line.strip()]
    told = [line for line in lines if "Error" in line]
    return (told or lines[:1] or [type(failed).__name__])[-1].rstrip(".")


def _heard(ended: "asyncio.Future[Any]") -> None:
    """What came of it does not matter any more."""
    if not ended.cancelled():
        ended.exception()
