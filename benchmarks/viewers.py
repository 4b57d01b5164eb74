"""Some who look at a served page, in a process of their own.

    python -m benchmarks.viewers URL N_VIEWERS N_ITEMS

Each follows the events as the page's script does, and fetches the thumbnail of each picture as it
lands. Prints `ready` when all of them look, and `seen` when each has had all thumbnails.
"""

import asyncio
import json
import re
import sys
from typing import Final

import aiohttp

_SEQ: Final = re.compile(rb'"live":\{"seq":([0-9]+)\}')
_DATA: Final = re.compile(rb'<pre id="data" hidden>(.*?)</pre>', re.DOTALL)
_LIMIT_BYTES: Final = 1 << 24


class Viewer:
    """One browser tab."""

    def __init__(self, client: aiohttp.ClientSession, url: str) -> None:
        """Look at a page that has not been loaded yet."""
        self._client, self._url = client, url
        self.seen: set[str] = set()

    async def look(self, n_items: int, began: asyncio.Event) -> None:
        """Load the page, and follow it until all pictures have been seen."""
        while len(self.seen) < n_items:
            seq = await self._load()
            began.set()
            if seq is None:
                await asyncio.sleep(0.5)
                continue
            await self._follow(seq, n_items)

    async def _load(self) -> str | None:
        async with self._client.get(self._url) as answer:
            text = await answer.read()
        found = _SEQ.search(text)
        if found is None:
            return None
        data = _DATA.search(text)
        for line in (data[1] if data else b"").splitlines()[2:]:
            await self._land(json.loads(line))
        return found[1].decode()

    async def _follow(self, seq: str, n_items: int) -> None:
        event = b""
        async with self._client.get(f"{self._url}events?since={seq}") as answer:
            async for line in answer.content:
                if line.startswith(b"event: "):
                    event = line[7:].strip()
                elif line.startswith(b"data: ") and event == b"reload":
                    return
                elif line.startswith(b"data: ") and event == b"items":
                    for card in json.loads(line[6:]):
                        await self._land(card)
                if len(self.seen) >= n_items:
                    return

    async def _land(self, card: dict[str, dict[str, str]]) -> None:
        if "image" not in card or card["image"]["sha256"] in self.seen:
            return
        digest = card["image"]["sha256"]
        async with self._client.get(f"{self._url}thumbnails/{digest}.webp") as answer:
            if answer.status == 200:  # noqa: PLR2004 - a status is its own name
                await answer.read()
                self.seen.add(digest)


async def _main(url: str, n_viewers: int, n_items: int) -> None:
    quick = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=quick, read_bufsize=_LIMIT_BYTES) as client:
        viewers = [Viewer(client, url) for _ in range(n_viewers)]
        begins = [asyncio.Event() for _ in viewers]
        looks = [
            asyncio.create_task(viewer.look(n_items, began))
            for viewer, began in zip(viewers, begins, strict=True)
        ]
        for began in begins:
            await began.wait()
        print("ready", flush=True)
        await asyncio.gather(*looks)
        print("seen", flush=True)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
