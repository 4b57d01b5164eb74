"""A dumb, fast server for one run, in a process of its own.

    python -m benchmarks.server --image-bytes N [--hold N [--until-told]]

It prints its port, answers every POST with the same bytes, and ends when its standard input does.
With `--hold` it answers only when so many requests wait, and then all of them at once; but the very
first one is answered at once, because batchgen sends no other before it knows how that one went.
With `--until-told` those that wait go on waiting until the first `GET /release`.
`GET /counts` tells what it has seen. It shares no code with batchgen, and listens on loopback.
"""

import argparse
import asyncio
import json
import socket
import sys
from contextlib import suppress
from typing import Final

from benchmarks.reply import body

_SCRATCH_BYTES: Final = 1 << 20
_HEAD_END: Final = b"\r\n\r\n"


class Server:
    """Answers on raw sockets. A request's body is counted and forgotten."""

    def __init__(self, answer: bytes, hold: int, *, until_told: bool = False) -> None:
        """Prepare the only answer; must be made inside the running loop."""
        self.loop = asyncio.get_running_loop()
        self._answer = framed(answer)
        self._barrier = asyncio.Barrier(hold) if hold else None
        self._released = asyncio.Event()
        if not until_told:
            self._released.set()
        self._scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._n_requests = 0
        self._n_body_bytes = 0
        self._n_waiting = 0
        self._first_s: float | None = None

    def counts(self) -> dict[str, object]:
        """What was seen so far; `first_s` is when the first request came, by the loop's clock."""
        return {
            "requests": self._n_requests,
            "body_bytes": self._n_body_bytes,
            "waiting": self._n_waiting,
            "first_s": self._first_s,
        }

    async def answer(self) -> bytes:
        """The answer to a request, in its time."""
        if self._barrier is not None and self._n_requests > 1:
            self._n_waiting += 1
            await self._barrier.wait()
            await self._released.wait()
            self._n_waiting -= 1
        return self._answer

    async def serve(self, listening: socket.socket) -> None:
        """Accept connections until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                connection, _ = await self.loop.sock_accept(listening)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                group.create_task(self._talk(connection))

    async def _talk(self, connection: socket.socket) -> None:
        with connection, suppress(ConnectionError):
            while head := await self._head(connection):
                await self.loop.sock_sendall(connection, await self._response(head))

    async def _head(self, connection: socket.socket) -> bytes:
        """Read one whole request; return its head, or nothing at the end of the connection."""
        seen = b""
        while _HEAD_END not in seen:
            piece = await self.loop.sock_recv(connection, 1 << 16)
            if not piece:
                return b""
            seen += piece
        head, _, begun = seen.partition(_HEAD_END)
        length = _content_length(head)
        left = length - len(begun)
        while left > 0:
            n = await self.loop.sock_recv_into(connection, self._scratch[:left])
            if not n:
                return b""
            left -= n
        self._n_body_bytes += length
        return head

    async def _response(self, head: bytes) -> bytes:
        if head.startswith(b"GET "):
            if head.startswith(b"GET /release "):
                self._released.set()
            return framed(json.dumps(self.counts()).encode())
        self._n_requests += 1
        if self._first_s is None:
            self._first_s = self.loop.time()
        return await self.answer()


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def framed(content: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    """A whole response; each of the further headers ends its line."""
    head = (
        f"HTTP/1.1 {status}\r\n"
        "Content-Type: application/json; charset=UTF-8\r\n"
        f"{headers}Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def serve_until_told(server: Server) -> None:
    """Print the port, and serve until standard input ends."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listening:
        listening.settimeout(0)
        serving = asyncio.create_task(server.serve(listening))
        print(listening.getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


async def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--image-bytes", type=int, required=True)
    parser.add_argument("--hold", type=int, default=0)
    parser.add_argument("--until-told", action="store_true")
    options = parser.parse_args()
    answer = body(options.image_bytes)
    await serve_until_told(Server(answer, options.hold, until_told=options.until_told))


if __name__ == "__main__":
    asyncio.run(_main())
