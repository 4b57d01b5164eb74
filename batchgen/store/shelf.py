"""Where the files of a job's directory lie: here, or in an object store that this one mirrors."""

import errno
import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final, Protocol

from batchgen.errors import StoreError
from batchgen.model import Attempt, Item

_NOTHING_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


class Shelf(Protocol):
    """What a run asks of the place that its files belong to. Paths are those of the ledger."""

    def size_bytes(self, path: str) -> int | None:
        """The size of a file that belongs there; None if there is none. Does not wait for long."""

    def thumbnails(self) -> frozenset[str]:
        """The names of the small pictures that lie there, and need not be in the directory."""

    def borrowed(self, path: str) -> AbstractContextManager[None]:
        """Have a file at hand in the directory for a moment; there may be none."""

    def replace(self, path: str) -> None:
        """Have a file where it belongs as it is in the directory; none, if there is none."""

    async def fetch(self, paths: Iterable[str]) -> None:
        """Have files at hand in the directory, as far as they are there."""

    async def clear(self, item: Item) -> None:
        """Have at hand what lies where an item's picture will, before that takes its place."""

    async def keep(self, item: Item, line: Attempt, staged: Sequence[str] = ()) -> None:
        """Put what a call made where it belongs; only then it is recorded.

        Args:
            item: What the call was for.
            line: Its line.
            staged: What of it came another way than by the directory, see `store.staged`.
        """

    async def move(self, paths: Iterable[str], vacated: Iterable[str]) -> None:
        """Put files where they belong, and take away what lies there no more."""

    def recorded(self, item: Item, line: Attempt) -> None:
        """A call is recorded: what it made need not be at hand any more."""


class Here:
    """The files lie in the directory itself."""

    def __init__(self, root: Path) -> None:
        """Set the job's directory."""
        self._root = str(root)

    def size_bytes(self, path: str) -> int | None:
        """The size of a file; None if there is none.

        Raises:
            StoreError: The disk does not say; that is no reason to pay again.
        """
        whole = f"{self._root}/{path}"
        try:
            return os.stat(whole).st_size  # noqa: PTH116 - no path object for each of a million
        except OSError as error:
            if error.errno in _NOTHING_THERE:
                return None
            raise StoreError.of(error, Path(whole)) from error

    def thumbnails(self) -> frozenset[str]:
        """There are none but those in the directory."""
        return frozenset()

    def borrowed(self, path: str) -> AbstractContextManager[None]:  # noqa: ARG002 - all are
        """It is at hand."""
        return nullcontext()

    def replace(self, path: str) -> None:
        """It lies where it belongs."""

    async def fetch(self, paths: Iterable[str]) -> None:
        """They are at hand."""

    async def clear(self, item: Item) -> None:
        """It is at hand."""

    async def keep(self, item: Item, line: Attempt, staged: Sequence[str] = ()) -> None:
        """It lies where it belongs."""

    async def move(self, paths: Iterable[str], vacated: Iterable[str]) -> None:
        """They lie where they belong."""

    def recorded(self, item: Item, line: Attempt) -> None:
        """It stays."""
