"""One call, from the durable announcement to the ended answer.

attempt(item, n)            a value in every case; cancelled, it says so
  ├── _opened               what is sent with it: files on disk
  └── _paid                 sets money aside for it, and gives back what it did not cost
        └── _housed         sets room on the disk aside for its answer, and gives the rest back
              └── _paced    waits for the limits, then announces: `sent` is durable before it leaves
                    └── _exchange transport.post -> wire.stream -> part files
                          └── settle.Settler, once it is whole; not to be cancelled any more
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from batchgen.breakers import FirstRefusals
from batchgen.budget import Purse
from batchgen.clock import Clock, stamp
from batchgen.conversation import Conversations, NextTurn
from batchgen.cost import PriceBook, estimate_item, input_tokens, kind_and_input
from batchgen.errors import (
    AttemptError,
    BadRequest,
    BatchgenError,
    Cancelled,
    MissingReference,
    NoAnswer,
    Unterminated,
)
from batchgen.events import AttemptBegan, Event
from batchgen.known_models import KnownModels
from batchgen.limits import NO_DEMAND, Call, Demand, Limiter
from batchgen.model import MAX_REFERENCES, Item, Reference, ReferenceFile
from batchgen.pool import to_the_end
from batchgen.references import (
    ReferenceLibrary,
    UnusableReferenceError,
    read_reference,
    shown_url,
)
from batchgen.settle import CallEnd, Settler, bug
from batchgen.stop import Stop
from batchgen.store.ledger import Ledger, Sent
from batchgen.store.parts import PartImage, Writer, WrittenImage
from batchgen.store.receipts import Receipt, ReceivedImage, part_name
from batchgen.store.room import Room, Share, room_bytes
from batchgen.transport import Response, Transport
from batchgen.wire.fault import MAX_FAULT_BYTES, read_fault, request_id
from batchgen.wire.request import (
    RequestBody,
    asked_size,
    asks_for_thoughts,
    build_body,
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
class _Asked:
    """What is to be sent: the body of a turn of an item, in its n-th try."""

    item: Item
    n: int
    turn: NextTurn
    body: RequestBody


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
class Caller:
    """Makes the calls of one run; all its parts are open while it is used.

    Attributes:
        tell: Told of each request when it leaves.
        settling: Threads that wait for the disk, and that nothing else waits for: the lookup of a
            host would, in those that a loop has anyway.
        one_by_one: One thread, for answers that take much memory.
    """

    run_id: str
    transport: Transport
    limiter: Limiter
    purse: Purse
    stop: Stop
    ledger: Ledger
    writer: Writer
    room: Room
    settler: Settler
    settling: Executor
    one_by_one: Executor
    references: ReferenceLibrary
    conversations: Conversations
    book: PriceBook
    clock: Clock
    tell: Callable[[Event], None]
    max_body_bytes: int | None = None
    first_refusals: FirstRefusals = field(default_factory=FirstRefusals)

    async def attempt(self, item: Item, n: int) -> CallEnd:
        """Make call number n of an item's next turn.

        Raises:
            StoreError: The disk failed. A failed call is no exception but a value.
        """
        try:
            turn = await self._next_turn(item)
            files = await self._opened(turn.references(item))
            # Now: nothing that may fail comes between a whole answer and its receipt.
            await self.settler.layout.shelf.clear(item)
        except asyncio.CancelledError:
            return CallEnd(item, None, _given_up())
        if isinstance(files, MissingReference):
            return self._unsent(item, turn, files)
        if (crowd := _too_many(item, turn)) is not None:
            return self._unsent(item, turn, crowd)
        body = _body(item, turn, files)
        if (fault := self._too_large(body)) is not None:
            return self._unsent(item, turn, fault)
        return await self._paid(_Asked(item, n, turn, body))

    def _unsent(self, item: Item, turn: NextTurn, error: AttemptError) -> CallEnd:
        return self.settler.failed(self._announcement(item, turn, 0), item, error, {})

    def _too_large(self, body: RequestBody) -> BadRequest | None:
        """Why a request is not sent, now that its exact size is known."""
        if self.max_body_bytes is None or body.length_bytes <= self.max_body_bytes:
            return None
        size_mib, most_mib = (n / (1 << 20) for n in (body.length_bytes, self.max_body_bytes))
        return BadRequest(
            f"nothing was sent: the request would be {size_mib:.1f} MiB, and limits.max_body_mib "
            f"is {most_mib:g}; set reference_max_px, or raise the limit and run with --retry-failed"
        )

    async def _next_turn(self, item: Item) -> NextTurn:
        """Find the turn to send; only that of a conversation takes a look at the disk."""
        if len(item.turns) > 1:
            await self.settler.layout.shelf.fetch(self.conversations.files(item))
            return await asyncio.to_thread(self.conversations.next_turn, item)
        return self.conversations.next_turn(item)

    async def _opened(
        self, references: Sequence[Reference]
    ) -> list[ReferenceFile] | MissingReference:
        """The files to send for references, or what is wrong with one of them."""
        files, layout = [], self.settler.layout
        for reference in references:
            if reference.item is not None and reference.path is not None:
                await layout.shelf.fetch([reference.path.removeprefix(f"{layout.root}/")])
            try:
                files.append(await self.references.sendable(reference))
            except UnusableReferenceError as unusable:
                return MissingReference(f"reference {_named(reference)} {unusable}")
        return files

    async def _paid(self, asked: _Asked) -> CallEnd:
        item, turn = asked.item, asked.turn.number
        est_usd = estimate_item(self.book, item, at=self.clock.stamp(), turn=turn)
        try:
            is_paid = await self.purse.reserve(est_usd)
        except asyncio.CancelledError:
            is_paid = False
        if not is_paid:
            return CallEnd(item, None, _given_up())
        spent_usd: Decimal | None = None
        try:
            demand = Demand(input_tokens(item, turn=turn), est_usd)
            end = await self._housed(asked, demand)
            spent_usd = _spent_usd(end)
            return end
        finally:
            self.purse.settle(est_usd, spent_usd)

    async def _housed(self, asked: _Asked, demand: Demand) -> CallEnd:
        try:
            share = await self.room.take(_room_bytes(asked.item))
        except asyncio.CancelledError:
            return CallEnd(asked.item, None, _given_up())
        try:
            return await self._paced(asked, demand, share)
        finally:
            self.room.give_back(share)

    async def _paced(self, asked: _Asked, demand: Demand, share: Share) -> CallEnd:
        item, turn = asked.item, asked.turn
        sent: Sent | None = None
        try:
            async with self.limiter.departure(
                item.model, demand, item_id=item.id, attempt=asked.n, stop=self.stop
            ) as call:
                if call is None:
                    return CallEnd(item, None, _given_up())
                sent = self._announcement(item, turn, asked.n, demand)
                await self.ledger.append(sent)
                self.tell(_began(sent))
                leaves = partial(self.limiter.sent, call)
                request = _Call(sent, item, asked.body, turn.note, share, leaves)
                return self._heard(call, await self._exchange(request))
        except asyncio.CancelledError:
            if sent is None:
                return CallEnd(item, None, _given_up())
            return self.settler.failed(sent, item, _given_up(), {})

    def _heard(self, call: Call, end: CallEnd) -> CallEnd:
        """Let the limits learn from a call, and stop the run if it must, before the next leaves.

        Returns:
            The same end; where nothing leaves to the model for a while now, its line says so.
        """
        cools_s = self.limiter.heard(call, end.error)
        if end.error is None:
            self.first_refusals.passed()
        else:
            self.first_refusals.refused(end.item.id, end.error)
            if end.error.stops_run:
                self.stop.ask(end.error.message, end.error)
        line = end.line
        if line is None:
            return end
        tokens = line.tokens
        # What may have been drawn, and was never seen, counts as it was reserved.
        n_images = {"yes": max(1, len(line.images)), "maybe": None, "no": 0}[line.billed]
        self.limiter.settle(
            call,
            tokens=None if tokens is None else tokens.input_text + tokens.input_image,
            n_images=n_images,
            usd=line.cost_usd,
        )
        if not cools_s:
            return end
        until = stamp(self.clock.now() + timedelta(seconds=cools_s))
        return replace(end, line=msgspec.structs.replace(line, cools_until=until))

    def _announcement(self, item: Item, turn: NextTurn, n: int, demand: Demand = NO_DEMAND) -> Sent:
        return Sent(
            run_id=self.run_id,
            item=item.id,
            key=turn.key,
            turn=turn.number,
            attempt=n,
            at=self.clock.stamp(),
            model=item.model,
            est_usd=demand.usd,
            est_tokens=demand.tokens or msgspec.UNSET,
            asks=kind_and_input(item, turn=turn.number)[0] if n else msgspec.UNSET,
        )

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
            async for chunk in response.body:
                # Before the bytes are handed over: afterwards every call would pass at once.
                await self.writer.room()
                stream.feed(chunk)
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


def _body(item: Item, turn: NextTurn, files: Sequence[ReferenceFile]) -> RequestBody:
    return build_body(
        KnownModels.shipped().as_sent(item),
        files,
        turn=turn.number,
        contents=turn.contents,
        picture=turn.picture,
    )


def _room_bytes(item: Item) -> int:
    """What the answer may need on the disk; with thoughts there may be two drafts before it."""
    known = KnownModels.shipped()
    size = asked_size(known.as_sent(item)) or known.token_counts(item.model).default_size
    return room_bytes(size, 3 if asks_for_thoughts(item) else 1)


def _too_many(item: Item, turn: NextTurn) -> BadRequest | None:
    """Why a turn cannot be sent with a picture in place of the conversation: there is no room."""
    n_references = len(turn.references(item))
    if turn.picture is None or n_references < MAX_REFERENCES:
        return None
    return BadRequest(
        f"nothing was sent: turn {turn.number} would be {turn.note}, and beside that picture there "
        f"is room for {MAX_REFERENCES - 1} references, not {n_references}: leave one out"
    )


def _noted(call: _Call, answer: _Answer) -> str | None:
    """What the ledger should say of how the request was made."""
    return "; ".join(filter(None, (call.note, *answer.notes))) or None


def _named(reference: Reference) -> str:
    if reference.item is not None:
        return f"item:{reference.item}"
    return shown_url(reference.url) if reference.url is not None else str(reference.path)


def _began(sent: Sent) -> AttemptBegan:
    return AttemptBegan(
        item=sent.item,
        key=sent.key,
        turn=sent.turn,
        attempt=sent.attempt,
        model=sent.model,
        est_usd=sent.est_usd,
    )


def _spent_usd(end: CallEnd) -> Decimal | None:
    """What a call counts with in a budget; None if nobody knows, which counts as its estimate."""
    if end.line is None or end.line.billed == "no":
        return Decimal(0)
    return end.line.cost_usd


def _given_up() -> Cancelled:
    return Cancelled("given up before it was sent", billed="no")
