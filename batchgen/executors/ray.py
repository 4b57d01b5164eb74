"""A run whose calls are made on a Ray cluster, which places the workers and replaces lost ones.

    run ──> Desk, an actor beside it ──> a worker on each node, pulled from there

Ray carries messages and nothing else: no picture, no prompt's file and no key goes through its
object store, its environments or its logs. A worker is told the key as an argument of a method,
each time that it is started. Only a cluster that is started here, for one run, is kept to this
machine and kept quiet; one that somebody else has started is taken as it is.

Ray's own restarts are used, and its retries of calls are not: whether a request is sent again is
decided by the run.

Source: docs/adr/0024.
"""

import asyncio
import importlib.util
import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from batchgen._version import __version__
from batchgen.crew import Crew, Desk, Worker
from batchgen.crew.messages import Message, News, Order
from batchgen.errors import BatchgenError, ClusterError, UsageError
from batchgen.executors.local import raise_file_limit
from batchgen.workshop import Brief

_MOST_LOCAL: Final = 4
_NAMESPACE: Final = "batchgen"
_CONNECT_S: Final = 5.0
_BETWEEN_LOOKS_S: Final = 0.2
_UNTOLD_S: Final = 15.0
_FAREWELL_S: Final = 15.0
_MAX_WAITING: Final = 100_000
_OBJECT_STORE_BYTES: Final = 80 << 20
# Sockets lie below, in folders with long names, and no system takes more than 107 for all of it.
_MAX_PATH_CHARS: Final = 30
# Read when Ray is imported. It asks the cloud where it is, and reports that it does not report,
# unless it can reach neither; and on any system but these it binds to loopback by itself.
_QUIET: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9",
}
_LOCAL: Final = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}


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
        if address is not None and address != "auto" and _host_and_port(address) is None:
            raise UsageError(f"--ray-address {address}: expected auto, or HOST:PORT of a cluster")

    @asynccontextmanager
    async def at_work(
        self, run_id: str, root: Path, brief: Brief, crew: Crew
    ) -> AsyncIterator[None]:
        """Have workers at the desk of a run; see `crew.Hands`."""
        with _Cluster(self.address, self._n_local()) as cluster:
            # Not in the main thread, where Ray would take the signal handlers for itself.
            await asyncio.to_thread(cluster.connect, brief)
            shift = _Shift(cluster.ray, run_id, root, brief, crew)
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


def _host_and_port(address: str) -> tuple[str, int] | None:
    host, _, port = address.rpartition(":")
    if not host or "/" in address or not port.isdigit():
        return None
    return host.strip("[]"), int(port)


# --- the cluster ----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Cluster:
    """The connection to a cluster, which is started here if there is no address."""

    address: str | None
    n_local: int
    ray: Any = None
    _directory: str | None = None

    def __enter__(self) -> Self:
        """Set what Ray reads when it is imported, and where it keeps its files."""
        for name, value in {**_QUIET, **(_LOCAL if self.address is None else {})}.items():
            os.environ.setdefault(name, value)
        if self.address is None:
            usual = tempfile.gettempdir()
            parent = usual if len(usual) <= _MAX_PATH_CHARS else "/tmp"  # noqa: S108 - it is made anew
            self._directory = tempfile.mkdtemp(prefix="bg-", dir=parent)
            # Else it puts one of its own into the home directory.
            token = Path(self._directory) / "token"
            token.touch(0o600)
            token.write_text(secrets.token_hex(32), "ascii")
            os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
        return self

    def __exit__(self, *exc: object) -> None:
        """Leave nothing behind."""
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def connect(self, brief: Brief) -> None:
        """Connect, or start a cluster.

        Raises:
            ClusterError: It is not there.
        """
        if self.address not in (None, "auto"):
            _look_for(str(self.address))
        import ray

        _quieten(is_local=self.address is None)
        told: dict[str, Any] = {
            "namespace": _NAMESPACE,
            "log_to_driver": False,
            "logging_level": logging.CRITICAL,
        }
        if self.address is None:
            told.update(
                address="local",
                num_cpus=self.n_local,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                _temp_dir=self._directory,
            )
        else:
            told["address"] = self.address
        try:
            with _without_secrets(brief):
                ray.init(**told)
        except Exception as failed:  # noqa: BLE001 - Ray raises what it likes
            words = brief.secrets.redact(str(failed).partition("\n")[0])
            what = "Ray could not be started on this machine"
            if self.address == "auto":
                what = "no Ray cluster was found on this machine"
            elif self.address is not None:
                what = f"the Ray cluster at {self.address} could not be joined"
            raise ClusterError(f"{what}: {words}; nothing was sent") from None
        self.ray = ray

    def n_nodes(self) -> int:
        """How many workers there shall be if nobody says so."""
        if self.address is None:
            return self.n_local
        return max(1, sum(bool(node["Alive"]) for node in self.ray.nodes()))

    def disconnect(self) -> None:
        """Let go of the cluster; one that was started here ends."""
        if self.ray is not None:
            self.ray.shutdown()


def _look_for(address: str) -> None:
    """See whether anybody listens: Ray itself tries for more than half a minute, and loudly."""
    found = _host_and_port(address)
    assert found is not None  # noqa: S101 - it was looked at before
    try:
        socket.create_connection(found, _CONNECT_S).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers at {address}: {error.strerror or error}; nothing was sent, "
            "start it and run again"
        ) from None


@contextmanager
def _without_secrets(brief: Brief) -> Iterator[None]:
    """Keep secrets out of the environment that the processes of a new cluster inherit."""
    redact = brief.secrets.redact
    taken = {name: value for name, value in os.environ.items() if redact(value) != value}
    for name in taken:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(taken)


def _quieten(*, is_local: bool) -> None:
    """Have Ray keep to itself what nobody asked for.

    These names are its own, and may go: then it tells more, and no run fails of it.
    """
    with suppress(ImportError, AttributeError):
        from ray._private import worker

        worker.print_to_stdstream = _nothing
        if is_local:
            from ray._private.node import Node

            # It serves a page on this machine, and asks the cloud where it is, also if told not to.
            Node.start_api_server = _no_page
            Node.start_monitor = _nothing
            Node.start_log_monitor = _nothing


def _nothing(*_: Any, **__: Any) -> None:
    return


def _no_page(node: Any, **_: Any) -> None:
    node._webui_url = ""  # noqa: SLF001 - as Ray itself leaves it where there is none


# --- the workers ----------------------------------------------------------------------------------


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
class _Shift:
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
