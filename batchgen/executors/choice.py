"""Who makes the calls of a run, as its caller says."""

from typing import Final, Literal, TypeAlias, TypedDict

from batchgen.crew import Hands
from batchgen.errors import UsageError
from batchgen.options import RunOptions, chosen_shard

Executor: TypeAlias = Literal["local", "ray"]

EXECUTORS: Final[tuple[Executor, ...]] = ("local", "ray")


class ExecutorOptions(TypedDict, total=False):
    """Who makes the calls; this process, unless something else is said."""

    executor: Executor | None
    ray_address: str | None
    """`auto`, or `HOST:PORT` of a Ray cluster; without it one is started on this machine."""
    ray_workers: int | None
    """How many; one for each node unless told."""


def choose_hands(chosen: ExecutorOptions, options: RunOptions) -> Hands | None:
    """What gets workers for a run; None where its calls are made in this process.

    Raises:
        UsageError: They cannot be had in the way that was asked for.
    """
    address, n_workers = chosen.get("ray_address"), chosen.get("ray_workers")
    match chosen.get("executor") or "local":
        case "local":
            for flag, value in (("--ray-address", address), ("--ray-workers", n_workers)):
                if value is not None:
                    raise UsageError(f"{flag} goes with --executor ray")
            return None
        case "ray":
            if (shard := chosen_shard(options)) is not None:
                raise UsageError(
                    f"--shard {shard} and --executor ray are two ways to use many machines: "
                    "leave one out"
                )
            if n_workers is not None and n_workers < 1:
                raise UsageError(f"--ray-workers {n_workers}: expected at least 1")
            from batchgen.executors.ray import RayHands

            return RayHands(address, n_workers)
        case other:
            raise UsageError(f"executor {other}: expected one of {', '.join(EXECUTORS)}")
