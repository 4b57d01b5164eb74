"""Google's own client, asynchronous, with a semaphore."""

import asyncio
from pathlib import Path

from google import genai
from google.genai import types

from benchmarks.work import API_KEY, MODEL, Work

_CONFIG = types.GenerateContentConfig(response_modalities=["IMAGE"])


def run(work: Work) -> None:
    """Make all images."""
    asyncio.run(_run(work))


async def _run(work: Work) -> None:
    options = types.HttpOptions(base_url=work.base_url)
    slots = asyncio.Semaphore(work.concurrency)
    async with genai.Client(api_key=API_KEY, http_options=options).aio as client:
        await asyncio.gather(*(_make(client, slots, work, n) for n in range(work.n)))


async def _make(
    client: genai.client.AsyncClient, slots: asyncio.Semaphore, work: Work, number: int
) -> None:
    async with slots:
        answer = await client.models.generate_content(
            model=MODEL, contents=_contents(work, number), config=_CONFIG
        )
        for part in answer.parts or []:
            if part.inline_data is not None and part.inline_data.data is not None:
                work.target(number).write_bytes(part.inline_data.data)


def _contents(work: Work, number: int) -> types.ContentListUnion:
    parts: list[types.PartUnion] = [types.Part.from_text(text=work.prompt(number))]
    for path in work.references:
        data = Path(path).read_bytes()
        parts.append(types.Part.from_bytes(data=data, mime_type="image/png"))
    return parts
