"""A run whose calls are made on a Ray cluster, which places the workers and replaces lost ones.

    run ──> Desk, an actor beside it ──> a worker on each node, pulled from there

Source: docs/adr/0024.
"""

import asyncio
import importlib.util
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from batchgen.crew import Crew
from batchgen.errors import ClusterError, UsageError
from batchgen.executors.ray.cluster import Cluster, host_and_port
from batchgen.executors.ray.salvage import salvage_on
from batchgen.executors.ray.shift import Shift
from batchgen.stop import Stop
from batchgen.workshop import Brief

_MOST_LOCAL: Final = 4
_JOIN_S: Final = 60.0
_LEAVE_S: Final = 15.0
T = TypeVar("T")


@dataclass(slots=True)
class RayHands:
    """Gets workers from Ray.

    Attributes:
        address: `auto`, or `HOST:PORT` of a cluster; None starts one on this machine.
        n_workers: None is one for each node, or of one that is started here as many as it has
            processors, up to four.

    Raises:
        UsageError: Ray is not installed, or this is no address of a cluster.
    """

    address: str | None = None
    n_workers: int | None = None

    def __post_init__(self) -> None:
        """Find out what can be found out before a job is read."""
        if importlib.util.find_spec("ray") is None:
            raise UsageError(
                "--executor ray needs Ray, which is not installed: pip install 'batchgen[ray]'"
            )
        address = self.address
        if address is not None and address != "auto" and host_and_port(address) is None:
            raise UsageError(f"--ray-address {address}: expected auto, or HOST:PORT of a cluster")

    @asynccontextmanager
    async def at_work(
        self, run_id: str, root: Path, brief: Brief, crew: Crew
    ) -> AsyncIterator[None]:
        """Have workers at the desk of a run; see `crew.Hands`."""
        with Cluster(self.address, self._n_local()) as cluster:
            member = _Member(cluster, lambda: Shift(cluster.ray, run_id, root, brief, crew))
            with _signals_kept():
                shift = await member.join(brief, crew.governor.stop)
            if shift is None:
                yield  # without workers: somebody has asked to stop, and nothing is sent any more
                return
            try:
                async with crew.at(shift.desk):
                    shift.begin(self.n_workers or cluster.n_nodes())
                    try:
                        yield
                    finally:
                        await shift.end()
            finally:
                await member.leave()

    async def salvage(self, brief: Brief, stop: Stop, warn: Callable[[str], None]) -> None:
        """Have every node put into the store what workers left there; see `crew.Hands`.

        Of a cluster that is started here this machine is the only node, and looked after already.
        """
        if self.address is None:
            return
        with Cluster(self.address, self._n_local()) as cluster:
            member = _Member(cluster, cluster.nodes)
            with _signals_kept():
                nodes = await member.join(brief, stop)
            try:
                looks = (salvage_on(cluster.ray, node, brief, warn) for node in nodes or ())
                await stop.cuts_short(_all(looks))
            finally:
                await member.leave()

    def _n_local(self) -> int:
        return self.n_workers or min(_MOST_LOCAL, os.cpu_count() or 1)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Have signals mean what they meant: Ray takes SIGTERM for itself, to print where it came.

    It does so below Python, which has to be told again.
    """
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
            signal.siginterrupt(signal.SIGTERM, False)  # noqa: FBT003 - a function of C


class _Member(Generic[T]):
    """A thread that joins a cluster, and lives for as long as we are in it.

    What Ray starts is killed by the system when the thread that started it ends. It is a daemon: a
    cluster that does not answer keeps nobody.
    """

    def __init__(self, cluster: Cluster, begin: Callable[[], T]) -> None:
        self._cluster, self._begin = cluster, begin
        self._leaves = threading.Event()

    async def join(self, brief: Brief, stop: Stop) -> T | None:
        """Join, and begin; None if the run stops meanwhile.

        Raises:
            ClusterError: There is no cluster, or it does not answer.
        """
        loop = asyncio.get_running_loop()
        joined: asyncio.Future[T] = loop.create_future()
        self._left: asyncio.Future[None] = loop.create_future()

        def live() -> None:
            try:
                self._cluster.connect(brief)
                begun = self._begin()
            except Exception as failed:  # noqa: BLE001 - it is raised where it is waited for
                _from_thread(loop, joined, failed)
            else:
                _from_thread(loop, joined, begun)
                self._leaves.wait()
            with suppress(Exception):
                self._cluster.disconnect()
            _from_thread(loop, self._left, None)

        threading.Thread(target=live, name="batchgen-ray", daemon=True).start()
        try:
            async with asyncio.timeout(_JOIN_S):
                if await stop.cuts_short(_done(joined)):
                    self._leaves.set()
                    return None
                return await joined
        except TimeoutError:
            self._leaves.set()
            who = self._cluster.address or "the Ray that was started here"
            raise ClusterError(
                f"{who} has not answered as a Ray cluster does for {_JOIN_S:.0f} s; nothing was "
                "sent"
            ) from None

    async def leave(self) -> None:
        """Leave the cluster, which ends if it was started here; waits for a while."""
        self._leaves.set()
        await asyncio.wait({self._left}, timeout=_LEAVE_S)


async def _all(works: Iterable[Awaitable[None]]) -> None:
    """Do all, also where one fails; raises what the first one did."""
    for came in await asyncio.gather(*works, return_exceptions=True):
        if came is not None:
            raise came


async def _done(future: "asyncio.Future[Any]") -> None:
    await asyncio.wait({future})


def _from_thread(
    loop: asyncio.AbstractEventLoop, future: "asyncio.Future[Any]", result: object
) -> None:
    """Settle a future of a loop, which may have ended."""

    def settle() -> None:
        if future.done():
            return
        if isinstance(result, Exception):
            future.set_exception(result)
            future.exception()  # seen, should nobody be waiting any more
        else:
            future.set_result(result)

    with suppress(RuntimeError):
        loop.call_soon_threadsafe(settle)
