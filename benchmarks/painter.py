"""A server whose pictures can be looked at, for one run, in a process of its own.

    python -m benchmarks.painter --seconds LEAST MOST

Each answer has a picture of its own, of 1024 px, after a time between the two bounds. Else it is
like `benchmarks.server`.
"""

import argparse
import asyncio
import io
import random
import struct
import zlib
from base64 import b64encode
from typing import Final

from PIL import Image

from benchmarks.reply import answer_around
from benchmarks.server import Server, framed, serve_until_told

_EDGE_PX: Final = 1024
# An end of a PNG: what comes before it stays the same.
_END: Final = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))


def painted() -> bytes:
    """A PNG with something to see, without its end, as long as base64 likes it."""
    left = Image.linear_gradient("L").resize((_EDGE_PX, _EDGE_PX))
    noise = Image.effect_noise((_EDGE_PX // 4, _EDGE_PX // 4), 60).resize((_EDGE_PX, _EDGE_PX))
    buffer = io.BytesIO()
    Image.merge("RGB", (left, left.rotate(90), noise)).save(buffer, "PNG", compress_level=1)
    data = buffer.getvalue().removesuffix(_END)
    padding = b" " * (-(len(data) + 12 + 4) % 3)
    return data + _text(b"pad\0" + padding)


def _text(words: bytes) -> bytes:
    """A chunk of text, which no decoder minds."""
    crc = zlib.crc32(b"tEXt" + words)
    return struct.pack(">I", len(words)) + b"tEXt" + words + struct.pack(">I", crc)


class Painter(Server):
    """Answers each request with a picture of its own."""

    def __init__(self, seconds: tuple[float, float]) -> None:
        """Paint once; what differs is a few bytes."""
        super().__init__(b"", hold=0)
        self._seconds = seconds
        self._rng = random.Random(1)
        self._begun = b64encode(painted())
        self._n_painted = 0

    async def answer(self) -> bytes:
        """The answer to a request, in its time."""
        self._n_painted += 1
        end = b64encode(_text(b"n\0%d" % self._n_painted) + _END)
        await asyncio.sleep(self._rng.uniform(*self._seconds))
        return framed(answer_around((self._begun + end).decode()))


async def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, nargs=2, required=True)
    least_s, most_s = parser.parse_args().seconds
    await serve_until_told(Painter((least_s, most_s)))


if __name__ == "__main__":
    asyncio.run(_main())
