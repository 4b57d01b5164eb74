"""Images on their way to disk."""

import asyncio

from batchgen.store.parts import PartImage, WrittenImage


async def finished(part: PartImage) -> WrittenImage:
    """All of an image written and its file closed, as a call does it."""
    await part.caught_up()
    return await asyncio.to_thread(part.finish)
