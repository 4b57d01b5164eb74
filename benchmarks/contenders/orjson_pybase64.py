"""The usual script with the fastest parts that can be put in: orjson and pybase64."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pybase64

from benchmarks.work import API_KEY, Work


def run(work: Work) -> None:
    """Make all images."""
    asyncio.run(_run(work))


async def _run(work: Work) -> None:
    slots = asyncio.Semaphore(work.concurrency)
    headers = {"x-goog-api-key": API_KEY, "Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as session:
        await asyncio.gather(*(_make(session, slots, work, n) for n in range(work.n)))


async def _make(
    session: aiohttp.ClientSession, slots: asyncio.Semaphore, work: Work, number: int
) -> None:
    async with slots, session.post(work.endpoint, data=_payload(work, number)) as response:
        answer = orjson.loads(await response.read())
        for part in answer["candidates"][0]["content"]["parts"]:
            if "inlineData" in part:
                data = pybase64.b64decode(part["inlineData"]["data"], validate=True)
                work.target(number).write_bytes(data)


def _payload(work: Work, number: int) -> bytes:
    parts: list[dict[str, Any]] = [{"text": work.prompt(number)}]
    for path in work.references:
        data = pybase64.b64encode_as_string(Path(path).read_bytes())
        parts.append({"inlineData": {"mimeType": "image/png", "data": data}})
    return orjson.dumps(
        {
            "contents": [{"role": "user", "parts": parts}],
            "generationConfig": {"responseModalities": ["IMAGE"]},
        }
    )
