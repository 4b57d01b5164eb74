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
    """Have what workers left on a node put into the store; nothing, if its machine is no more.

    Another node of that machine does as well: it has the same disk.

    Raises:
        ClusterError: The node is there, and cannot be asked.
        StoreError: The store does not take it.
    """
    from ray.exceptions import RayError, RayTaskError

    loop = asyncio.get_running_loop()
    for wait_s in _ASKED_AGAIN_S:
        if (there := await asyncio.to_thread(_on_machine_of, ray, node)) is None:
            return
        living, host = there
        told = f"{host} is putting answers that workers left there into the store"
        telling = loop.call_later(_UNTOLD_S, warn, told)
        try:
            await _ask(ray, living, brief, worker)
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


def _on_machine_of(ray: Any, node: str) -> tuple[str, str] | None:
    """A node that lives on the machine of one, that one if it does, and what the machine is called.

    None if there is none: then nobody can look there.
    """
    nodes = ray.nodes()
    addresses = {one["NodeManagerAddress"] for one in nodes if one["NodeID"] == node}
    living = [one for one in nodes if one["Alive"] and one["NodeManagerAddress"] in addresses]
    living.sort(key=lambda one: one["NodeID"] != node)
    return next(((one["NodeID"], str(one["NodeManagerHostname"])) for one in living), None)
