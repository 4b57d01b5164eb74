"""The turns of one item: what the model said is kept, and decides with what the next one is sent.

    answer ──> keep_content ──> turns/ID.K.json ──┐
    history: the turns that are done ─────────────┴──> Conversations.next_turn ──> NextTurn

The service takes its own content back only with the signatures that it put on it. Where they are
gone, or are another model's, or the content could not be kept, the conversation goes on from the
picture instead: one
message of the user with the picture of the turn before and the new instruction. That loses what
was said, and never fails; the attempt's `note` tells it.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

import pybase64

from batchgen.errors import StoreError, store_errors
from batchgen.known_models import KnownModels
from batchgen.model import Attempt, Item, Reference, ReferenceFile, content_key
from batchgen.sanitize import Secrets
from batchgen.store.history import History
from batchgen.store.images import sha256_of
from batchgen.store.layout import EXTENSIONS, Layout
from batchgen.store.ledger import sync_directory, sync_file
from batchgen.store.receipts import Receipt, ReceivedImage
from batchgen.store.replace import replaced
from batchgen.wire.content import content_of, read_stored, split_content, why_unusable
from batchgen.wire.request import READ_BYTES, ModelContent

_STEP_BYTES: Final = 1 << 20
# Begins the note of a turn whose content could not be kept: without it a content that is gone was
# lost, and its turn has to be made again.
_NOT_KEPT: Final = "what the model said is not kept, because"

FindImage: TypeAlias = Callable[[int], Path | None]


# --- after an answer ----------------------------------------------------------------------------


class _UnkeepableError(ValueError):
    """What the model said cannot be kept as it was received; the message completes "because …"."""


def keep_content(
    layout: Layout, receipt: Receipt, secrets: Secrets, find: FindImage, *, candidate: int = 0
) -> str | None:
    """Write what the model said in a turn, as it was received; say why, if that cannot be.

    Afterwards the file is durable. Its images go through memory a step at a time.

    Args:
        layout: Where it goes.
        receipt: The answer.
        secrets: What it must not hold.
        find: Says where the bytes of an image are now, by its number.
        candidate: Which of the answer's candidates it is.
    """
    path = layout.turn(receipt.sent.item, receipt.sent.turn, "json")
    path.parent.mkdir(exist_ok=True)
    try:
        pieces = _content_pieces(receipt, secrets, candidate)
        # A draft that a killed run leaves among the parts goes away with them.
        with replaced(path, drafts=layout.parts) as file:
            for piece in pieces:
                if isinstance(piece, bytes):
                    file.write(piece)
                else:
                    _write_base64(file, receipt.images[piece], find(piece))
            file.flush()
            sync_file(file.fileno())
    except _UnkeepableError as reason:
        path.unlink(missing_ok=True)  # what an earlier answer said there was not said now
        return f"{_NOT_KEPT} {reason}"
    sync_directory(path.parent)
    return None


def _content_pieces(receipt: Receipt, secrets: Secrets, candidate: int) -> Sequence[bytes | int]:
    """The content as JSON text, with the numbers of its images in between.

    Raises:
        _UnkeepableError: It is not what was received, or must not be written.
    """
    content = content_of(receipt.skeleton, candidate)
    if content is None:
        raise _UnkeepableError("it cannot be read")
    if not receipt.is_intact:
        raise _UnkeepableError(
            "the key had to be taken out of it, a text of it was shortened, or it is no UTF-8"
        )
    try:
        pieces = split_content(content)
    except ValueError as error:
        raise _UnkeepableError("it holds what JSON cannot") from error
    for piece in pieces:
        # A key that was written with escapes is seen only now.
        if isinstance(piece, bytes) and secrets.redact_bytes(piece) != piece:
            raise _UnkeepableError("it holds the key")
    return pieces


def _write_base64(file: BinaryIO, received: ReceivedImage, path: Path | None) -> None:
    """Put an image back into the place that it was taken from, a step at a time.

    Raises:
        _UnkeepableError: Its bytes are not what was received.
    """
    if received.fault is not None:
        raise _UnkeepableError(f"the base64 of an image in it holds {received.fault}")
    digest = hashlib.sha256()
    if path is not None:
        with path.open("rb") as part:
            while step := part.read(READ_BYTES):
                digest.update(step)
                file.write(pybase64.b64encode(step))
    if digest.hexdigest() != received.sha256:
        raise _UnkeepableError("an image in it is not what was received")


# --- before a request ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NextTurn:
    """A turn to send, and what stands before it.

    Attributes:
        number: From 1.
        key: The content key of the turns up to this one.
        contents: What the model said in the turns right before, as far back as it can be sent.
        picture: In place of the turns before those; None if there are none.
        note: Why there is a picture.
    """

    number: int
    key: str
    contents: tuple[ModelContent, ...] = ()
    picture: ReferenceFile | None = None
    note: str | None = None

    def references(self, item: Item) -> tuple[Reference, ...]:
        """The references of every turn that is sent, in order."""
        turns = item.conversation[self.number - 1 - len(self.contents) : self.number]
        return tuple(reference for turn in turns for reference in turn.references)


@dataclass(frozen=True, slots=True)
class _Done:
    """An earlier turn: what can be sent of it, and if nothing but its picture, why."""

    line: Attempt
    content: ModelContent | None
    picture: ReferenceFile | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Conversations:
    """The conversations of a job's directory, as one run goes on with them.

    Attributes:
        history: What was done so far, kept up to date while the run goes on.
        afresh: Whether only turns count that this run has done itself.
    """

    layout: Layout
    history: History
    run_id: str
    afresh: bool = False

    def files(self, item: Item) -> Iterator[str]:
        """What may have been kept of the turns of an item, as paths of the ledger."""
        for turn in range(1, len(item.turns) + 1):
            for extension in ("json", *EXTENSIONS):
                yield self.layout.relative(self.layout.turn(item.id, turn, extension))
        for extension in EXTENSIONS:
            yield self.layout.image_name(item, extension)

    def next_turn(self, item: Item) -> NextTurn:
        """Find the first turn that is not done; the last one, if all the others are.

        Reads what is kept of the turns before it, so not to be called on the event loop.

        Raises:
            StoreError: A turn that this run has made is gone from the disk.
        """
        if len(item.turns) <= 1:
            return NextTurn(number=1, key=item.key)
        done = list(self._done(item))
        number = len(done) + 1
        key = item.key if number == len(item.turns) else content_key(item, turn=number)
        contents = _last_contents(done)
        if len(contents) == len(done):
            return NextTurn(number=number, key=key, contents=contents)
        left_out = done[-len(contents) - 1]
        note = (
            f"sent with the picture of turn {left_out.line.turn} in place of the conversation up "
            f"to it: {left_out.why}"
        )
        return NextTurn(
            number=number, key=key, contents=contents, picture=left_out.picture, note=note
        )

    def _done(self, item: Item) -> Iterator[_Done]:
        """The turns before the last that need not be made again."""
        before = (False, "")
        for turn in range(1, len(item.turns)):
            line = self._line(item, turn)
            # A turn that is older than the one before it was made from another picture.
            if line is None or self._age(line) < before:
                return
            done = self._kept(item, line)
            if done is None:
                return
            before = self._age(line)
            yield done

    def _line(self, item: Item, turn: int) -> Attempt | None:
        """The line of a turn that is done; None if it is not."""
        past = self.history.past((item.id, content_key(item, turn=turn)))
        if past is None or past.last.decision != "done" or not past.last.images:
            return None
        return None if self.afresh and past.last.run_id != self.run_id else past.last

    def _age(self, line: Attempt) -> tuple[bool, str]:
        """What orders lines by their runs; this one is the youngest, whatever the clock said."""
        return (line.run_id == self.run_id, line.run_id)

    def _kept(self, item: Item, line: Attempt) -> _Done | None:
        """What can be sent of a turn; None if it must be made again."""
        path = self.layout.turn(item.id, line.turn, "json")
        with store_errors(self.layout.root):
            content, why = _read_content(path, line, item.model)
            if content is not None:
                return _Done(line, content)
            is_ours = line.run_id == self.run_id
            # Without its content a turn is made again, unless there never was one to keep.
            was_kept = _NOT_KEPT not in (line.note or "")
            picture = self._picture(line) if why or is_ours or not was_kept else None
        if picture is None and is_ours:
            raise StoreError(f"{path}: what turn {line.turn} of {item.id} came to is gone")
        missing = "its answer could not be kept"
        return None if picture is None else _Done(line, None, picture, why or missing)

    def _picture(self, line: Attempt) -> ReferenceFile | None:
        """The picture of a turn, if it is still the one that was made."""
        image = line.images[0]
        path = self.layout.root / image.path
        if not path.is_file() or sha256_of(path) != image.sha256:
            return None
        return _file(path, image.mime or "", image.sha256)


def find_content(layout: Layout, line: Attempt) -> tuple[str, str | None] | None:
    """Where what the model said in a turn is kept, and what is wrong with that, if anything is.

    None if it could not be kept in the first place. Reads all of it.
    """
    if _NOT_KEPT in (line.note or ""):
        return None
    path = layout.turn(line.item, line.turn, "json")
    content, why = _read_content(path, line, line.model)
    is_kept = content is not None or why is not None
    return layout.relative(path), None if is_kept else "what was said in the turn is not there"


def _last_contents(done: Sequence[_Done]) -> tuple[ModelContent, ...]:
    """What the model said in the last turns, as far back as all of it can be sent."""
    contents: list[ModelContent] = []
    for turn in reversed(done):
        if turn.content is None:
            break
        contents.insert(0, turn.content)
    return tuple(contents)


def _read_content(path: Path, line: Attempt, model: str) -> tuple[ModelContent | None, str | None]:
    """Read what was said in a turn, or say why a model cannot get it; neither, if it is gone.

    It counts only if it holds the picture of the turn's own line: the file may be of a time when
    the turn asked for something else.
    """
    if not path.is_file():
        return None, None
    file = _file(path, "application/json", "")
    with path.open("rb") as opened:
        stored = read_stored(iter(partial(opened.read, _STEP_BYTES), b""))
    if stored is None or line.images[0].sha256 not in stored.images:
        return None, None
    known = KnownModels.shipped()
    if known.name_of(line.model) != known.name_of(model):
        # What had been made by another was taken over: each takes its own signatures alone.
        return None, f"it was {line.model} that said it, and {model} takes only what it said itself"
    needs_signatures = known.signs(line.model_version, line.model)
    why = why_unusable(stored.content, needs_signatures=needs_signatures)
    return (ModelContent(file, stored.has_role), None) if why is None else (None, why)


def _file(path: Path, mime: str, sha256: str) -> ReferenceFile:
    seen = path.stat()
    return ReferenceFile(
        path=str(path),
        mime=mime,
        size_bytes=seen.st_size,
        sha256=sha256,
        mtime_ns=seen.st_mtime_ns,
        inode=seen.st_ino,
    )
