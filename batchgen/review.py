"""`review.jsonl`: what somebody thinks of pictures, and which of them are to be made again.

A line marks one picture of an item: `{"item":"hero","sha256":"…","mark":"redo","note":"…"}`. Of
several lines about an item the last one counts; `none` takes back what was said before. A mark is
about the picture that was looked at, by its SHA-256: once another one has been made, it is done
with.

Source: docs/adr/0014.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from batchgen.errors import UsageError, store_errors
from batchgen.store.inside import open_inside, open_to_append
from batchgen.store.ledger import sync_directory


class Mark(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What somebody thinks of a picture."""

    item: str
    sha256: str
    mark: Literal["keep", "redo", "none"]
    note: str | None = None


_decoder = msgspec.json.Decoder(Mark)


def read_marks(path: Path) -> dict[str, Mark]:
    """The last mark of each item, by its id; none where there is no file.

    Raises:
        UsageError: A line is no mark.
        StoreError: The disk failed.
    """
    marks: dict[str, Mark] = {}
    if not path.exists():
        return marks
    with store_errors(path), open_inside(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                mark = _decoder.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise UsageError(
                    f"{path}:{number}: {error}; expected item, sha256 and mark (keep, redo, none)"
                ) from error
            marks[mark.item] = mark
    return marks


def append_mark(path: Path, mark: Mark) -> None:
    """Add a line; it is on disk when this returns. Whoever else adds one loses nothing by it.

    Raises:
        StoreError: The disk failed, or it is a link.
    """
    line = msgspec.json.encode(mark) + b"\n"
    with store_errors(path):
        is_new = not path.exists()
        with open_to_append(path) as file:
            file.write((b"" if is_new else _missing_end(path)) + line)
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            sync_directory(path.parent)


def _missing_end(path: Path) -> bytes:
    """The newline that the last line lacks, as an editor may leave it."""
    with open_inside(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return b"" if file.read(1) in {b"", b"\n"} else b"\n"


def read_redo(path: Path) -> dict[str, str]:
    """The pictures to make again: their SHA-256, by the ids of their items.

    Raises:
        UsageError: There is no such file, or a line of it is no mark.
        StoreError: The disk failed.
    """
    if not path.exists():
        raise UsageError(f"{path} is not there: nothing is marked to be made again")
    marks = read_marks(path).values()
    return {mark.item: mark.sha256 for mark in marks if mark.mark == "redo"}


def read_kept(path: Path) -> frozenset[str]:
    """The pictures, by SHA-256, that are kept when another one takes their place.

    They are so in every run: one that was told to make them anew may have been killed.
    """
    with suppress(UsageError):
        return frozenset(read_redo(path).values())
    return frozenset()
