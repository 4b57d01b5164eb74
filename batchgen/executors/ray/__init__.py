"""A run whose calls are made on a Ray cluster, which places the workers and replaces lost ones.

    run ──> Desk, an actor beside it ──> a worker on each node, pulled from there

Source: docs/adr/0024.
"""

import asyncio
import importlib.util
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from batchgen.crew import Crew
from batchgen.errors import UsageError
from batchgen.executors.ray.cluster import Cluster, host_and_port
from batchgen.executors.ray.shift import Shift
from batchgen.workshop import Brief

_MOST_LOCAL: Final = 4


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
                await asyncio.to_thread(cluster.connect, brief)
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
