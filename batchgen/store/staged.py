"""What a worker elsewhere made and put into a store, until the run has put it where it belongs.

    .parts/STEM/PATH   a file that a call made, by the path that it is to have
    .parts/STEM.end    the call's record, when all of them are there

STEM names the call, see `part_name`. Only the run that holds the place puts anything where it
belongs: whoever was given up for lost, and goes on, can write here and nowhere else.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import msgspec

from batchgen.errors import AttemptError, attempt_error, store_errors
from batchgen.model import Attempt, Billed, Item, Outcome
from batchgen.sanitize import Secrets
from batchgen.store.layout import Layout
from batchgen.store.ledger import Sent
from batchgen.store.receipts import part_name

STAGED: Final = ".parts"
_RECORD: Final = ".end"


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """Why a whole answer was not what was asked for; see `AttemptError`."""

    kind: str
    message: str
    billed: Billed
    tries: int | None = None

    @classmethod
    def of(cls, error: AttemptError) -> Self:
        """As it travels."""
        return cls(kind=error.kind, message=error.message, billed=error.billed, tries=error.tries)

    @property
    def error(self) -> AttemptError | None:
        """The same again; None of a kind that nobody knows."""
        kind = attempt_error(self.kind)
        if kind is None:
            return None
        return kind(self.message, billed=self.billed, tries=self.tries)


class Staged(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a call whose answer came whole.

    Attributes:
        sent: Its `sent` line.
        line: Its line, but for the decision.
        paths: What it made, as paths of the ledger.
        failed: Why that is no picture.
    """

    v: int = 1
    sent: Sent
    item: Item
    line: Attempt
    paths: tuple[str, ...]
    failed: Failed | None = None

    @property
    def error(self) -> AttemptError | None:
        """Why it made no picture, if it did not."""
        return None if self.failed is None else self.failed.error

    @property
    def is_sound(self) -> bool:
        """Whether all of it tells of the same call, and of the same end of it."""
        is_image, error = self.line.outcome is Outcome.IMAGE, self.error
        is_one_end = is_image if self.failed is None else not is_image and error is not None
        return is_one_end and part_name(self.line) == part_name(self.sent)

    def encoded(self, secrets: Secrets) -> bytes:
        """As it is stored."""
        return secrets.redact_bytes(msgspec.json.encode(self))


def record_name(stem: str) -> str:
    """The name of a call's record."""
    return f"{stem}{_RECORD}"


def stem_of(path: str) -> str | None:
    """Which call an object is of; None if it is of none."""
    folder, _, below = path.partition("/")
    stem = below.partition("/")[0].removesuffix(_RECORD)
    return stem if folder == STAGED and stem else None


def made_by(layout: Layout, line: Attempt) -> Iterator[str]:
    """What a call may have made, as paths of the ledger."""
    for image in line.images:
        yield image.path
    yield layout.relative(layout.text(line.item))
    yield layout.relative(layout.turn(line.item, line.turn, "json"))


def records(directory: Path, stem: str = "*") -> Iterator[Staged]:
    """Yield the records that were brought here: of one call, or of all.

    One that is not its name's, or tells of files elsewhere, is nobody's: a store may be written to
    by others.

    Raises:
        StoreError: The disk failed.
    """
    for path in directory.glob(record_name(stem)):
        with store_errors(path), suppress(FileNotFoundError, msgspec.MsgspecError):
            staged = msgspec.json.decode(path.read_bytes(), type=Staged)
            is_named = path.name == record_name(part_name(staged.sent))
            if is_named and staged.is_sound and all(map(_is_inside, staged.paths)):
                yield staged


def _is_inside(path: str) -> bool:
    return not path.startswith("/") and ".." not in path.split("/")
