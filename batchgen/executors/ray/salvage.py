"""What workers left on a node, put into the store by an actor that is sent there for it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from batchgen.errors import ClusterError
from batchgen.executors.ray.actors import Place, cause_of, check_version, why
from batchgen.workshop import Brief

_UNTOLD_S: Final = 15.0
# A node answers within so long, or is asked again.
_REACHED_S: Final = 60.0
_ASKED_AGAIN_S: Final = (2.0, 10.0, 30.0, None)


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
            raise cause_of(failed) from None
        except (RayError, TimeoutError) as failed:
            if wait_s is None:
                raise ClusterError(
                    f"{host} cannot be asked for answers that workers may have left there "
                    f"({why(failed)}); run again for them"
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
    place = ray.remote(Place).options(**options).remote()
    try:
        async with asyncio.timeout(_REACHED_S):
            version, _ = await place.is_there.remote()
        check_version(version)
        await place.salvage.remote(brief, worker)  # Ray tells if it dies
    finally:
        with suppress(Exception):
            ray.kill(place)


def _host_of(ray: Any, node: str) -> str | None:
    """What a node calls itself; None if it is no more."""
    there = (one for one in ray.nodes() if one["NodeID"] == node and one["Alive"])
    return next((str(one["NodeManagerHostname"]) for one in there), None)
