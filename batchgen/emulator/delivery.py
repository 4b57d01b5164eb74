"""How the bytes of an answer reach the client: in pieces, or with the fault that a rule asks for.

`framed` is pure and decides what would be sent; `deliver` sends it. A fault of the connection needs
the transport itself, so that nothing between here and the socket can tidy it up.
"""

import asyncio
import gzip
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from aiohttp import web

from batchgen.emulator import faults
from batchgen.emulator.errors import page
from batchgen.emulator.faults import Delivering

_PIECE_BYTES = 128 * 1024
_DRIPS_PER_S = 10
_JSON = "application/json; charset=UTF-8"
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, for 0 s


@dataclass(frozen=True)
class Answer:
    """A whole answer, before any fault of delivery."""

    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str]

    def with_header(self, name: str, value: str) -> "Answer":
        """The same with one more header."""
        return replace(self, headers={**self.headers, name: value})


async def deliver(
    request: web.Request, answer: Answer, how: Delivering | None, *, whole: Callable[[], None]
) -> web.StreamResponse:
    """Send an answer.

    `whole` is called if all of it gets written, just before the last bytes go: whoever has read
    the answer to its end must find it in the counts.
    """
    match how:
        case faults.Reset("before"):
            reset(request)
        case faults.Reset("during"):
            await _write_half(request, answer, 0.5)
            reset(request)
        case faults.Cut(share):
            await _write_half(request, answer, share)
            _transport(request).close()
        case faults.Drip(bytes_per_s):
            return await _write(request, answer, whole, bytes_per_s=bytes_per_s)
        case faults.Encoding("chunked"):
            return await _write(request, answer, whole, chunked=True)
        case faults.Encoding("gzip"):
            return await _write(request, _gzipped(answer), whole)
        case faults.Encoding("gzip_cut"):
            packed = _gzipped(answer)
            cut = replace(packed, body=packed.body[: len(packed.body) // 2])
            return await _write(request, cut, _nothing)
        case faults.Encoding("close"):
            _write_until_close(request, answer, whole)
        case _:
            return await _write(request, answer, whole)
    return web.Response()  # never sent: the connection is gone


def reset(request: web.Request) -> None:
    """Reset the connection at once: the client gets RST, and what was on its way may be lost."""
    transport = _transport(request)
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


def garbled(answer: Answer, garbage: faults.Garbage) -> Answer:
    """The answer with another body in its place."""
    match garbage.fault:
        case "not_json":
            return replace(answer, body=b"upstream connect error, no JSON here")
        case "html":
            html = page(200)
            return replace(answer, body=html.body, content_type=html.content_type)
        case "empty":
            return replace(answer, body=b"")
        case "array":
            return replace(answer, body=b"[" + answer.body + b"]")
        case "two_documents":
            return replace(answer, body=answer.body + b"\n" + answer.body)
        case "no_candidates":
            return replace(answer, body=b'{"candidates": [], "usageMetadata": {}}')


async def _write(
    request: web.Request,
    answer: Answer,
    whole: Callable[[], None],
    *,
    bytes_per_s: int | None = None,
    chunked: bool = False,
) -> web.StreamResponse:
    """Write the head, and the body in pieces."""
    response = await _begun(request, answer, chunked=chunked)
    n_bytes = max(1, bytes_per_s // _DRIPS_PER_S) if bytes_per_s else _PIECE_BYTES
    last_start = max(0, len(answer.body) - 1) // n_bytes * n_bytes
    for start in range(0, last_start, n_bytes):
        await response.write(answer.body[start : start + n_bytes])
        if bytes_per_s:
            await asyncio.sleep(n_bytes / bytes_per_s)
    if _transport(request).is_closing():
        raise ConnectionResetError
    whole()
    await response.write_eof(answer.body[last_start:])
    return response


async def _write_half(request: web.Request, answer: Answer, share: float) -> None:
    """Promise the whole body and write that share of it."""
    response = await _begun(request, answer, chunked=False)
    await response.write(answer.body[: int(len(answer.body) * share)])


async def _begun(request: web.Request, answer: Answer, *, chunked: bool) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.headers["Content-Type"] = answer.content_type
    if chunked:
        response.enable_chunked_encoding()
    else:
        response.content_length = len(answer.body)
    await response.prepare(request)
    return response


def _gzipped(answer: Answer) -> Answer:
    packed = gzip.compress(answer.body, compresslevel=1, mtime=0)
    return replace(answer, body=packed, headers={**answer.headers, "Content-Encoding": "gzip"})


def _write_until_close(request: web.Request, answer: Answer, whole: Callable[[], None]) -> None:
    """A body without a length, ended by the end of the connection, as HTTP/1.0 had it."""
    head = [f"HTTP/1.1 {answer.status} OK", f"Content-Type: {answer.content_type}"]
    head += [f"{name}: {value}" for name, value in answer.headers.items()]
    head += ["Connection: close", "", ""]
    transport = _transport(request)
    whole()
    transport.write("\r\n".join(head).encode("latin-1") + answer.body)
    transport.close()


def _nothing() -> None:
    """The body that is written is not the whole of the answer."""


def _transport(request: web.Request) -> asyncio.Transport:
    if not isinstance(request.transport, asyncio.Transport):
        raise ConnectionResetError
    return request.transport
