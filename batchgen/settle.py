"""A whole answer becomes a picture under its final name and a ledger line.

The same steps finish an answer that has just arrived and one that a killed run left behind:

    receipt -> read the skeleton -> judge the picture -> commit it -> count and price -> Attempt

Of a conversation, what the model said in each turn is kept as well, before its picture: the next
turn sends it back.

Everything here may wait for the disk, so it runs in a thread, never on the event loop.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from batchgen.acceptance import Acceptance
from batchgen.answer import Answer, read_answer
from batchgen.conversation import keep_content
from batchgen.cost import NOTHING, UNKNOWN, Cost, PriceBook, count_tokens, price_tokens
from batchgen.errors import AttemptError, BatchgenError, Bug, store_errors
from batchgen.known_models import KnownModels
from batchgen.model import Attempt, Decision, Failure, ImageFile, Item, Outcome, Tier, Tokens
from batchgen.sanitize import Secrets, printable
from batchgen.store.history import final_image
from batchgen.store.images import sha256_of
from batchgen.store.layout import EXTENSIONS, Layout
from batchgen.store.ledger import Sent
from batchgen.store.parts import InRoom, as_it_comes
from batchgen.store.pictures import FindMade, make_room, set_aside_parts
from batchgen.store.receipts import RECEIPT, Blanks, Receipt, part_name, save_receipt
from batchgen.store.replace import replaced
from batchgen.suspects import suspects
from batchgen.wire.grounding import count_queries
from batchgen.wire.reply import Reply
from batchgen.wire.request import asked_size
from batchgen.wire.usage import read_usage, told_tier

_MAX_WORDS: Final = 1000


@dataclass(frozen=True, slots=True)
class CallEnd:
    """One call that has ended: its ledger line, but for the decision, and why it failed.

    Attributes:
        item: What the call was for.
        line: None if the call was given up before anything was sent; then nothing is recorded.
        leftovers: Part files to remove once the line is durable.
        is_unsettled: Nobody has looked at the leftovers: the answer broke off or made no sense.
        displaced: What lay where the picture belongs and is kept elsewhere, in words.
        staged: What the call made that a worker has put into a store, by the paths it is to have.
    """

    item: Item
    line: Attempt | None
    error: AttemptError | None
    leftovers: tuple[Path, ...] = ()
    is_unsettled: bool = False
    displaced: tuple[str, ...] = ()
    staged: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether an answer came whole and was understood: nothing more is to be found out."""
        return bool(self.leftovers) and not self.is_unsettled

    @property
    def goes_on(self) -> bool:
        """Whether a turn has ended well that is not the last of its item."""
        line = self.line
        return self.error is None and line is not None and line.turn < len(self.item.turns)


def _nothing_made(_path: str) -> None:
    return


@dataclass(frozen=True, slots=True)
class Settler:
    """Settles calls of one run.

    Attributes:
        find_made: Says what was made last under a path, so that nothing else is written over.
        blanks: What receipts are written on.
    """

    layout: Layout
    book: PriceBook
    provider: str
    secrets: Secrets
    acceptance: Acceptance = Acceptance()
    find_made: FindMade = _nothing_made
    blanks: Blanks = field(default_factory=Blanks)

    def settle(
        self, receipt: Receipt, *, recovered: bool = False, in_room: InRoom = as_it_comes
    ) -> CallEnd:
        """Finish a whole answer: afterwards the picture is durable under its final name.

        Args:
            receipt: All about it.
            recovered: A killed run left it.
            in_room: Runs what writes the receipt, where there is room for it.

        Raises:
            StoreError: The disk failed; nothing is recorded, and the receipt finishes it later.
        """
        known = {
            "http_status": receipt.http_status,
            "latency_s": receipt.latency_s,
            "bytes_in": receipt.bytes_in,
            "request_id": receipt.request_id,
            "recovered": recovered,
            "note": receipt.note or msgspec.UNSET,
        }
        marker = self.layout.parts / f"{part_name(receipt.sent)}{RECEIPT}"
        try:
            with store_errors(self.layout.root):
                if not recovered:  # else the receipt lies there, and is all that is known of it
                    self._save(receipt, in_room)
                answer = read_answer(
                    self.layout, receipt, self.acceptance, self.secrets, is_recovered=recovered
                )
                line = self._settled(answer, known)
                displaced = tuple(_displaced(answer.images.displaced))
                leftovers = (marker, *answer.images.left)
                return CallEnd(receipt.item, line, answer.error, leftovers, displaced=displaced)
        except AttemptError as unread:
            error = unread
        except BatchgenError:
            raise
        except Exception as defect:  # noqa: BLE001 - an answer that trips us up is kept, not lost
            error = bug(defect)
        end = self.failed(receipt.sent, receipt.item, error, known)
        leftovers = (marker, *(self.layout.parts / image.part for image in receipt.images))
        return CallEnd(receipt.item, end.line, error, leftovers, is_unsettled=True)

    def _save(self, receipt: Receipt, in_room: InRoom) -> None:
        save_receipt(self.layout.parts, receipt, self.secrets, self.blanks, in_room)

    def failed(
        self, sent: Sent, item: Item, error: AttemptError, known: Mapping[str, Any]
    ) -> CallEnd:
        """The end of a call without a whole answer: its cost is nothing, or may be the estimate."""
        cost = NOTHING if error.billed == "no" else _maybe(sent)
        line = self._line(sent, item, error=error, cost=cost, **known)
        return CallEnd(item, line, error)

    def make_way(self, end: CallEnd) -> CallEnd:
        """Clear the way for a staged picture: what lies there and is none of ours is kept.

        Raises:
            StoreError: The disk failed.
        """
        line = end.line
        final = None if line is None else final_image(line.images)
        if line is None or final is None:
            return end
        places = [self.layout.root / self.layout.image_name(end.item, one) for one in EXTENSIONS]
        with store_errors(self.layout.root):
            for path in places:  # a killed run may have put it there, and not come to say so
                if path.is_file() and sha256_of(path) == final.sha256:
                    path.unlink()
            found = [(path, make_room(self.layout, path, self.find_made)) for path in places]
            for path in (*places, self.layout.text(end.item.id)):
                path.unlink(missing_ok=True)
        lay = ((self.layout.relative(path), aside) for path, aside in found if aside is not None)
        words = tuple(_displaced(lay))
        note = "; ".join(filter(None, (line.note or None, *words))) or msgspec.UNSET
        line = msgspec.structs.replace(line, note=note)
        return replace(end, line=line, displaced=words)

    def keep_parts(self, leftovers: Iterable[Path], line: Attempt, *, only_whole: bool) -> Attempt:
        """Keep the pictures of a call whose answer is lost, as far as they have come.

        Args:
            leftovers: What lies there of it.
            line: Its line.
            only_whole: Pictures that have not come whole are of no use.

        Raises:
            StoreError: The disk failed.
        """
        with store_errors(self.layout.root):
            parts = (path for path in leftovers if path.suffix == ".part")
            aside = set_aside_parts(self.layout, parts, only_whole=only_whole)
            kept = tuple(map(self._masked, aside))
        return msgspec.structs.replace(line, images=(*line.images, *kept)) if kept else line

    def _settled(self, answer: Answer, known: Mapping[str, Any]) -> Attempt:
        receipt, reply, error = answer.receipt, answer.reply, answer.error
        sent, item = receipt.sent, receipt.item
        if error is None:
            unkept = self._keep_content(answer)
            images = tuple(map(self._masked, answer.take(self.find_made)))
            notes = filter(
                None, (receipt.note, unkept, answer.note, *_displaced(answer.images.displaced))
            )
            known = {**known, "note": "; ".join(notes) or msgspec.UNSET}
        else:
            images = tuple(map(self._masked, answer.set_aside()))
            error.message += "; kept in quarantine/" if images else ""
        if sent.turn >= len(item.turns):
            self._text(item, reply)
        told = told_tier(reply.usage, receipt.service_tier)
        tier = told or "standard"
        tokens, cost = self._cost(answer, tier, is_sure=told is not None or not _is_dear(item))
        return self._line(
            sent,
            item,
            error=error,
            cost=cost,
            images=images,
            tokens=tokens,
            model_version=reply.model_version,
            finish_reason=reply.finish_reason,
            finish_message=_if_said(reply.finish_message),
            block_reason=_if_said(reply.block_reason),
            text=reply.text,
            grounding=reply.grounding,
            usage=reply.usage,
            response_id=reply.response_id,
            service_tier=msgspec.UNSET if tier == "standard" else tier,
            **known,
        )

    def _keep_content(self, answer: Answer) -> str | None:
        """Keep what the model said in a turn, before its images move; why not, if it cannot be."""
        if not answer.receipt.item.turns:
            return None
        return keep_content(
            self.layout,
            answer.receipt,
            self.secrets,
            lambda index: answer.images.seen(index).path,
            candidate=answer.reply.candidate,
        )

    def _line(
        self, sent: Sent, item: Item, *, error: AttemptError | None, cost: Cost, **known: Any
    ) -> Attempt:
        if error is not None:
            error.message = self.secrets.redact(error.message + suspects(error, item, sent.turn))
        where = f"turn {sent.turn}: " if len(item.turns) > 1 else ""
        failure = None if error is None else Failure(kind=error.kind, message=where + error.message)
        line = Attempt(
            run_id=sent.run_id,
            item=sent.item,
            key=sent.key,
            turn=sent.turn,
            attempt=sent.attempt,
            at=sent.at,
            model=sent.model,
            provider=self.provider,
            outcome=Outcome.IMAGE if error is None else error.outcome,
            decision="done" if error is None else "failed",
            error=failure,
            cost_usd=cost.usd,
            cost_basis=cost.basis,
            billed="yes" if error is None else error.billed,
            tags=item.tags,
            **known,
        )
        return self._redacted(line)

    def _masked(self, image: ImageFile) -> ImageFile:
        """An image without a secret, if it is none that anybody wants to look at.

        A picture that was made stays as it came.
        """
        path = self.layout.root / image.path
        if image.role != "quarantine" or not self.secrets.mask(path):
            return image
        return msgspec.structs.replace(image, sha256=sha256_of(path))

    def _redacted(self, line: Attempt) -> Attempt:
        """The line as it may be shown: wherever the service quoted the key, it is taken out."""
        written = msgspec.json.encode(line)
        redacted = self.secrets.redact_bytes(written)
        return line if redacted is written else msgspec.json.decode(redacted, type=Attempt)

    def _text(self, item: Item, reply: Reply) -> None:
        path = self.layout.text(item.id)
        if reply.text is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(exist_ok=True)
        # A draft that a killed run leaves among the parts goes away with them.
        with replaced(path, drafts=self.layout.parts) as file:
            file.write(self.secrets.redact(reply.text).encode("utf-8", "replace"))

    def _cost(self, answer: Answer, tier: Tier, *, is_sure: bool) -> tuple[Tokens | None, Cost]:
        sent, item, reply = answer.receipt.sent, answer.receipt.item, answer.reply
        price = self.book.find(reply.model_version, item.model, at=sent.at)
        tokens, basis = count_tokens(
            read_usage(reply.usage), price, n_images=answer.n_images, size=asked_size(item)
        )
        if answer.error is not None and answer.error.billed == "no":
            return tokens, NOTHING
        is_sure = is_sure and self.book.knows(reply.model_version, at=sent.at)
        if not is_sure and basis == "reported":
            basis = "inferred"
        n_queries = count_queries(reply.grounding)
        return tokens, price_tokens(tokens, basis, price, tier=tier, n_queries=n_queries)


def _is_dear(item: Item) -> bool:
    """Whether an item asks to be served in a way that costs more, which gateways may leave out."""
    return KnownModels.shipped().kind(item, 0).tier == "priority"


def _displaced(places: Iterable[tuple[str, str]]) -> Iterator[str]:
    for path, aside in places:
        yield f"another picture lay at {path}; it is kept as {aside}"


def _if_said(text: str | None) -> str | msgspec.UnsetType:
    return msgspec.UNSET if text is None else printable(text, _MAX_WORDS)


def bug(defect: Exception) -> Bug:
    """Name a defect of ours as what it is: its type, its words and its innermost place."""
    trace = defect.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}" if trace else "?"
    return Bug(f"a bug in batchgen, please report it: {type(defect).__name__} in {where}: {defect}")


def _maybe(sent: Sent) -> Cost:
    """What a call that may have been billed is counted with: its estimate."""
    return UNKNOWN if sent.est_usd is None else Cost(sent.est_usd, "inferred")


def decided(line: Attempt, decision: Decision, why: str | None = None) -> Attempt:
    """The line with the decision that was taken on it, and why, where that tells more."""
    error = line.error
    if why is not None and error is not None:
        error = Failure(kind=error.kind, message=f"{error.message} ({why})")
    return msgspec.structs.replace(line, decision=decision, error=error)
