"""The usual script with the retries that people add once they have met a 429.

A request that is refused is sent again after what `Retry-After` says, else after 1, 2, 4 … seconds,
up to a minute, and up to a second of jitter; it keeps its place meanwhile. No request is ever given
up, so that all scripts make the same pictures.
"""

import asyncio
import base64
import itertools
import random
from http import HTTPStatus
from typing import Final

import aiohttp

from benchmarks.work import API_KEY, Work

_LONGEST_WAIT_S: Final = 60.0


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
    async with slots:
        for n_refused in itertools.count():
            wait_s = await _try(session, work, number, n_refused)
            if wait_s is None:
                return
            await asyncio.sleep(wait_s + random.uniform(0, 1))


async def _try(
    session: aiohttp.ClientSession, work: Work, number: int, n_refused: int
) -> float | None:
    """Make one image; seconds to wait if it was refused."""
    payload = {
        "contents": [{"role": "user", "parts": [{"text": work.prompt(number)}]}],
        "generationConfig": {"responseModalities": ["IMAGE"]},
    }
    async with session.post(work.endpoint, json=payload) as response:
        answer = await response.json()
        if response.status == HTTPStatus.TOO_MANY_REQUESTS:
            told = response.headers.get("Retry-After")
            return float(told) if told else min(_LONGEST_WAIT_S, 2.0**n_refused)
        for part in answer["candidates"][0]["content"]["parts"]:
            if "inlineData" in part:
                data = base64.b64decode(part["inlineData"]["data"])
                work.target(number).write_bytes(data)
        return None
