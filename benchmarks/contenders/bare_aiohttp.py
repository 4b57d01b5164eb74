"""The usual script without its files: reads the JSON, decodes the picture, throws it away."""

import asyncio
import base64

import aiohttp

from benchmarks.contenders.usual_script import payload
from benchmarks.work import API_KEY, Work


def run(work: Work) -> None:
    """Have all images made; each must be as long as the first."""
    sizes_bytes = asyncio.run(_run(work))
    if len(sizes_bytes) != work.n or len(set(sizes_bytes)) != 1:
        raise SystemExit(f"{len(sizes_bytes)} images of {work.n}, of sizes {set(sizes_bytes)}")


async def _run(work: Work) -> list[int]:
    slots = asyncio.Semaphore(work.concurrency)
    async with aiohttp.ClientSession(headers={"x-goog-api-key": API_KEY}) as session:
        return await asyncio.gather(*(_make(session, slots, work, n) for n in range(work.n)))


async def _make(
    session: aiohttp.ClientSession, slots: asyncio.Semaphore, work: Work, number: int
) -> int:
    async with slots, session.post(work.endpoint, json=payload(work, number)) as response:
        answer = await response.json()
        parts = answer["candidates"][0]["content"]["parts"]
        return sum(
            len(base64.b64decode(part["inlineData"]["data"]))
            for part in parts
            if "inlineData" in part
        )
