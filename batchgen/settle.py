"""A whole answer becomes a picture under its final name and a ledger line.

The same steps finish an answer that has just arrived and one that a killed run left behind:

    receipt -> read the skeleton -> check the image -> commit it -> count and price -> Attempt

Of a conversation, what the model said in each turn is kept as well, before its picture: the next
turn sends it back.

Everything here may wait for the disk, so it runs in a thread, never on the event loop.
"""

import itertools
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from batchgen.conversation import keep_content
from batchgen.cost import NOTHING, UNKNOWN, Cost, PriceBook, count_tokens, price_tokens
from batchgen.errors import AttemptError, BatchgenError, BrokenImage, Bug, store_errors
from batchgen.model import Attempt, Decision, Failure, ImageFile, ImageRole, Item, Outcome, Tokens
from batchgen.sanitize import Secrets
from batchgen.store.images import HEAD_BYTES, TAIL_BYTES, ImageFacts, inspect, sha256_of
from batchgen.store.layout import EXTENSIONS, Layout
from batchgen.store.ledger import Sent, sync_directory, sync_file
from batchgen.store.receipts import Receipt, ReceivedImage, part_name, save_receipt
from batchgen.store.replace import replaced
from batchgen.wire.reply import Reply, ReplyImage, read_reply, why_no_image
from batchgen.wire.request import asked_size
from batchgen.wire.usage import read_usage

# Of two threads that need a new directory, neither goes on before its name is durable.
_making_directories: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class CallEnd:
    """One call that has ended: its ledger line, but for the decision, and why it failed.

    Attributes:
        item: What the call was for.
        line: None if the call was given up before anything was sent; then nothing is recorded.
        leftovers: Part files to remove once the line is durable, or to keep in quarantine.
    """

    item: Item
    line: Attempt | None
    error: AttemptError | None
    leftovers: tuple[Path, ...] = ()

    @property
    def goes_on(self) -> bool:
        """Whether a turn has ended well that is not the last of its item."""
        line = self.line
        return self.error is None and line is not None and line.turn < len(self.item.turns)


@dataclass(frozen=True, slots=True)
class Settler:
    """Settles calls of one run."""

    layout: Layout
    book: PriceBook
    provider: str
    secrets: Secrets

    def settle(self, receipt: Receipt, *, recovered: bool = False) -> CallEnd:
        """Finish a whole answer: afterwards the picture is durable under its final name.

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
        marker = self.layout.parts / f"{part_name(receipt.sent)}.json"
        leftovers = (marker, *(self.layout.parts / image.part for image in receipt.images))
        try:
            with store_errors(self.layout.root):
                line, error = self._settle(receipt, known)
        except BatchgenError:
            raise
        except Exception as defect:  # noqa: BLE001 - an answer that trips us up is kept, not lost
            error = bug(defect)
            line = self.failed(receipt.sent, receipt.item, error, known).line
        return CallEnd(receipt.item, line, error, leftovers)

    def failed(
        self, sent: Sent, item: Item, error: AttemptError, known: Mapping[str, Any]
    ) -> CallEnd:
        """The end of a call without a whole answer: its cost is nothing, or may be the estimate."""
        cost = NOTHING if error.billed == "no" else _maybe(sent)
        line = self._line(sent, item, error=error, cost=cost, **known)
        return CallEnd(item, line, error)

    def keep_cut(self, end: CallEnd, line: Attempt) -> Attempt:
        """Keep the cut pictures of a call that may have been billed, when nobody tries again.

        Raises:
            StoreError: The disk failed.
        """
        kept = []
        with store_errors(self.layout.root):
            for part in end.leftovers:
                if part.suffix != ".part" or not part.is_file() or not part.stat().st_size:
                    continue
                size_bytes = part.stat().st_size
                received = ReceivedImage(
                    part=part.name, sha256=sha256_of(part), size_bytes=size_bytes
                )
                facts = _facts(part, size_bytes)
                target = self.layout.quarantine(part.stem, facts.extension if facts else "bin")
                _commit(part, target)
                kept.append(_image_file(self.layout, target, "quarantine", received, facts))
        return msgspec.structs.replace(line, images=(*line.images, *kept)) if kept else line

    def _settle(
        self, receipt: Receipt, known: Mapping[str, Any]
    ) -> tuple[Attempt | None, AttemptError | None]:
        save_receipt(self.layout.parts, receipt, self.secrets)
        sent, item = receipt.sent, receipt.item
        try:
            reply = read_reply(receipt.skeleton.encode())
        except AttemptError as unread:
            return self.failed(sent, item, unread, known).line, unread
        error, images, note = self._image(receipt, reply, recovered=known["recovered"])
        if _is_last_turn(receipt):
            self._text(item, reply)
        if note is not None:
            known = {**known, "note": "; ".join(filter(None, (receipt.note, note)))}
        tokens, cost = self._cost(sent, item, reply, error)
        line = self._line(
            sent,
            item,
            error=error,
            cost=cost,
            images=images,
            tokens=tokens,
            model_version=reply.model_version,
            finish_reason=reply.finish_reason,
            text=reply.text,
            grounding=reply.grounding,
            usage=reply.usage,
            response_id=reply.response_id,
            **known,
        )
        return line, error

    def _line(
        self, sent: Sent, item: Item, *, error: AttemptError | None, cost: Cost, **known: Any
    ) -> Attempt:
        failure = None if error is None else Failure(kind=error.kind, message=error.message)
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

    def _redacted(self, line: Attempt) -> Attempt:
        """The line as it may be shown: wherever the service quoted the key, it is taken out."""
        written = msgspec.json.encode(line)
        redacted = self.secrets.redact_bytes(written)
        return line if redacted is written else msgspec.json.decode(redacted, type=Attempt)

    # --- the picture --------------------------------------------------------------------------

    def _image(
        self, receipt: Receipt, reply: Reply, *, recovered: bool
    ) -> tuple[AttemptError | None, tuple[ImageFile, ...], str | None]:
        """Commit the final image, or say why there is none and keep what was paid for.

        The third is what the ledger should say besides.
        """
        final = reply.final
        if final is None:
            kept = self._quarantine(receipt, [image for image in reply.images if image.thought])
            return why_no_image(reply), kept, None
        received = receipt.images[final.index]
        facts, fault = self._check(received, receipt)
        if recovered and fault is None and not self._is_unchanged(received, receipt):
            fault = "it is not what was received"
        if facts is None or fault is not None:
            said = f" (finish reason {reply.finish_reason})" if reply.finish_reason else ""
            error = BrokenImage(f"the picture is not whole: {fault}{said}; kept in quarantine/")
            return error, self._quarantine(receipt, [final]), None
        note = self._keep_content(receipt) if receipt.item.turns else None  # before its parts move
        target = self._target(receipt, facts.extension)
        _commit(self.layout.parts / received.part, target)
        for extension in EXTENSIONS:
            if extension != facts.extension:
                self._target(receipt, extension).unlink(missing_ok=True)
        role: ImageRole = "final" if _is_last_turn(receipt) else "draft"
        return None, (_image_file(self.layout, target, role, received, facts),), note

    def _keep_content(self, receipt: Receipt) -> str | None:
        return keep_content(
            self.layout, receipt, self.secrets, lambda image: self._where(image, receipt)
        )

    def _target(self, receipt: Receipt, extension: str) -> Path:
        """Where the picture of an answer belongs; that of an earlier turn is no item's picture."""
        if _is_last_turn(receipt):
            return self.layout.image(receipt.item, extension)
        return self.layout.turn(receipt.sent.item, receipt.sent.turn, extension)

    def _check(
        self, received: ReceivedImage, receipt: Receipt
    ) -> tuple[ImageFacts | None, str | None]:
        if received.fault is not None:
            return None, f"its base64 holds {received.fault}"
        path = self._where(received, receipt)
        if received.size_bytes == 0 or path is None:
            return None, "it has no bytes"
        facts = _facts(path, received.size_bytes)
        return facts, "it is no PNG, JPEG or WebP" if facts is None else facts.fault

    def _is_unchanged(self, received: ReceivedImage, receipt: Receipt) -> bool:
        """Whether the bytes are still those that were hashed: a power cut may have taken some."""
        path = self._where(received, receipt)
        return path is not None and sha256_of(path) == received.sha256

    def _where(self, received: ReceivedImage, receipt: Receipt) -> Path | None:
        """The part file, or the final one if a killed run came as far as renaming it."""
        part = self.layout.parts / received.part
        if part.is_file():
            return part
        for extension in EXTENSIONS:
            path = self._target(receipt, extension)
            if path.is_file() and sha256_of(path) == received.sha256:
                return path
        return None

    def _quarantine(self, receipt: Receipt, images: list[ReplyImage]) -> tuple[ImageFile, ...]:
        kept = []
        for image in images:
            received = receipt.images[image.index]
            part = self.layout.parts / received.part
            if not part.is_file():
                continue
            facts, _ = self._check(received, receipt)
            target = self.layout.quarantine(part.stem, facts.extension if facts else "bin")
            _commit(part, target)
            kept.append(_image_file(self.layout, target, "quarantine", received, facts))
        return tuple(kept)

    # --- the words and the bill ---------------------------------------------------------------

    def _text(self, item: Item, reply: Reply) -> None:
        path = self.layout.text(item.id)
        if reply.text is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(exist_ok=True)
        # A draft that a killed run leaves among the parts goes away with them.
        with replaced(path, drafts=self.layout.parts) as file:
            file.write(self.secrets.redact(reply.text).encode("utf-8", "replace"))

    def _cost(
        self, sent: Sent, item: Item, reply: Reply, error: AttemptError | None
    ) -> tuple[Tokens | None, Cost]:
        price = self.book.find(reply.model_version, item.model, at=sent.at)
        tokens, basis = count_tokens(
            read_usage(reply.usage), price, n_images=len(reply.images), size=asked_size(item)
        )
        if error is not None and error.billed == "no":
            return tokens, NOTHING
        return tokens, price_tokens(tokens, basis, price)


def _is_last_turn(receipt: Receipt) -> bool:
    return receipt.sent.turn >= len(receipt.item.turns)


def _facts(path: Path, size_bytes: int) -> ImageFacts | None:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        file.seek(max(0, size_bytes - TAIL_BYTES))
        return inspect(head, file.read(TAIL_BYTES), size_bytes)


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


def _image_file(
    layout: Layout,
    path: Path,
    role: ImageRole,
    received: ReceivedImage,
    facts: ImageFacts | None,
) -> ImageFile:
    return ImageFile(
        path=layout.relative(path),
        role=role,
        sha256=received.sha256,
        bytes=received.size_bytes,
        width=facts.width if facts else None,
        height=facts.height if facts else None,
        mime=facts.mime if facts else None,
    )


def _commit(part: Path, target: Path) -> None:
    """Make a part durable, then visible under its final name, then the name durable."""
    _make_directory(target.parent)
    if part.exists():
        descriptor = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
        try:
            sync_file(descriptor)
        finally:
            os.close(descriptor)
        part.replace(target)
    sync_directory(target.parent)


def _make_directory(path: Path) -> None:
    """Make a directory and those above it; the name of each new one is durable."""
    with _making_directories:
        missing = itertools.takewhile(lambda one: not one.is_dir(), (path, *path.parents))
        for directory in reversed(list(missing)):
            directory.mkdir(exist_ok=True)
            sync_directory(directory.parent)


def decided(line: Attempt, decision: Decision, why: str | None = None) -> Attempt:
    """The line with the decision that was taken on it, and why, where that tells more."""
    error = line.error
    if why is not None and error is not None:
        error = Failure(kind=error.kind, message=f"{error.message} ({why})")
    return msgspec.structs.replace(line, decision=decision, error=error)
