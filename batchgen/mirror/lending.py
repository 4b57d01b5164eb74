"""The files that go with requests, for workers that have no disk in common with the run.

    .references/SHA256   a file of the job, put there once; removed when the run ends

What lies in the store anyway, as a picture that is to be edited, is taken from where it is.
"""

import asyncio
import os
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from batchgen.errors import StoreError, store_errors
from batchgen.mirror.contents import Contents
from batchgen.model import ReferenceFile
from batchgen.objects.bucket import Bucket
from batchgen.references.files import open_unchanged
from batchgen.store.images import sha256_of

LENT: Final = ".references"
# What a worker keeps at hand for requests to come.
_KEPT_BYTES: Final = 1 << 30

# Does a job at the store, however long that is away.
Do: TypeAlias = Callable[[Callable[[], None]], Awaitable[None]]


@dataclass(slots=True)
class Lender:
    """The run's side: puts into the store what is not there."""

    root: Path
    bucket: Bucket
    contents: Contents
    do: Do
    _lending: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def lend(self, file: ReferenceFile) -> ReferenceFile:
        """A file as the store has it: its path is one there.

        Raises:
            UnusableReferenceError: It is not what it was when the run looked at it, or went away.
            StoreError: The store does not take it.
        """
        if not file.sha256:
            file = msgspec.structs.replace(file, sha256=await asyncio.to_thread(_digest, file))
        if (own := self._own(file)) in self.contents:
            return msgspec.structs.replace(file, path=own)
        name = f"{LENT}/{file.sha256}"
        lock = self._lending.setdefault(name, asyncio.Lock())
        async with lock:
            if name not in self.contents:
                await asyncio.to_thread(_check, file)
                await self.do(lambda: self.bucket.put_file(name, Path(file.path)))
                self.contents.put(name, file.size_bytes)
        self._lending.pop(name, None)
        return msgspec.structs.replace(file, path=name)

    def _own(self, file: ReferenceFile) -> str:
        """The path of a file of the directory; no path of the store, if it is none."""
        return os.path.relpath(file.path, self.root)

    def take_back(self) -> None:
        """Remove what was lent; waits for the store, and raises StoreError."""
        lent = [stored.path for stored in self.bucket.listed(LENT)]
        if lent:
            self.bucket.delete_all(lent)
        for path in lent:
            self.contents.drop(path)


@dataclass(slots=True)
class Borrower:
    """A worker's side: has files of a store on its disk, as long as requests need them.

    Memory: some words for each file that is kept; the disk holds one gigabyte of them at most,
    unless more are needed at once.
    """

    directory: Path
    bucket: Bucket
    do: Do
    kept_bytes: int = _KEPT_BYTES
    _here: "OrderedDict[Path, int]" = field(default_factory=OrderedDict)
    _in_use: "Counter[Path]" = field(default_factory=Counter)
    _fetching: dict[Path, asyncio.Lock] = field(default_factory=dict)

    @asynccontextmanager
    async def at_hand(
        self, files: tuple[ReferenceFile, ...]
    ) -> AsyncIterator[dict[ReferenceFile, ReferenceFile]]:
        """Have files of the store here, until the context is left.

        Raises:
            StoreError: The store does not have one, or another one there; or the disk failed.
        """
        async with AsyncExitStack() as stack:
            yield {file: await stack.enter_async_context(self._file(file)) for file in files}

    @asynccontextmanager
    async def _file(self, file: ReferenceFile) -> AsyncIterator[ReferenceFile]:
        path = self.directory / f"{file.sha256}.{file.size_bytes}"
        self._in_use[path] += 1
        try:
            async with self._fetching.setdefault(path, asyncio.Lock()):
                if path not in self._here:
                    await self.do(lambda: self._fetch(file, path))
                    self._here[path] = file.size_bytes
            self._here.move_to_end(path)
            seen = path.stat()
            yield msgspec.structs.replace(
                file, path=str(path), mtime_ns=seen.st_mtime_ns, inode=seen.st_ino
            )
        finally:
            self._in_use[path] -= 1
            if not self._in_use[path]:
                del self._in_use[path], self._fetching[path]
            self._let_go()

    def _fetch(self, file: ReferenceFile, path: Path) -> None:
        with store_errors(path):
            self.bucket.fetch(file.path, path)
            if sha256_of(path) != file.sha256:
                path.unlink()
                where = f"{self.bucket.address}/{file.path}"
                raise StoreError(f"{where} is not what it was when the run looked at it; run again")

    def _let_go(self) -> None:
        """Remove what was used longest ago, where there is too much."""
        total_bytes = sum(self._here.values())
        for path in list(self._here):
            if total_bytes <= self.kept_bytes:
                return
            if path not in self._in_use:
                total_bytes -= self._here.pop(path)
                path.unlink(missing_ok=True)


def _check(file: ReferenceFile) -> None:
    open_unchanged(file).close()


def _digest(file: ReferenceFile) -> str:
    _check(file)
    return sha256_of(Path(file.path))
