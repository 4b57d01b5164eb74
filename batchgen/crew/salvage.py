"""Whole answers that workers had when they were lost, put into the store by their machines.

A worker into a store settles in a directory of its own. What lies there is all there is of an
answer until the worker has staged it: one that is killed in between, or that a store was away from
for too long, leaves it behind. It was paid; so whoever asks for anything again looks here first.
"""

import asyncio
import platform
from collections.abc import Callable

from batchgen.clock import Clock
from batchgen.crew.place import OwnDirectory
from batchgen.errors import BatchgenError, StoreError
from batchgen.mirror.outpost import left_behind, with_answers
from batchgen.mirror.patience import Patience
from batchgen.objects.bucket import Bucket
from batchgen.settle import Settler
from batchgen.store.receipts import answered, load_receipt
from batchgen.workshop import Brief


async def salvage(
    brief: Brief, clock: Clock, warn: Callable[[str], None], worker: str = "*"
) -> None:
    """Stage the whole answers that workers of a place left on this machine.

    What a worker that lives has in hand is its own: it is waited for a while, and then left alone.
    An answer of which nobody can make sense is set aside, and its call counts as lost.

    Args:
        brief: What the workers of a run are told; without a store there is nothing to do.
        clock: For waits.
        warn: Told of a store that is waited for.
        worker: Only what this one left, see `parts_of`.

    Raises:
        StoreError: The store does not take it, or is away for longer than we wait, or the disk
            failed. What is not staged lies there still.
    """
    address = brief.address
    if address is None or not (left := await asyncio.to_thread(with_answers, address, worker)):
        return
    try:
        bucket = Bucket.at(address)
        async with Patience(str(address), clock, brief.patience_s, warn) as patience:
            for root in left:
                async with left_behind(root, bucket, patience, clock) as outpost:
                    if outpost is not None:
                        place = OwnDirectory(outpost, brief.secrets)
                        await _stage(place, brief.settler(place.layout, _nothing_before))
    except BatchgenError as error:
        brief.secrets.scrub(error)
        what = "answers that a worker left there could not be put into the store"
        raise StoreError(f"on {platform.node()}: {what}: {error}; run again for them") from error


async def _stage(place: OwnDirectory, settler: Settler) -> None:
    parts = place.layout.parts
    for sent in await asyncio.to_thread(lambda: list(answered(parts))):
        receipt = await asyncio.to_thread(load_receipt, parts, sent)
        if receipt is not None:
            end = await asyncio.to_thread(settler.settle, receipt, recovered=True)
            await place.hand_in(end, sent)


def _nothing_before(_path: str) -> None:
    return
