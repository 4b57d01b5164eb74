"""One whole answer, judged by what its job accepts: is there a picture, and what is kept of it.

receipt -> read_answer -> Answer.error ──┬─ None: take, the picture and what is kept beside it
└─ else: set_aside, what was paid for all the same
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from batchgen.acceptance import Acceptance, why_wrong_size
from batchgen.errors import AttemptError, BrokenImage, WrongSize
from batchgen.model import ImageFile, ImageRole
from batchgen.store.layout import Layout
from batchgen.store.pictures import NO_PICTURE, AnswerImages, Place, remove_numbered
from batchgen.store.receipts import Receipt
from batchgen.wire.reply import Reply, read_reply, why_no_image

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

    def take(self) -> tuple[ImageFile, ...]:
        """Give each image that is kept its name, durably: the final one, then the others.

        With the drafts those are kept that lie where no image should be; what they are is not
        known, so they are set aside.
        """
        taken = [self.images.take(index) for index in self.images.places]
        if self.acceptance.keep_drafts:
            known = {image.index for image in self.reply.images}
            taken += self.images.set_aside(set(range(len(self.receipt.images))) - known)
        sent = self.receipt.sent
        for role, folder in _FOLDERS.items():
            # Those of an earlier answer would be taken for this one's.
            path = partial(self.layout.beside, folder, sent.item, sent.turn)
            remove_numbered(path, len(_kept(self.reply, self.acceptance, role)) + 1)
        return tuple(image for image in taken if image is not None)

    def set_aside(self) -> tuple[ImageFile, ...]:
        """Keep what was paid for in quarantine: what is no thought or, failing that, anything."""
        shown = [image.index for image in self.reply.images if image.role != "thought"]
        return self.images.set_aside(shown or range(len(self.receipt.images)))


def read_answer(
    layout: Layout, receipt: Receipt, acceptance: Acceptance, *, is_recovered: bool
) -> Answer:
    """Read an answer, and judge its picture.

    Raises:
        AttemptError: It is no answer, or an error; see `read_reply`.
    """
    # An image without data is none.
    images = enumerate(receipt.images)
    empty = {n for n, one in images if one.size_bytes == 0 and one.fault is None}
    reply = read_reply(receipt.skeleton.encode(), empty=empty)
    places = dict(_places(layout, receipt, acceptance, reply))
    on_disk = AnswerImages(layout, receipt, places, is_recovered=is_recovered)
    error, note = _judge(receipt, acceptance, reply, on_disk)
    note = "; ".join(filter(None, (reply.note, note))) or None
    return Answer(layout, receipt, acceptance, reply, on_disk, error, note)


def _judge(
    receipt: Receipt, acceptance: Acceptance, reply: Reply, images: AnswerImages
) -> tuple[AttemptError | None, str | None]:
    if reply.final is None:
        return why_no_image(reply), None
    seen = images.seen(reply.final.index)
    if seen.facts is None or seen.fault is not None:
        said = f" (finish reason {reply.finish_reason})" if reply.finish_reason else ""
        message = f"the picture is not whole: {seen.fault}{said}; kept in quarantine/"
        return BrokenImage(message, tries=0 if seen.fault == NO_PICTURE else None), None
    differs = why_wrong_size(receipt.item, seen.facts.width, seen.facts.height)
    match acceptance.on_wrong_size:
        case "retry" if differs:
            return WrongSize(f"{differs}; kept in quarantine/"), None
        case "fail" if differs:
            return WrongSize(f"{differs}; kept in quarantine/", tries=0), None
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
        path = partial(layout.image, item) if is_last else partial(layout.turn, item.id, turn)
        yield reply.final.index, Place("final" if is_last else "draft", path)
    for role, folder in _FOLDERS.items():
        for number, index in enumerate(_kept(reply, acceptance, role), 1):
            yield index, Place(role, partial(layout.beside, folder, item.id, turn, number))


def _kept(reply: Reply, acceptance: Acceptance, role: ImageRole) -> list[int]:
    is_kept = acceptance.keep_drafts if role == "draft" else acceptance.keep_thoughts
    return [image.index for image in reply.images if image.role == role] if is_kept else []
