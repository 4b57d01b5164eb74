"""A job's place, to be read: a directory, or a store whose ledger is brought for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from batchgen.errors import StoreError, UsageError
from batchgen.mirror.bringing import bring_ledgers, bring_to_read
from batchgen.mirror.remote import Remote
from batchgen.objects import AddressError, address_of, is_address, read_address
from batchgen.objects.bucket import Bucket
from batchgen.store.layout import Layout


@contextmanager
def open_ledgers(written: str) -> Iterator[str]:
    """Bring the ledgers of all jobs at or below an address; what is none is left as it is.

    Yields:
        What to read instead: a folder that goes away again.

    Raises:
        UsageError: It is meant as the address of a store, and is none, or there is no ledger.
        StoreError: The store did not answer.
    """
    if not is_address(written):
        yield written
        return
    try:
        bucket = Bucket.at(read_address(written))
    except AddressError as error:
        raise UsageError(f"{written} {error}") from None
    with TemporaryDirectory(prefix="batchgen-") as directory:
        if not bring_ledgers(bucket, Path(directory).resolve()):
            raise UsageError(f"{written} holds no ledger: expected a job's place, or one above")
        yield directory


@contextmanager
def open_place(place: Path) -> Iterator[Layout]:
    """Open a job's directory, or its place in a store, as it is at this moment.

    What is written into the directory of a store goes away with it, unless it is sent.

    Raises:
        UsageError: It is meant as the address of a store, and is none.
        StoreError: The store did not answer.
    """
    try:
        address = address_of(place)
    except AddressError as error:
        raise UsageError(f"{place} {error}") from None
    if address is None:
        yield Layout(place)
        return
    bucket = Bucket.at(address)
    with TemporaryDirectory(prefix="batchgen-") as directory:
        layout = Layout(Path(directory).resolve())
        contents = bring_to_read(bucket, layout)
        try:
            yield replace(layout, away=Remote(layout.root, bucket, contents))
        except (UsageError, StoreError) as error:
            said = str(error).replace(str(layout.root), str(address))
            raise type(error)(said) from error
