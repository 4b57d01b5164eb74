"""The ledger of a run, on its way to an object store.

An object cannot be appended to. So while a run goes on its segment is sent in slices, which never
change (`RUN_ID.jsonl.000001`, …), and at its end as a whole; then the slices go. A machine that is
lost with its disk takes with it what was written since the last slice.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from batchgen.errors import StoreError
from batchgen.mirror.contents import Contents
from batchgen.objects.bucket import Bucket, ObjectGone, Refused

SLICE_S: Final = 5.0
_MAX_SLICE_BYTES: Final = 8 << 20
_MIME: Final = "application/jsonl"
SEGMENT: Final = re.compile(r"ledger/[^/]+\.jsonl")
_SLICE: Final = re.compile(r"(ledger/[^/]+\.jsonl)\.([0-9]{6})")


def slice_of(path: str) -> tuple[str, int] | None:
    """Which segment an object is a slice of, and which one; None if it is none."""
    found = _SLICE.fullmatch(path)
    return None if found is None else (found[1], int(found[2]))


class Shipper:
    """Sends one segment on, slice by slice; used by one thread at a time."""

    def __init__(self, bucket: Bucket, segment: Path) -> None:
        """Set the segment, of which nothing was sent."""
        self._bucket, self._segment = bucket, segment
        self._sent_bytes = 0
        self._n = 0

    def ship(self) -> None:
        """Send the lines that came since the last time, if there are any.

        Raises:
            StoreError: The store did not take them; the next time sends them.
            OSError: The disk failed.
        """
        while data := self._new_lines():
            path = f"ledger/{self._segment.name}.{self._n + 1:06}"
            try:
                self._bucket.put_new(path, data)
            except Refused:  # by a try of ours whose answer was lost, or it would not be ours
                if self._bucket.get(path)[0] != data:
                    raise
            self._n += 1
            self._sent_bytes += len(data)

    def _new_lines(self) -> bytes:
        with self._segment.open("rb") as file:
            file.seek(self._sent_bytes)
            data = file.read(_MAX_SLICE_BYTES)
        return data[: data.rfind(b"\n") + 1]


def ship_whole(bucket: Bucket, segment: Path, contents: Contents) -> None:
    """Send a segment that nobody writes to any more, and take its slices away.

    Raises:
        StoreError: The store did not take it.
        OSError: The disk failed.
    """
    path = f"ledger/{segment.name}"
    bucket.put_file(path, segment, _MIME)
    contents.put(path, segment.stat().st_size)
    shipped_mark(segment).touch()
    for one in bucket.listed("ledger"):
        if (of := slice_of(one.path)) is not None and of[0] == path:
            bucket.delete(one.path)


def shipped_mark(segment: Path) -> Path:
    """What says that a segment was sent as a whole: if it is not there, somebody took it away."""
    return segment.with_name(f".{segment.name}.shipped")


def joined(bucket: Bucket, path: str, numbers: Iterable[int], into: Path) -> None:
    """Make one segment of its slices.

    Raises:
        StoreError: One is missing, or the store did not answer.
        OSError: The disk failed.
    """
    draft = into.with_name(f".{into.name}.joined")
    try:
        with draft.open("wb") as file:
            for expected, number in enumerate(sorted(numbers), 1):
                if number != expected:
                    raise StoreError(
                        f"{bucket.address}/{path}: its slice {expected} is missing; put it back, "
                        "or delete those after it and accept that what they tell is made again"
                    )
                file.write(bucket.get(f"{path}.{number:06}")[0])
        draft.replace(into)
    except ObjectGone as error:
        raise StoreError(f"{error}; it was there a moment ago: run again") from error
    finally:
        draft.unlink(missing_ok=True)
