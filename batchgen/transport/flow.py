"""The body of an answer, taken as it arrives, and held back while there is too much to do.

    a piece is received ──> aiohttp parses it ──> it is taken, in the same call ──┐
              ^── there is room again <── all are held back <── too much to do <──┘

Nothing of an answer waits in memory until a task has come to read it, and none is woken for a
piece. The task that waits for a whole body is told of three things: its end, a failure, and that it
must wait for room before more is received.

Memory: the piece that is being taken; whoever takes it bounds the rest.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import aiohttp

from batchgen.errors import BadReply, NoAnswer, Unterminated
from batchgen.timeouts import Timeouts
from batchgen.transport.body import Rate, check_size, inflater
from batchgen.transport.connections import Connection


class Pace(Protocol):
    """Whoever deals with what was taken."""

    @property
    def is_full(self) -> bool:
        """Whether there is so much to do that no more should come."""

    async def room(self) -> None:
        """Wait until more may come, in turn: what comes for one is counted before the next."""


class Flow:
    """One body, which is taken piece by piece.

    Attributes:
        n_bytes: How much of it has been received, compressed as it comes.
    """

    def __init__(
        self, answer: aiohttp.ClientResponse, timeouts: Timeouts, under_way: "set[Flow]"
    ) -> None:
        """Begin behind the head; `under_way` are the flows that share a pace."""
        self._content = answer.content
        connection = answer.connection.protocol if answer.connection else None
        # None, too, if all has come already, and the connection serves another request.
        self._connection = connection if isinstance(connection, Connection) else None
        self._encoding = answer.headers.get("Content-Encoding", "")
        self._idle_s = timeouts.idle
        self._rate = Rate(timeouts)
        self._under_way = under_way
        self._clock = asyncio.get_running_loop()
        self._heard_s = self._clock.time()
        self._told = self._clock.create_future()
        self._pieces: Iterator[bytes] = iter(())
        self._n_taken_bytes = 0
        self._is_inflating = False
        self._error: Exception | None = None
        self._is_taking = False
        self._is_held = False
        self.n_bytes = 0

    async def pour(self, take: Callable[[bytes], None], pace: Pace | None) -> None:
        """Give each piece, decompressed, to `take`, which may end it by raising.

        Raises:
            NoAnswer: It stalls, or comes too slowly.
            Unterminated, BadReply: It was cut, or its compression is damaged.
            TooLarge: It is larger than any sane one.
            Exception: Whatever `take` raises.
        """
        self._take, self._pace = take, pace
        self._inflate = inflater(self._encoding)
        try:
            await self._poured()
        except (aiohttp.ClientPayloadError, ConnectionError) as error:
            kind = BadReply if self._inflate else Unterminated
            raise kind(f"the answer was cut after {self.n_bytes} bytes") from error
        if self._inflate:
            self._inflate.check_end()

    async def _poured(self) -> None:
        self._under_way.add(self)
        if self._connection is not None:
            self._connection.begin_flow(self._arrived)
        try:
            self._arrived()  # what came with the head
            while not self._has_ended:
                await (self._wait_for_room() if self._is_held else self._wait())
        finally:
            self._under_way.discard(self)
            if self._connection is not None:
                self._connection.end_flow(self._arrived)
        if self._error is not None:
            raise self._error

    @property
    def _has_ended(self) -> bool:
        return self._error is not None or (self._content.at_eof() and not self._is_inflating)

    def _arrived(self) -> None:
        """Take what has come, if anything; called by the connection."""
        # aiohttp may go on with what it has kept back while it is read: the outer call takes it.
        if self._is_taking or self._error is not None:
            return
        self._is_taking, n_taken_bytes = True, self._n_taken_bytes
        try:
            self._take_all()
        except Exception as error:  # noqa: BLE001 - raised again, where it is waited for
            self._error = error
        finally:
            self._is_taking = False
        if self._has_ended:
            self._under_way.discard(self)  # the connection may serve another request from now on
            self._tell()
        elif self._is_full and self._n_taken_bytes > n_taken_bytes:
            _hold(self._under_way)  # all of them, or each would receive one more piece

    @property
    def _is_full(self) -> bool:
        return self._pace is not None and self._pace.is_full

    def _take_all(self) -> None:
        """Take what there is, as far as there is room for it."""
        while True:
            for piece in self._pieces:
                self._n_taken_bytes += len(piece)
                check_size(self._n_taken_bytes)
                self._take(piece)
                if self._is_full:
                    return
            self._is_inflating = False
            if not self._content.at_eof():
                self._rate.check()  # not before: the chunk may have made the answer whole
            chunk = self._content.read_nowait()
            if not chunk:
                return
            self._count(chunk)
            self._is_inflating = self._inflate is not None
            self._pieces = self._inflate(chunk) if self._inflate else iter((chunk,))

    def _count(self, chunk: bytes) -> None:
        self.n_bytes += len(chunk)
        check_size(self.n_bytes)
        now_s = self._clock.time()
        self._rate.count(chunk, now_s - self._heard_s)
        self._heard_s = now_s

    def _tell(self) -> None:
        """Wake the task that waits."""
        if not self._told.done():
            self._told.set_result(None)

    def hold(self) -> None:
        """Receive no more before there is room."""
        if self._pace is None or self._is_held:
            return
        self._is_held = True
        if self._connection is not None and not self._content.at_eof():
            self._connection.hold()
        self._tell()

    async def _wait(self) -> None:
        """Wait to be told, while pieces come; or until none has come for too long."""
        self._told = self._clock.create_future()
        try:
            async with asyncio.timeout_at(self._heard_s + self._idle_s):
                await self._told
        except TimeoutError as error:
            if self._clock.time() >= self._heard_s + self._idle_s:
                raise NoAnswer(f"the answer stalled for {self._idle_s:g} s") from error

    async def _wait_for_room(self) -> None:
        """Wait for room, and go on; that time is not the network's."""
        if self._pace is not None:
            await self._pace.room()
        self._is_held = False
        self._heard_s = self._clock.time()
        if self._connection is not None and not self._content.at_eof():
            self._connection.go_on()
        self._arrived()  # what was left of a piece


def _hold(flows: Iterable[Flow]) -> None:
    for flow in flows:
        flow.hold()
