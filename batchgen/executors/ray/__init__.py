"""A run whose calls are made on a Ray cluster, which places the workers and replaces lost ones.

    run ──> Desk, an actor beside it ──> a worker on each node, pulled from there

Source: docs/adr/0024.
"""

import asyncio
import importlib.util
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from batchgen.crew import Crew
from batchgen.errors import ClusterError, UsageError
from batchgen.executors.ray.cluster import Cluster, host_and_port
from batchgen.executors.ray.shift import Shift
from batchgen.workshop import Brief

_MOST_LOCAL: Final = 4
_JOIN_S: Final = 60.0


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
            with _signals_kept():
                connecting = asyncio.wait_for(_in_daemon(partial(cluster.connect, brief)), _JOIN_S)
                try:
                    is_stopped = await crew.governor.stop.cuts_short(connecting)
                except TimeoutError:
                    raise ClusterError(
                        f"{self.address or 'the Ray that was started here'} has not answered for "
                        f"{_JOIN_S:.0f} s as a Ray cluster does; nothing was sent"
                    ) from None
            if is_stopped:
                yield  # without workers: nothing is sent any more
                return
            shift = Shift(cluster.ray, run_id, root, brief, crew)
            try:
                async with crew.at(shift.desk):
                    shift.begin(self.n_workers or cluster.n_nodes())
                    try:
                        yield
                    finally:
                        await shift.end()
            finally:
                await asyncio.to_thread(cluster.disconnect)

    def _n_local(self) -> int:
        return self.n_workers or min(_MOST_LOCAL, os.cpu_count() or 1)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Have signals mean what they meant: Ray takes SIGTERM for itself, to print where it came.

    It does so below Python, which has to be told again.
    """
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        signal.siginterrupt(signal.SIGTERM, False)  # noqa: FBT003 - a function of C


async def _in_daemon(job: Callable[[], None]) -> None:
    """Do a job in a thread that nobody waits for once nobody wants what it does."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def do() -> None:
        try:
            job()
        except Exception as failed:  # noqa: BLE001 - it is raised where it is waited for
            loop.call_soon_threadsafe(_settle, done, failed)
        else:
            loop.call_soon_threadsafe(_settle, done, None)

    threading.Thread(target=do, name="batchgen-ray", daemon=True).start()
    await done


def _settle(done: "asyncio.Future[None]", failed: Exception | None) -> None:
    if done.done():
        return
    if failed is None:
        done.set_result(None)
    else:
        done.set_exception(failed)
