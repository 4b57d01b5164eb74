"""The floor: the least work that Python can do for a reply, and nothing that makes a run safe.

One process, one selector, a socket for each place. Of a reply only its length and the quotes around
the base64 are looked for; each piece is decoded (SIMD) out of one buffer for all sockets, and goes
straight to the file. No JSON is parsed, no picture checked, nothing hashed, recorded, or synced.
"""

import json
import os
import re
import selectors
import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import pybase64

from benchmarks.work import API_KEY, Work

_BUFFER_BYTES: Final = 256 << 10
_OPENING: Final = b'"data": "'
_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)")
_READY: Final = b"HTTP/1.1 200 "
# What follows a picture is shorter: only when so little is left, the closing quote is looked for.
_TAIL_BYTES: Final = 64 << 10


class Reply:
    """One HTTP answer with one picture in it, taken as it comes, however it is cut.

    Raises:
        ValueError: It is not the answer of a server that made a picture.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        """Start before the first byte; `write` takes the picture piece by piece."""
        self._write = write
        self._kept = b""  # the start of what is looked for, or of four characters
        self._left = -1  # bytes of the body that are still to come; not known at first
        self._is_inside = self._has_picture = False

    def feed(self, data: memoryview) -> bool:
        """Take what came; whether that was the last of it."""
        if self._left < 0:
            seen = self._kept + data
            head, end, rest = seen.partition(_HEAD_END)
            if not end:
                self._kept = seen
                return False
            self._left, self._kept = _length(head), b""
            data = memoryview(rest)
        self._left -= len(data)
        if not self._has_picture:
            self._body(data)
        if self._left == 0 and not self._has_picture:
            raise ValueError("an answer without a picture")
        return self._left == 0

    def _body(self, data: memoryview) -> None:
        if not self._is_inside:
            before, opening, rest = (self._kept + data).partition(_OPENING)
            self._kept = b"" if opening else before[1 - len(_OPENING) :]
            self._is_inside = bool(opening)
            data = memoryview(rest)
        if self._is_inside:
            self._picture(data)

    def _picture(self, data: memoryview) -> None:
        """Decode what there is of it, up to the closing quote; a quote itself does not decode."""
        if self._left < _TAIL_BYTES:
            encoded, quote, _ = bytes(data).partition(b'"')
            self._has_picture, data = bool(quote), memoryview(encoded)
        if self._kept:
            n = min(4 - len(self._kept), len(data))
            self._kept, data = self._kept + data[:n], data[n:]
            if len(self._kept) == 4:  # noqa: PLR2004 - a group of base64
                self._decode(self._kept)
                self._kept = b""
        n_whole = len(data) & ~3
        if n_whole:
            self._decode(data[:n_whole])
        self._kept += data[n_whole:]
        if self._has_picture and self._kept:
            raise ValueError("a picture whose base64 is cut")

    def _decode(self, encoded: bytes | memoryview) -> None:
        self._write(pybase64.b64decode(encoded, validate=True))


def _length(head: bytes) -> int:
    """The length of the body that an answer's head tells of."""
    found = _LENGTH.search(head)
    if found is None or not head.startswith(_READY):
        raise ValueError(f"no answer with a length: {head[:80]!r}")
    return int(found[1])


class _Place:
    """One connection, on which one request follows the other."""

    def __init__(self, work: Work, numbers: Iterator[int]) -> None:
        self._work, self._numbers = work, numbers
        address = urlsplit(work.base_url)
        self.socket = socket.create_connection((address.hostname, address.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(0)
        self._file = -1
        self._reply: Reply | None = None

    def send_next(self) -> bool:
        """Send the next request; False if there is none. It fits a socket's buffer."""
        number = next(self._numbers, None)
        if number is None:
            self.socket.close()
            return False
        self.socket.sendall(_request(self._work, number))
        self._file = os.open(self._work.target(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        self._reply = Reply(partial(os.write, self._file))
        return True

    def receive(self, buffer: memoryview) -> bool:
        """Take what there is; whether that ended the reply."""
        n = self.socket.recv_into(buffer)
        if not n or self._reply is None:
            raise ConnectionError("the server went away")
        if is_whole := self._reply.feed(buffer[:n]):
            os.close(self._file)
        return is_whole


def _request(work: Work, number: int) -> bytes:
    address = urlsplit(work.endpoint)
    payload = json.dumps(
        {
            "contents": [{"role": "user", "parts": [{"text": work.prompt(number)}]}],
            "generationConfig": {"responseModalities": ["IMAGE"]},
        }
    ).encode()
    head = (
        f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"x-goog-api-key: {API_KEY}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload


def run(work: Work) -> None:
    """Make all images."""
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    numbers = iter(range(work.n))
    with selectors.DefaultSelector() as selector:
        for _ in range(min(work.concurrency, work.n)):
            place = _Place(work, numbers)
            place.send_next()
            selector.register(place.socket, selectors.EVENT_READ, place)
        while selector.get_map():
            for key, _ in selector.select():
                if key.data.receive(buffer):
                    selector.unregister(key.fileobj)
                    if key.data.send_next():
                        selector.register(key.fileobj, selectors.EVENT_READ, key.data)
