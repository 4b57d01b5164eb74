"""A receipt: everything about a whole answer, written once its last byte is on disk.

From then on until the `attempt` line a run may be killed. The receipt lies beside the part files
and lets the next run finish the answer without asking, and paying, again.
"""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from batchgen.errors import StoreError, store_errors
from batchgen.model import Attempt, Item
from batchgen.sanitize import Secrets
from batchgen.store.inside import open_inside
from batchgen.store.ledger import Sent
from batchgen.store.parts import InRoom, as_it_comes
from batchgen.store.replace import replaced

# What a receipt's name ends in, and that of a directory which was taken from its worker.
RECEIPT: Final = ".json"
_TAKEN: Final = ".taken"


class ReceivedImage(msgspec.Struct, frozen=True, kw_only=True):
    """One image of the answer: its part file's name, and what was written to it."""

    part: str
    sha256: str
    size_bytes: int
    fault: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it came without data: then it is no image at all."""
        return self.size_bytes == 0 and self.fault is None


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer with status 200. `skeleton` is its JSON with a number for each image.

    Attributes:
        is_intact: Whether the skeleton says just what was received: no key was taken out of it,
            and no string was shortened.
        note: What the ledger should say of how the request was made, besides.
        service_tier: How it was served, as a header says.
    """

    v: int = 1
    sent: Sent
    item: Item
    http_status: int
    request_id: str | None
    latency_s: float
    bytes_in: int
    skeleton: str
    images: tuple[ReceivedImage, ...]
    is_intact: bool = True
    note: str | None = None
    service_tier: str | None = None


def part_name(call: Sent | Attempt) -> str:
    """The stem of a call's part files, the same in every run that looks for them."""
    digest = hashlib.sha256(call.item.encode()).hexdigest()[:16]
    return f"{call.run_id}.{digest}.{call.turn}.{call.attempt}"


class Blanks:
    """Receipts that nobody needs any more, emptied, to be written on again.

    To make a file and to remove one for each answer is most of what small answers cost a disk.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._paths: list[Path] = []

    def leave(self, path: Path) -> None:
        """Keep what was a receipt; there may be none.

        Raises:
            OSError: The disk failed.
        """
        with suppress(FileNotFoundError):
            os.truncate(path, 0)
            self._paths.append(path)

    def turn_into(self, path: Path) -> bool:
        """Give one another name; whether there was any."""
        try:
            self._paths.pop().replace(path)
        except (IndexError, FileNotFoundError):
            return False
        return True

    def remove(self) -> None:
        """Remove all, as far as the disk lets one: the next run removes what is left."""
        with suppress(OSError):
            while self._paths:
                self._paths.pop().unlink(missing_ok=True)


def save_receipt(
    directory: Path,
    receipt: Receipt,
    secrets: Secrets,
    blanks: Blanks | None = None,
    in_room: InRoom = as_it_comes,
) -> Path:
    """Write a receipt. One that a kill has cut is none: nobody takes half of it for whole.

    Args:
        directory: Where it belongs.
        receipt: What it says.
        secrets: What it must not say.
        blanks: Gives a file to write it on, if it has one.
        in_room: Runs what writes it, where there is room for it.
    """
    path = directory / f"{part_name(receipt.sent)}{RECEIPT}"
    text = secrets.redact_bytes(msgspec.json.encode(receipt))
    in_room(partial(_write_whole, path, text, blanks), len(text))
    return path


def _write_whole(path: Path, text: bytes, blanks: Blanks | None) -> None:
    is_blank = blanks is not None and blanks.turn_into(path)
    try:
        _write_new(path, text, 0 if is_blank else os.O_CREAT | os.O_EXCL)
    except FileExistsError:  # a killed run's
        with replaced(path) as file:
            file.write(text)


def _write_new(path: Path, text: bytes, flags: int) -> None:
    """Write a file that is new; where the disk cannot take all of it, there is none."""
    flags |= os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o644)
    try:
        view = memoryview(text)
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def load_receipt(directory: Path, sent: Sent) -> Receipt | None:
    """Find the receipt of a request whose outcome nobody wrote; None if there is none."""
    found = _read_receipts(directory, f"{part_name(sent)}{RECEIPT}")
    return next((receipt for receipt in found if receipt.sent == sent), None)


def answered(directory: Path) -> Iterator[Sent]:
    """Yield the requests whose whole answers lie here, whatever the ledger has of them."""
    for receipt in _read_receipts(directory, f"*{RECEIPT}"):
        yield receipt.sent


def adopt_parts(theirs: Path, ours: Path) -> list[Path]:
    """Take what others were receiving for one's own; also what their workers were.

    Returns:
        Where it lies now.

    Raises:
        StoreError: The disk failed.
    """
    adopted = []
    with store_errors(theirs):
        for left in list(theirs.iterdir()):
            if left.is_dir() and not left.is_symlink():
                adopted += take_from_worker(left, ours)
            else:
                adopted.append(left.replace(ours / left.name))
    return adopted


def take_from_worker(theirs: Path, ours: Path) -> list[Path]:
    """Take what a worker was receiving, so that it can do nothing with it any more.

    It may not be quite dead. Once its directory has another name it can begin no answer, put no
    picture in its place, and write no receipt: whatever is found here is all there will be.

    Returns:
        Where it lies now.

    Raises:
        StoreError: The disk failed.
    """
    taken = theirs if theirs.suffix == _TAKEN else theirs.with_name(f"{theirs.name}{_TAKEN}")
    with store_errors(theirs):
        try:
            theirs.rename(taken)
        except FileNotFoundError:  # it never began
            return []
        adopted = adopt_parts(taken, ours)
        taken.rmdir()
    return adopted


def received(directory: Path) -> Iterator[Item]:
    """Yield the items whose whole answers lie here."""
    for receipt in _read_receipts(directory, f"*{RECEIPT}"):
        yield receipt.item


def _read_receipts(directory: Path, name: str) -> Iterator[Receipt]:
    """Read what is a receipt of the files of a name.

    A draft will do if it is whole: a run was killed before it had its name.

    Raises:
        StoreError: What lies there cannot be read.
    """
    for path in (*directory.glob(name), *directory.glob(f".{name}.*.draft")):
        try:
            with open_inside(path) as file:
                receipt = msgspec.json.decode(file.read(), type=Receipt)
        except (FileNotFoundError, UnicodeDecodeError, RecursionError, msgspec.MsgspecError):
            continue
        except OSError as error:
            if error.errno == errno.EINVAL:  # no file at all: none of ours, and cleared away
                continue
            raise StoreError.of(error, path) from error
        yield receipt
