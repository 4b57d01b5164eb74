"""One whole answer, judged by what its job accepts: is there a picture, and what is kept of it.

    receipt -> read_answer -> Answer.error ──┬─ None: take the picture, and what is kept beside it
                                             └─ else: set aside what was paid for all the same

Nothing here sends, bills or writes to the ledger.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Final

import msgspec

from batchgen.acceptance import Acceptance, why_wrong_size
from batchgen.errors import AttemptError, BrokenImage, NoImage, TextOnly, WrongSize
from batchgen.model import ImageFile, ImageRole
from batchgen.sanitize import Secrets
from batchgen.store.layout import EXTENSIONS, Layout
from batchgen.store.pictures import NO_PICTURE, AnswerImages, FindMade, Place
from batchgen.store.receipts import Receipt
from batchgen.wire.reply import Reply, read_reply, why_no_image
from batchgen.wire.stream import MAX_IMAGES

_FOLDERS: Final[dict[ImageRole, str]] = {"draft": "drafts", "thought": "thoughts"}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that could be read.

    Attributes:
        error: Why it brought no picture that is accepted; None if it did.
        note: What the ledger should say of a picture that is accepted as it is.
    """

    layout: Layout
    receipt: Receipt
    acceptance: Acceptance
    reply: Reply
    images: AnswerImages
    error: AttemptError | None
    note: str | None = None

    @property
    def n_images(self) -> int:
        """How many images came, thoughts, drafts and broken ones included."""
        return sum(not image.is_empty for image in self.receipt.images)

    def take(self, find_made: FindMade) -> tuple[ImageFile, ...]:
        """Give each image that is kept its name, durably: the final one, then the others.

        With the drafts those are kept that lie where no image should be; what they are is not
        known, so they are set aside. What lay in the way is told by `images.displaced`.
        """
        taken = [self.images.take(index, find_made) for index in self.images.places]
        if self.acceptance.keep_drafts:
            taken += self.images.set_aside(_strays(self.receipt, self.reply))
        kept = tuple(image for image in taken if image is not None)
        for folder in _FOLDERS.values():
            if os.path.isdir(f"{self.layout.root}/{folder}"):  # noqa: PTH112 - twice an answer
                self._remove_others(folder, kept)
        return kept

    def _remove_others(self, folder: str, kept: Sequence[ImageFile]) -> None:
        """Remove those of an earlier answer, which would be taken for this one's."""
        sent, names = self.receipt.sent, {image.path for image in kept}
        for number, extension in product(range(1, MAX_IMAGES + 1), EXTENSIONS):
            other = self.layout.beside_name(folder, sent.item, sent.turn, number, extension)
            if other not in names:
                (self.layout.root / other).unlink(missing_ok=True)

    def set_aside(self) -> tuple[ImageFile, ...]:
        """Keep what was paid for in quarantine: what is no thought or, failing that, anything."""
        shown = [image.index for image in self.reply.images if image.role != "thought"]
        return self.images.set_aside(shown or range(len(self.receipt.images)))


def read_answer(
    layout: Layout,
    receipt: Receipt,
    acceptance: Acceptance,
    secrets: Secrets,
    *,
    is_recovered: bool,
) -> Answer:
    """Read an answer, and judge its picture.

    A secret that was spread over several texts shows only now, when they are one.

    Raises:
        AttemptError: It is no answer, or an error; see `read_reply`.
    """
    reply = _read_reply(layout, receipt)
    if reply.text is not None:
        reply = msgspec.structs.replace(reply, text=secrets.redact(reply.text))
    places = dict(_places(layout, receipt, acceptance, reply))
    on_disk = AnswerImages(layout, receipt, places, is_recovered=is_recovered)
    error, note = _judge(receipt, acceptance, reply, on_disk)
    note = "; ".join(filter(None, (reply.note, note))) or None
    return Answer(layout, receipt, acceptance, reply, on_disk, error, note)


def _read_reply(layout: Layout, receipt: Receipt) -> Reply:
    """Read the answer; what is no picture in the first place does not hide one before it."""
    skeleton = receipt.skeleton
    empty = frozenset(index for index, image in enumerate(receipt.images) if image.is_empty)
    reply = read_reply(skeleton, empty=empty)
    if len(reply.images) > 1:
        on_disk = AnswerImages(layout, receipt, {}, is_recovered=False)
        odd = {one.index for one in reply.images if on_disk.seen(one.index).fault == NO_PICTURE}
        if odd and (without := read_reply(skeleton, empty=empty | odd)).final is not None:
            return without
    return reply


def _strays(receipt: Receipt, reply: Reply) -> set[int]:
    """The images that lie where none belongs: they came, and the answer does not know them."""
    came = {index for index, image in enumerate(receipt.images) if not image.is_empty}
    return came - {image.index for image in reply.images}


def _judge(
    receipt: Receipt, acceptance: Acceptance, reply: Reply, images: AnswerImages
) -> tuple[AttemptError | None, str | None]:
    if reply.final is None:
        error = why_no_image(reply)
        is_plain = type(error) in {NoImage, TextOnly} and reply.finish_reason in {None, "STOP"}
        if is_plain and _strays(receipt, reply):
            error = NoImage("the answer holds a picture in a place where none belongs", tries=1)
        return error, None
    seen = images.seen(reply.final.index)
    if seen.facts is None or seen.fault is not None:
        said = f" (finish reason {reply.finish_reason})" if reply.finish_reason else ""
        tries = 0 if seen.fault == NO_PICTURE else None
        return BrokenImage(f"the picture is not whole: {seen.fault}{said}", tries=tries), None
    differs = why_wrong_size(receipt.item, seen.facts.width, seen.facts.height)
    match acceptance.on_wrong_size:
        case "retry" if differs:
            return WrongSize(differs), None
        case "fail" if differs:
            return WrongSize(differs, tries=0), None
        case _:
            return None, differs


def _places(
    layout: Layout, receipt: Receipt, acceptance: Acceptance, reply: Reply
) -> Iterator[tuple[int, Place]]:
    """Where each image belongs that is kept if the picture is accepted; the final one first."""
    item, turn = receipt.item, receipt.sent.turn
    if reply.final is not None:
        # That of an earlier turn is no item's picture.
        is_last = turn >= len(item.turns)
        if is_last:
            place = Place("final", partial(layout.image_name, item))
        else:
            place = Place("draft", partial(layout.turn_name, item.id, turn))
        yield reply.final.index, place
    for role, folder in _FOLDERS.items():
        for number, index in enumerate(_kept(reply, acceptance, role), 1):
            yield index, Place(role, partial(layout.beside_name, folder, item.id, turn, number))


def _kept(reply: Reply, acceptance: Acceptance, role: ImageRole) -> list[int]:
    is_kept = acceptance.keep_drafts if role == "draft" else acceptance.keep_thoughts
    return [image.index for image in reply.images if image.role == role] if is_kept else []
