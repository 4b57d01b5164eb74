"""The files of a directory as a store has them: found in its list, brought and sent one by one."""

import mimetypes
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from batchgen.errors import store_errors
from batchgen.mirror.contents import Contents
from batchgen.model import Attempt, Item
from batchgen.objects.bucket import Bucket

_MIMES: Final = {".jsonl": "application/jsonl", ".md": "text/markdown", ".webp": "image/webp"}
# What is read by people and programs, the summary last: who sees it finds the rest.
_TOP: Final = ("items.jsonl", "results.jsonl", "failed.jsonl", "report.html")
_SUMMARIES: Final = ("summary.md", "summary.json")


class Remote:
    """A place in a store, and a directory here through which its files come and go.

    Nothing is kept here for whoever only reads: see `Away` for what a run does.
    """

    def __init__(self, root: Path, bucket: Bucket, contents: Contents) -> None:
        """Set the directory, and what lies in the store."""
        self._root, self._bucket, self._contents = root, bucket, contents

    @property
    def address(self) -> str:
        """The place, as a person names it."""
        return str(self._bucket.address)

    def size_bytes(self, path: str) -> int | None:
        """The size of an object; None if there is none."""
        return self._contents.size_bytes(path)

    def thumbnails(self) -> frozenset[str]:
        """The names of the small pictures that are there."""
        return self._contents.thumbnails

    def names(self, folder: str) -> Iterator[str]:
        """What lies in a folder at this moment.

        Raises:
            StoreError: The store did not answer.
        """
        return (stored.path for stored in self._bucket.listed(folder))

    @contextmanager
    def borrowed(self, path: str) -> Iterator[None]:
        """Have a file at hand in the directory for a moment; there may be none.

        Raises:
            StoreError: The store or the disk failed.
        """
        file = self._root / path
        is_borrowed = path in self._contents and not file.is_file()
        if is_borrowed:
            self.bring(path)
        try:
            yield
        finally:
            if is_borrowed:
                file.unlink(missing_ok=True)

    def bring(self, path: str) -> None:
        """Bring an object into the directory.

        Raises:
            StoreError: The store or the disk failed.
        """
        into = self._root / path
        with store_errors(into):
            into.parent.mkdir(parents=True, exist_ok=True)
            self._bucket.fetch(path, into)

    def send(self, path: str) -> None:
        """Send a file that is there; raises what `bring` does."""
        file = self._root / path
        with store_errors(file):
            size_bytes = file.stat().st_size
            self._bucket.put_file(path, file, mime_of(path))
        self._contents.put(path, size_bytes)

    def drop(self, path: str) -> None:
        """Take an object away, if there is one; raises what `bring` does."""
        if path in self._contents:
            self._bucket.delete(path)
            self._contents.drop(path)

    def replace(self, path: str) -> None:
        """Have there what is here of a file that nobody else writes: none, if there is none."""
        if (self._root / path).is_file():
            self.send(path)
        else:
            self.drop(path)

    def results(self) -> Iterator[str]:
        """What a report writes, in the order in which it is to be sent."""
        yield from _TOP
        for folder in ("thumbnails", "runs"):
            for file in sorted((self._root / folder).glob("*")):
                path = f"{folder}/{file.name}"
                if file.is_file() and path not in self._contents:
                    yield path
        yield from _SUMMARIES

    # --- nothing to do for whoever only reads ---------------------------------------------------

    async def fetch(self, paths: Iterable[str]) -> None:
        """Nobody needs it."""

    async def clear(self, item: Item) -> None:
        """Nothing takes its place."""

    async def keep(self, item: Item, line: Attempt, staged: Sequence[str] = ()) -> None:
        """Nothing is made."""

    async def move(self, paths: Iterable[str], vacated: Iterable[str]) -> None:
        """Nothing is moved."""

    def recorded(self, item: Item, line: Attempt) -> None:
        """Nothing is."""


def mime_of(path: str) -> str:
    """What a browser is told that an object is; without it, it would only be downloaded."""
    suffix = Path(path).suffix
    return _MIMES.get(suffix) or mimetypes.guess_type(path)[0] or "application/octet-stream"
