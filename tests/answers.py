"""Answers of any size, made while they are sent: neither side of a test holds one.

Nothing of the product is used here.
"""

import json
import socket
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeAlias

from tests.servers import Answer, End, document, image_part

CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
STEP_BYTES = 256 << 10

Pieces: TypeAlias = Iterable[bytes]


def pours(pieces: Callable[[], Pieces], headers: bytes = b"") -> Answer:
    """A 200 in chunks as they are made; a client that leaves ends it."""

    def answer(connection: socket.socket) -> End:
        with suppress(OSError):
            connection.sendall(CHUNKED_HEAD + headers + b"\r\n")
            for piece in pieces():
                connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            connection.sendall(b"0\r\n\r\n")
            return End.WHOLE
        return End.BROKEN

    return answer


def repeated(unit: bytes, n_bytes: int) -> Iterator[bytes]:
    """About so many bytes of whole units."""
    block = unit * max(1, STEP_BYTES // len(unit))
    for _ in range(max(1, n_bytes // len(block))):
        yield block


def without_end(unit: bytes) -> Iterator[bytes]:
    """Units for ever."""
    block = unit * max(1, STEP_BYTES // len(unit))
    while True:
        yield block


def in_steps(body: bytes) -> Iterator[bytes]:
    """What there is already, a piece at a time."""
    for at in range(0, len(body), STEP_BYTES):
        yield body[at : at + STEP_BYTES]


def around(marked: str, filler: Callable[[], Pieces]) -> Callable[[], Iterator[bytes]]:
    """The text with the filler in place of its mark."""
    before, _, after = marked.partition("MARK")
    assert after

    def pieces() -> Iterator[bytes]:
        yield before.encode()
        yield from filler()
        yield after.encode()

    return pieces


def beside(picture: bytes, *parts: object, **members: Any) -> str:
    """An answer with this picture, whose other parts or members hold the mark."""
    return json.dumps(document(image_part(picture), *parts, **members))


def gzipped(pieces: Pieces) -> Iterator[bytes]:
    """The same, compressed."""
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()
