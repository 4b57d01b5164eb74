"""One call, from leave to send it to the ended answer.

send(request, leave)     a value in every case; cancelled, it says so
  └── _governed          room on the disk is set aside; `sent` is durable before anything leaves
        └── _exchange    transport.post -> wire.stream -> part files
              └── settle.Settler, once it is whole; not to be cancelled any more
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from batchgen.clock import Clock
from batchgen.errors import (
    AttemptError,
    BatchgenError,
    Cancelled,
    NoAnswer,
    Unterminated,
)
from batchgen.governor import Leave
from batchgen.known_models import KnownModels
from batchgen.model import Item
from batchgen.pool import to_the_end
from batchgen.preparation import Request, given_up
from batchgen.references import read_reference
from batchgen.settle import CallEnd, Settler, bug
from batchgen.store.ledger import Sent
from batchgen.store.parts import PartImage, Writer, WrittenImage
from batchgen.store.receipts import Receipt, ReceivedImage, part_name
from batchgen.store.room import Room, Share, room_bytes
from batchgen.transport import Response, Transport
from batchgen.wire.fault import MAX_FAULT_BYTES, read_fault, request_id
from batchgen.wire.request import (
    RequestBody,
    asked_size,
    asks_for_thoughts,
    endpoint_path,
)
from batchgen.wire.stream import ReplyStream

# 201 and 203 are what a gateway may make of a 200; what comes with any other 2xx is no answer, and
# read all the same for the pictures in it.
_WITH_ANSWER: Final = frozenset({200, 201, 203})
_SUCCESS: Final = range(200, 300)
# What tells how a call was really served, whatever was asked.
_TIER_HEADER: Final = "x-gemini-service-tier"
_LARGE_BYTES: Final = 512 << 10


@dataclass(frozen=True, slots=True)
class _Call:
    """A request that has been announced."""

    sent: Sent
    item: Item
    body: RequestBody
    note: str | None
    share: Share
    leaves: Callable[[], None]

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body, which begins to leave now: writing it down and connecting took their time."""
        self.leaves()
        async for chunk in self.body.chunks(read_reference):
            yield chunk


@dataclass(slots=True)
class _Answer:
    """What has arrived of an answer so far."""

    started_s: float
    parts: list[PartImage] = field(default_factory=list)
    response: Response | None = None
    request_id: str | None = None
    service_tier: str | None = None
    notes: list[str] = field(default_factory=list)

    def known(self, now_s: float) -> dict[str, Any]:
        """What the ledger should know of it, whole or not."""
        response = self.response
        return {
            "http_status": response.status if response else None,
            "latency_s": round(now_s - self.started_s, 3),
            "bytes_in": response.n_bytes if response else 0,
            "request_id": self.request_id,
        }


@dataclass(frozen=True, slots=True)
class Sender:
    """Makes the calls of one run, or of one worker of it; all its parts are open meanwhile.

    Attributes:
        settling: Threads that wait for the disk, and that nothing else waits for: the lookup of a
            host would, in those that a loop has anyway.
        one_by_one: One thread, for answers that take much memory.
    """

    transport: Transport
    writer: Writer
    room: Room
    settler: Settler
    settling: Executor
    one_by_one: Executor
    clock: Clock

    async def send(self, request: Request, leave: Leave) -> CallEnd:
        """Make a call, once it may leave.

        Raises:
            StoreError: The disk failed. A failed call is no exception but a value.
        """
        try:
            share = await self.room.take(_room_bytes(request.item))
        except asyncio.CancelledError:
            return CallEnd(request.item, None, given_up())
        try:
            return await self._governed(request, leave, share)
        finally:
            self.room.give_back(share)

    async def _governed(self, request: Request, leave: Leave, share: Share) -> CallEnd:
        item = request.item
        sent: Sent | None = None
        try:
            async with leave() as lease:
                if lease is None:
                    return CallEnd(item, None, given_up())
                sent = lease.sent
                if lease.is_given_up:
                    return lease.heard(self.settler.failed(sent, item, given_up(), {}))
                call = _Call(sent, item, request.body, request.turn.note, share, lease.leaves)
                return lease.heard(await self._exchange(call))
        except asyncio.CancelledError:
            if sent is None:
                return CallEnd(item, None, given_up())
            return self.settler.failed(sent, item, given_up(), {})

    async def _exchange(self, call: _Call) -> CallEnd:
        answer = _Answer(self.clock.monotonic_s())
        stream = ReplyStream(
            lambda n: self._open_part(answer, call, n), self.settler.secrets.redact_bytes
        )
        error = await self._failure(answer, stream, call)
        if error is None:
            return await to_the_end(self._settle(answer, stream, call))
        known = answer.known(self.clock.monotonic_s())
        known["request_id"] = error.request_id or answer.request_id
        known["note"] = _noted(call, answer) or msgspec.UNSET
        leftovers = await to_the_end(self._drop(answer))
        end = self.settler.failed(call.sent, call.item, error, known)
        return CallEnd(call.item, end.line, error, leftovers, is_unsettled=True)

    async def _failure(
        self, answer: _Answer, stream: ReplyStream, call: _Call
    ) -> AttemptError | None:
        """Receive the answer; None if it is whole, however its connection ended after that."""
        try:
            await self._receive(answer, stream, call)
        except (Unterminated, NoAnswer) as failed:
            return None if stream.is_whole else failed
        except AttemptError as failed:
            return failed
        except asyncio.CancelledError:
            gone = Cancelled("given up while it was under way; it may be billed")
            return None if stream.is_whole else gone
        except BatchgenError:
            raise
        except Exception as defect:  # noqa: BLE001 - one item's record, then the run ends
            return bug(defect)
        return None

    async def _receive(self, answer: _Answer, stream: ReplyStream, call: _Call) -> None:
        """Send the request and stream the answer; returns only if the answer is a whole 200."""
        path = endpoint_path(call.item.model)
        length_bytes, note = call.body.length_bytes, answer.notes.append
        async with self.transport.post(path, length_bytes, call.chunks, note) as response:
            answer.response = response
            # Before any of it is shortened, which could cut a key in two.
            secrets = self.settler.secrets
            headers = {name: secrets.redact(value) for name, value in response.headers.items()}
            answer.request_id = request_id(headers)
            answer.service_tier = headers.get(_TIER_HEADER)
            if response.status not in _SUCCESS:
                refusal = secrets.redact_bytes(await response.beginning(MAX_FAULT_BYTES))
                raise read_fault(response.status, headers, refusal, self.clock.now())
            await response.pour(stream.feed, self.writer)
        stream.end()
        if response.status not in _WITH_ANSWER:
            raise read_fault(response.status, headers, b"", self.clock.now())

    async def _settle(self, answer: _Answer, stream: ReplyStream, call: _Call) -> CallEnd:
        """Settle a whole answer; with much JSON, which takes many times its size, one by one.

        In the same thread, for each thread keeps for itself what it once had.
        """
        known = answer.known(self.clock.monotonic_s())
        known.update(note=_noted(call, answer), service_tier=answer.service_tier)
        for part in answer.parts:
            await part.caught_up()
        threads = self.settling if stream.n_bytes <= _LARGE_BYTES else self.one_by_one
        settled = partial(self._settled, call, stream, answer.parts, known)
        return await asyncio.get_running_loop().run_in_executor(threads, settled)

    def _settled(
        self, call: _Call, stream: ReplyStream, parts: Iterable[PartImage], known: dict[str, Any]
    ) -> CallEnd:
        """Settle a whole answer; in a thread, as the key is looked for in all that came."""
        images = tuple(_received(part.finish()) for part in parts)
        received = stream.skeleton()
        skeleton = self.settler.secrets.redact(received.decode("utf-8", "replace"))
        is_intact = not stream.is_shortened and skeleton.encode() == received
        receipt = Receipt(
            sent=call.sent,
            item=call.item,
            skeleton=skeleton,
            images=images,
            is_intact=is_intact,
            **known,
        )
        return self.settler.settle(receipt, in_room=call.share.write)

    async def _drop(self, answer: _Answer) -> tuple[Path, ...]:
        """Close the parts of an answer that did not become whole."""
        loop = asyncio.get_running_loop()
        for part in answer.parts:
            await part.caught_up()
        for part in answer.parts:
            await loop.run_in_executor(self.settling, part.finish)
        return tuple(part.path for part in answer.parts)

    def _open_part(self, answer: _Answer, call: _Call, n: int) -> PartImage:
        if answer.parts:  # or an answer with many small ones would be held in memory
            answer.parts[-1].hand_over()
        path = self.settler.layout.parts / f"{part_name(call.sent)}.{n}.part"
        part = PartImage(path, self.writer, call.share.write)
        answer.parts.append(part)
        return part


def _received(image: WrittenImage) -> ReceivedImage:
    return ReceivedImage(
        part=image.path.name,
        sha256=image.sha256,
        size_bytes=image.size_bytes,
        fault=image.fault,
    )


def _room_bytes(item: Item) -> int:
    """What the answer may need on the disk; with thoughts there may be two drafts before it."""
    known = KnownModels.shipped()
    size = asked_size(known.as_sent(item)) or known.token_counts(item.model).default_size
    return room_bytes(size, 3 if asks_for_thoughts(item) else 1)


def _noted(call: _Call, answer: _Answer) -> str | None:
    """What the ledger should say of how the request was made."""
    return "; ".join(filter(None, (call.note, *answer.notes))) or None
