"""In what pieces an answer is received, over real sockets: who waits, and how much is unread."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

import pytest

from batchgen.transport.inbox import (
    LARGE_BYTES,
    MAX_UNREAD_BYTES,
    N_TURNS,
    SMALL_BYTES,
    Inbox,
    Receiver,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

READ_BUFFER_BYTES = LARGE_BYTES // 2
BODY = bytes(3 * LARGE_BYTES)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY)
AT_MOST_BYTES = MAX_UNREAD_BYTES + 2 * N_TURNS * LARGE_BYTES


@dataclass
class Line:
    """A connection that has been asked for an answer, and the server's end of it."""

    receiver: Receiver
    peer: socket.socket
    content: aiohttp.StreamReader
    sending: asyncio.Task[None]

    @classmethod
    async def opened(cls, inbox: Inbox, answer: bytes = HEAD + BODY) -> Self:
        """Answer at once, as far as the system takes it."""
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            receiver: Receiver
            _, receiver = await loop.create_connection(
                partial(Receiver, inbox, loop), *listening.getsockname()
            )
            peer, _ = listening.accept()
        peer.settimeout(0)
        receiver.set_response_params(read_bufsize=READ_BUFFER_BYTES)
        sending = asyncio.create_task(loop.sock_sendall(peer, answer))
        _, content = await receiver.read()
        return cls(receiver, peer, content, sending)

    async def says(self, more: bytes) -> None:
        """Send more, from the server's end."""
        await asyncio.get_running_loop().sock_sendall(self.peer, more)

    async def piece(self) -> int:
        """Read on, and tell how much has come."""
        await self.receiver.turn(self.content)
        return len(await self.content.readany())

    async def rest(self) -> int:
        """Read to the end, and tell how much that was."""
        n_bytes = 0
        while not self.content.at_eof():
            n_bytes += await self.piece()
        return n_bytes

    @property
    def n_unread(self) -> int:
        """What was received, and nobody has read."""
        return self.content._size

    @property
    def n_arrived(self) -> int:
        """What the system holds."""
        assert self.receiver.transport is not None
        number = self.receiver.transport.get_extra_info("socket").fileno()
        told = fcntl.ioctl(number, termios.FIONREAD, struct.pack("i", 0))
        return int(struct.unpack("i", told)[0])

    @property
    def is_receiving(self) -> bool:
        assert self.receiver.transport is not None
        return self.receiver.transport.is_reading()

    async def is_full(self) -> None:
        """Wait until more than a small piece has arrived."""
        while self.n_arrived <= 2 * SMALL_BYTES:
            await _some_rounds(1)

    def close(self) -> None:
        self.sending.cancel()
        self.receiver.close()
        self.peer.close()


@pytest.fixture
async def lines() -> AsyncIterator[list[Line]]:
    """Are closed behind the test."""
    opened: list[Line] = []
    yield opened
    for line in opened:
        line.close()


async def _some_rounds(n: int = 100) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


async def _opened(lines: list[Line], n: int, answer: bytes = HEAD + BODY) -> Inbox:
    inbox = Inbox(asyncio.get_running_loop())
    lines += [await Line.opened(inbox, answer) for _ in range(n)]
    return inbox


async def test_nothing_more_is_received_before_the_last_piece_was_read(lines: list[Line]) -> None:
    await _opened(lines, 1)
    [line] = lines
    await line.piece()
    await line.is_full()
    await _some_rounds()
    assert 0 < line.n_unread <= SMALL_BYTES
    assert not line.is_receiving


async def test_what_has_arrived_meanwhile_comes_in_one_large_piece(lines: list[Line]) -> None:
    await _opened(lines, 1)
    [line] = lines
    n_bytes = sizes = 0
    while not line.content.at_eof():
        if len(BODY) - n_bytes > LARGE_BYTES:
            await line.is_full()
        n_piece = await line.piece()
        n_bytes += n_piece
        sizes = max(sizes, n_piece)
    assert n_bytes == len(BODY)
    assert 2 * SMALL_BYTES < sizes <= LARGE_BYTES + SMALL_BYTES


async def test_however_many_have_their_turn_little_is_unread(lines: list[Line]) -> None:
    await _opened(lines, 40)
    for line in lines:
        await line.piece()
        await line.is_full()
    for line in lines:
        line.content.read_nowait()
    turns = [asyncio.create_task(line.receiver.turn(line.content)) for line in lines]
    await _some_rounds()
    # Nobody reads what came in these turns.
    n_unread = sum(line.n_unread for line in lines)
    assert MAX_UNREAD_BYTES <= n_unread <= AT_MOST_BYTES
    assert not all(turn.done() for turn in turns)
    n_rest = await asyncio.gather(*(line.rest() for line in lines if line.n_unread))
    assert min(n_rest) > LARGE_BYTES
    await asyncio.gather(*turns)


async def test_whoever_receives_nothing_in_its_turn_keeps_nobody_waiting(
    lines: list[Line],
) -> None:
    inbox = await _opened(lines, 2 * N_TURNS, HEAD + b"x")
    silent = list(lines)
    for line in silent:
        await line.piece()
        await line.says(b"x")
        while line.is_receiving:
            await _some_rounds(1)
        assert line.content.read_nowait() == b"x"
    turns = [asyncio.create_task(line.piece()) for line in silent]
    await _some_rounds()
    assert all(line.is_receiving for line in silent)
    lines.append(other := await Line.opened(inbox))
    assert await other.rest() == len(BODY)
    # Their large pieces went by.
    for line in silent:
        await line.says(bytes(2 * SMALL_BYTES))
    assert max(await asyncio.gather(*turns)) == SMALL_BYTES
    assert [await line.piece() for line in silent] == [SMALL_BYTES] * len(silent)


async def test_an_answer_of_tiny_chunks_is_received_to_its_end(lines: list[Line]) -> None:
    # So many that aiohttp stops reading the piece that they come in.
    n_chunks = 30_000
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * n_chunks
    await _opened(lines, 1, chunks)
    [line] = lines
    n_bytes = await line.piece()
    await line.sending
    await line.says(b"0\r\n\r\n")
    await line.is_full()
    assert n_bytes + await line.rest() == n_chunks
    assert line.is_receiving


async def test_a_connection_whose_answer_is_whole_hears_what_comes_next(lines: list[Line]) -> None:
    await _opened(lines, 1)
    [line] = lines
    assert await line.rest() == len(BODY)
    assert line.is_receiving
    line.receiver.set_response_params(read_bufsize=READ_BUFFER_BYTES)
    await line.says(HEAD + BODY[:1])
    _, line.content = await line.receiver.read()
    assert await line.piece() == 1


async def test_who_waits_for_a_turn_hears_that_the_connection_is_lost(lines: list[Line]) -> None:
    await _opened(lines, 1)
    [line] = lines
    while line.is_receiving:
        await line.piece()
    turn = asyncio.create_task(line.receiver.turn(line.content))
    line.sending.cancel()
    assert line.receiver.transport is not None
    line.receiver.transport.abort()
    await turn
