"""A file is replaced as a whole, whoever else writes it at the same moment."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from batchgen.store.inside import open_inside


@contextmanager
def replaced(path: Path, *, drafts: Path | None = None) -> Iterator[BinaryIO]:
    """Write a draft that takes the name of `path` when all of it is written.

    The draft has a name of its own, so that two writers of one file cannot mix: the last to end
    wins, whole. On any exception it is removed, and what was there before stays.

    Args:
        path: The file.
        drafts: Where the draft lies, on the same disk; beside the file unless it is told.
    """
    draft, file = _open_draft(path, drafts or path.parent)
    try:
        with file:
            yield file
            file.flush()
            draft.replace(path)  # while the file is open, and with it locked
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def remove_left_drafts(directory: Path) -> None:
    """Remove the drafts that killed writers left here; those being written are let be."""
    for draft in directory.glob(".*.draft"):
        if draft.is_symlink() or not draft.is_file():
            continue  # none of ours
        with (
            suppress(FileNotFoundError, BlockingIOError),
            open_inside(draft, to_change=True) as file,  # NFS locks nothing else
        ):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.unlink()


def _open_draft(path: Path, directory: Path) -> tuple[Path, BinaryIO]:
    """A new draft, locked for as long as it is open: that is how one sees that it is not left."""
    while True:
        draft = directory / f".{path.name}.{secrets.token_hex(4)}.draft"
        file = draft.open("xb")
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return draft, file
        file.close()  # taken for a left one before it was locked
