"""What runs on a cluster: the desk as both sides reach it, and the processes of workers.

Ray carries messages and nothing else: no picture, no file of a prompt and no key goes through its
object store, its environments or its logs. A worker is told the key as an argument of a method,
each time that it is started.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchgen._version import __version__
from batchgen.clock import Clock
from batchgen.crew import Worker, salvage
from batchgen.crew.messages import Message, News, Order
from batchgen.errors import ClusterError, UsageError
from batchgen.executors.local import raise_file_limit
from batchgen.workshop import Brief


@dataclass(frozen=True, slots=True)
class AtDesk:
    """The desk as an actor, for both sides; see `crew.Desk`.

    Everything here raises ClusterError when it is there no more.
    """

    actor: Any

    async def order(self, orders: Sequence[Order]) -> None:
        """Put up tickets, and answer workers."""
        await _answer(self.actor.order.remote(orders))

    async def news(self) -> list[News]:
        """Wait for what workers say."""
        news: list[News] = await _answer(self.actor.news.remote())
        return news

    async def lose(self, worker: str) -> None:
        """Hear a worker no more."""
        await _answer(self.actor.lose.remote(worker))

    async def close(self) -> None:
        """Send all workers home."""
        await _answer(self.actor.close.remote())

    async def pull(self, worker: str) -> list[Order] | None:
        """Wait for orders."""
        orders: list[Order] | None = await _answer(self.actor.pull.remote(worker))
        return orders

    async def tell(self, worker: str, messages: Sequence[Message]) -> None:
        """Tell the run."""
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
            f"the Ray cluster was lost ({why(failed)}); what was under way may be billed, start "
            "the cluster and run again"
        ) from None


class Place:
    """A process on some node, in which one worker after the other may work."""

    async def is_there(self) -> tuple[str, str]:
        """Answer, with the version that is installed there, and the node."""
        import ray

        return __version__, ray.get_runtime_context().get_node_id()

    async def work(self, run_id: str, name: str, root: Path, brief: Brief, desk: Any) -> None:
        """Work until the desk sends the worker home."""
        raise_file_limit()
        await Worker(run_id, name, root, brief, AtDesk(desk)).work()

    async def salvage(self, brief: Brief, worker: str) -> None:
        """Put what workers left here into the store; see `crew.salvage`."""
        await salvage(brief, Clock(), _unheard, worker)


def check_version(version: str) -> None:
    """Raise UsageError if a node has another batchgen than the run."""
    if version != __version__:
        raise UsageError(
            f"a node of the Ray cluster has batchgen {version}, and this is {__version__}: "
            "install the same everywhere"
        )


def cause_of(failed: Any) -> Exception:
    """What a worker raised, without the wrapping of Ray."""
    cause = getattr(failed, "cause", None)
    return cause if isinstance(cause, Exception) else RuntimeError(str(failed))


def why(failed: BaseException) -> str:
    """What Ray says of a failure, as far as a person can use it: the last line with an error."""
    lines = [line.strip() for line in str(failed).splitlines() if line.strip()]
    told = [line for line in lines if "Error" in line]
    return (told or lines[:1] or [type(failed).__name__])[-1].rstrip(".")


def _unheard(_warning: str) -> None:
    """The run tells that it waits for this."""
