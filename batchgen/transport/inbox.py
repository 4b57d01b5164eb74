"""An answer is received a piece at a time, and large pieces by turns.

To receive half a MiB costs the processor little more than to receive 32 KiB, but what nobody has
read yet takes memory. So nothing more of an answer is received until its last piece was read; then
its connection waits for its turn, and what has arrived meanwhile comes in one large piece:

    small pieces ──> somebody reads ──> its turn, while little is unread ──> a large piece ──┐
                            ^────────────────────── held back <──────────────────────────────┘

Whoever has had a turn and receives nothing soon keeps nobody waiting: what comes to it later comes
in a small piece.

Memory: `MAX_UNREAD_BYTES`, large pieces for the turns of two rounds, and a small piece for each
connection. Of sizes and turns those were taken that were fastest in as much memory as without:
docs/adr/0021.
"""

import asyncio
from collections import deque
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler

LARGE_BYTES: Final = 448 << 10
SMALL_BYTES: Final = 32 << 10
# There are no turns while so much is unread.
MAX_UNREAD_BYTES: Final = 2 << 20
# In one round, between two looks of the loop at all its sockets.
N_TURNS: Final = 2


class Inbox:
    """What all connections of a session receive into: one buffer, which is emptied at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin with nothing unread."""
        self._loop = loop
        self._buffer = memoryview(bytearray(LARGE_BYTES))
        self._waiting: deque[tuple[Receiver, asyncio.Future[None]]] = deque()
        self._unread_bytes = 0
        self._is_round_due = False
        self.round = 0

    def place(self, *, is_large: bool) -> memoryview:
        """Where the next piece goes."""
        return self._buffer if is_large else self._buffer[:SMALL_BYTES]

    def piece(self, n_bytes: int) -> bytes:
        """The piece that has come."""
        return bytes(self._buffer[:n_bytes])

    def count(self, n_bytes: int) -> None:
        """So much more is unread; less, if it is negative."""
        self._unread_bytes += n_bytes
        self._go_round()

    async def turn(self, receiver: "Receiver") -> None:
        """Wait until a connection may receive."""
        turn = self._loop.create_future()
        self._waiting.append((receiver, turn))
        self._go_round()
        await turn

    def _go_round(self) -> None:
        if self._waiting and self._unread_bytes < MAX_UNREAD_BYTES and not self._is_round_due:
            self._is_round_due = True
            self._loop.call_soon(self._give_turns)

    def _give_turns(self) -> None:
        self._is_round_due = False
        self.round += 1
        for _ in range(min(N_TURNS, len(self._waiting))):
            receiver, turn = self._waiting.popleft()
            if not turn.done():
                receiver.receive()
                turn.set_result(None)
        self._go_round()


class Receiver(ResponseHandler, asyncio.BufferedProtocol):
    """aiohttp's side of a connection, which holds an answer back until it is read on."""

    def __init__(self, inbox: Inbox, loop: asyncio.AbstractEventLoop) -> None:
        """Share the inbox of a session."""
        super().__init__(loop=loop)
        self._inbox = inbox
        self._content: aiohttp.StreamReader | None = None
        self._unread_bytes = 0
        self._is_held = False
        self._round = -2  # none

    def set_response_params(self, *args: Any, **kwargs: Any) -> None:
        """Expect the answer to the next request, which nobody reads yet."""
        self._content = None
        super().set_response_params(*args, **kwargs)

    async def turn(self, content: aiohttp.StreamReader) -> None:
        """Wait until more of an answer is received, now that all before it was read."""
        self._content = content
        self._let_go()
        if self._is_held:
            await self._inbox.turn(self)

    def receive(self) -> None:
        """Receive again; in a large piece, if that is soon: in this round or the next one."""
        self._is_held = False
        self._round = self._inbox.round
        if self.transport is not None:
            self.transport.resume_reading()

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Where the next piece goes."""
        return self._inbox.place(is_large=self._round >= self._inbox.round - 1)

    def buffer_updated(self, n_bytes: int) -> None:
        """Take the piece that has come, and hold back what comes behind it."""
        self._round = -2
        self.data_received(self._inbox.piece(n_bytes))
        content = self._content
        if content is not None and not content.is_eof() and self.transport is not None:
            self.transport.pause_reading()
            self._is_held = True
            self._unread_bytes += n_bytes
            self._inbox.count(n_bytes)

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - aiohttp's
        """Go on with what has come, as aiohttp asks after each read; the rest waits for its turn.

        At the end of an answer there is none: the connection is free for the next one.
        """
        if not resume_parser:
            self._is_held = False
        elif self._is_held and not self._reading_paused:
            return
        super().resume_reading(resume_parser)
        if self._is_held and self.transport is not None:
            self.transport.pause_reading()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nothing more comes."""
        self._let_go()
        super().connection_lost(exc)

    def _let_go(self) -> None:
        self._inbox.count(-self._unread_bytes)
        self._unread_bytes = 0
