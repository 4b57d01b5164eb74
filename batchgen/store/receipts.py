"""A receipt: everything about a whole answer, written once its last byte is on disk.

From then on until the `attempt` line a run may be killed. The receipt lies beside the part files
and lets the next run finish the answer without asking, and paying, again.
"""

import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from batchgen.errors import StoreError
from batchgen.model import Item
from batchgen.sanitize import Secrets
from batchgen.store.inside import open_inside
from batchgen.store.ledger import Sent
from batchgen.store.replace import replaced


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


def part_name(sent: Sent) -> str:
    """The stem of a call's part files, the same in every run that looks for them."""
    digest = hashlib.sha256(sent.item.encode()).hexdigest()[:16]
    return f"{sent.run_id}.{digest}.{sent.turn}.{sent.attempt}"


def save_receipt(directory: Path, receipt: Receipt, secrets: Secrets) -> Path:
    """Write a receipt; it is there whole or not at all."""
    path = directory / f"{part_name(receipt.sent)}.json"
    with replaced(path) as file:
        file.write(secrets.redact_bytes(msgspec.json.encode(receipt)))
    return path


def load_receipt(directory: Path, sent: Sent) -> Receipt | None:
    """Find the receipt of a request whose outcome nobody wrote; None if there is none."""
    found = _read_receipts(directory, f"{part_name(sent)}.json")
    return next((receipt for receipt in found if receipt.sent == sent), None)


def answered(directory: Path) -> Iterator[Sent]:
    """Yield the requests whose whole answers lie here, whatever the ledger has of them."""
    for receipt in _read_receipts(directory, "*.json"):
        yield receipt.sent


def _read_receipts(directory: Path, name: str) -> Iterator[Receipt]:
    """Read what is a receipt of the files of a name.

    A draft will do if it is whole: the run was killed before it had its name.

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
