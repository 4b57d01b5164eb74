"""The script that people write: aiohttp, `await r.json()`, base64, a semaphore."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.work import API_KEY, Work


def run(work: Work) -> None:
    """Make all images."""
    asyncio.run(_run(work))


async def _run(work: Work) -> None:
    slots = asyncio.Semaphore(work.concurrency)
    async with aiohttp.ClientSession(headers={"x-goog-api-key": API_KEY}) as session:
        await asyncio.gather(*(_make(session, slots, work, n) for n in range(work.n)))


async def _make(
    session: aiohttp.ClientSession, slots: asyncio.Semaphore, work: Work, number: int
) -> None:
    async with slots, session.post(work.endpoint, json=payload(work, number)) as response:
        answer = await response.json()
        for part in answer["candidates"][0]["content"]["parts"]:
            if "inlineData" in part:
                data = base64.b64decode(part["inlineData"]["data"])
                work.target(number).write_bytes(data)


def payload(work: Work, number: int) -> dict[str, Any]:
    """The body of a request."""
    parts: list[dict[str, Any]] = [{"text": work.prompt(number)}]
    for path in work.references:
        data = base64.b64encode(Path(path).read_bytes()).decode()
        parts.append({"inlineData": {"mimeType": "image/png", "data": data}})
    return {
        "contents": [{"role": "user", "parts": parts}],
        "generationConfig": {"responseModalities": ["IMAGE"]},
    }
