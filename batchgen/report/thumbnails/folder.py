"""The folder of thumbnails: what a picture's is called, which are there, which nobody wants."""

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from batchgen.errors import StoreError
from batchgen.store.inside import refuse_links
from batchgen.store.layout import Layout
from batchgen.store.replace import remove_left_drafts

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Source:
    """A picture: the SHA-256 that was recorded of it, and where it should be."""

    sha256: str
    path: Path

    @property
    def is_named(self) -> bool:
        """Whether that is a SHA-256 in lower-case hex digits, which may become part of a path."""
        return _DIGEST.fullmatch(self.sha256) is not None


def thumbnail_path(root: Path, sha256: str) -> Path:
    """Where the thumbnail of a picture belongs, in a job's directory.

    Raises:
        ValueError: It is no SHA-256 in lower-case hex digits, and becomes no part of a path.
    """
    if _DIGEST.fullmatch(sha256) is None:
        raise ValueError(f"{sha256!r} is no SHA-256")
    return Layout(root).thumbnails / f"{sha256}.webp"


def thumbnails_there(root: Path) -> set[bytes]:
    """The digests of the pictures that have a thumbnail.

    Cost: one look at the directory and one at each file; about 100 bytes each.
    """
    return {digest for digest, entry in _entries(root) if is_there(Path(entry.path))}


@dataclass(frozen=True, slots=True)
class ThumbnailsOnDisk:
    """The SHA-256 of the pictures that have a thumbnail, looked for one by one as it is asked.

    Attributes:
        root: The job's directory.
    """

    root: Path

    def __contains__(self, sha256: object) -> bool:
        if not isinstance(sha256, str) or _DIGEST.fullmatch(sha256) is None:
            return False
        return is_there(thumbnail_path(self.root, sha256))


def remove_unused(root: Path, is_wanted: Callable[[bytes], bool]) -> int:
    """Remove the thumbnails that nobody wants; whatever else lies there is let be.

    Args:
        root: The job's directory.
        is_wanted: Whether there is still a picture of this digest.

    Returns:
        How many were removed.
    """
    n_removed = 0
    for digest, entry in _entries(root):
        if not is_wanted(digest):
            with suppress(OSError):  # a directory is none of ours
                Path(entry.path).unlink()
                n_removed += 1
    return n_removed


def prepare(root: Path, *, remove_left: bool = False) -> str | None:
    """Make the folder; why not, if it cannot be.

    Args:
        root: The job's directory.
        remove_left: Remove the drafts that killed workers left.
    """
    folder = Layout(root).thumbnails
    try:
        refuse_links(root, [folder])
        folder.mkdir(exist_ok=True)
        if remove_left:
            with suppress(OSError):
                remove_left_drafts(folder)
    except StoreError as error:
        return str(error)
    except OSError as error:
        return f"{folder}: {error.strerror}"
    return None


def is_there(path: Path) -> bool:
    """Whether a thumbnail is there. A power cut may leave its name without its bytes."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size > 0


def _entries(root: Path) -> Iterator[tuple[bytes, os.DirEntry[str]]]:
    """What is named as a thumbnail is, by the digest in its name; nothing behind a link."""
    folder = Layout(root).thumbnails
    with suppress(OSError, StoreError):
        refuse_links(root, [folder])
        with os.scandir(folder) as entries:
            for entry in entries:
                stem, _, extension = entry.name.partition(".")
                if extension == "webp" and _DIGEST.fullmatch(stem):
                    yield bytes.fromhex(stem), entry
