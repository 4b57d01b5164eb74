"""What is to be sent for an item: which turn is next, the files that go with it, its body.

Nothing has left, and nothing has been set aside: all that can be found out before that is found
out here, in the process that knows the job and its history.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from batchgen.clock import Clock
from batchgen.conversation import Conversations, NextTurn
from batchgen.cost import kind_and_input
from batchgen.errors import AttemptError, BadRequest, Cancelled, MissingReference
from batchgen.known_models import KnownModels
from batchgen.limits import NO_DEMAND, Demand
from batchgen.model import MAX_REFERENCES, Item, Reference, ReferenceFile
from batchgen.references import ReferenceLibrary, UnusableReferenceError, shown_url
from batchgen.settle import CallEnd, Settler
from batchgen.store.ledger import Sent
from batchgen.wire.request import RequestBody, build_body


@dataclass(frozen=True, slots=True)
class Request:
    """Call number n of a turn of an item, with its body."""

    item: Item
    turn: NextTurn
    n: int
    body: RequestBody


@dataclass(frozen=True, slots=True)
class Preparer:
    """Prepares the requests of one run."""

    run_id: str
    references: ReferenceLibrary
    conversations: Conversations
    settler: Settler
    clock: Clock
    max_body_bytes: int | None = None

    async def prepare(self, item: Item, n: int) -> Request | CallEnd:
        """Prepare call number n of an item's next turn; its end, where nothing can be sent.

        What lies where its picture belongs is cleared out of the way now: nothing that may fail
        comes between a whole answer and its receipt.

        Raises:
            StoreError: The disk failed.
        """
        try:
            turn = await self._next_turn(item)
            files = await self._opened(turn.references(item))
            await self.settler.layout.shelf.clear(item)
        except asyncio.CancelledError:
            return CallEnd(item, None, given_up())
        if isinstance(files, MissingReference):
            return self.unsent(item, turn, files)
        if (crowd := _too_many(item, turn)) is not None:
            return self.unsent(item, turn, crowd)
        body = build_body(
            KnownModels.shipped().as_sent(item),
            files,
            turn=turn.number,
            contents=turn.contents,
            picture=turn.picture,
        )
        if (fault := self._too_large(body)) is not None:
            return self.unsent(item, turn, fault)
        return Request(item, turn, n, body)

    def unsent(self, item: Item, turn: NextTurn, error: AttemptError) -> CallEnd:
        """The end of a call that cannot be sent."""
        unsent = announcement(item, turn, 0, self.run_id, self.clock)
        return self.settler.failed(unsent, item, error, {})

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

    def _too_large(self, body: RequestBody) -> BadRequest | None:
        """Why a request is not sent, now that its exact size is known."""
        if self.max_body_bytes is None or body.length_bytes <= self.max_body_bytes:
            return None
        size_mib, most_mib = (n / (1 << 20) for n in (body.length_bytes, self.max_body_bytes))
        return BadRequest(
            f"nothing was sent: the request would be {size_mib:.1f} MiB, and limits.max_body_mib "
            f"is {most_mib:g}; set reference_max_px, or raise the limit and run with --retry-failed"
        )


def announcement(
    item: Item, turn: NextTurn, n: int, run_id: str, clock: Clock, demand: Demand = NO_DEMAND
) -> Sent:
    """The `sent` line of a call that leaves now; number 0 is of one that never will."""
    return Sent(
        run_id=run_id,
        item=item.id,
        key=turn.key,
        turn=turn.number,
        attempt=n,
        at=clock.stamp(),
        model=item.model,
        est_usd=demand.usd,
        est_tokens=demand.tokens or msgspec.UNSET,
        asks=kind_and_input(item, turn=turn.number)[0] if n else msgspec.UNSET,
    )


def given_up() -> Cancelled:
    """The error of a call that was given up before it left."""
    return Cancelled("given up before it was sent", billed="no")


def _too_many(item: Item, turn: NextTurn) -> BadRequest | None:
    """Why a turn cannot be sent with a picture in place of the conversation: there is no room."""
    n_references = len(turn.references(item))
    if turn.picture is None or n_references < MAX_REFERENCES:
        return None
    return BadRequest(
        f"nothing was sent: turn {turn.number} would be {turn.note}, and beside that picture there "
        f"is room for {MAX_REFERENCES - 1} references, not {n_references}: leave one out"
    )


def _named(reference: Reference) -> str:
    if reference.item is not None:
        return f"item:{reference.item}"
    return shown_url(reference.url) if reference.url is not None else str(reference.path)
