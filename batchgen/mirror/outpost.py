"""Where a worker works that has no disk in common with its run: a directory of its own.

It is settled here as everywhere. What a call made is then put into the store, where only the run
takes it from (see `store.staged`), and goes from here. A worker that is lost in between leaves a
whole answer here, which whoever comes after it puts there (see `crew.salvage`).
"""

import asyncio
import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from batchgen.clock import Clock
from batchgen.errors import StoreError, store_errors
from batchgen.mirror.lending import Borrower
from batchgen.mirror.patience import Patience
from batchgen.mirror.place import workers_of
from batchgen.mirror.remote import mime_of
from batchgen.model import ReferenceFile
from batchgen.objects import ObjectAddress
from batchgen.objects.bucket import Bucket
from batchgen.store.layout import Layout
from batchgen.store.receipts import answered
from batchgen.store.staged import STAGED, record_name

_LOCK: Final = ".lock"
# Who cannot reach a store for so long when he begins has no access to it, or no way there.
_TRIED_FOR_S: Final = 30.0
# A process that was killed, or is cut off, lets go of its files within so many looks.
_DYING_LOOKS: Final = 300
_BETWEEN_LOOKS_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Outpost:
    """The directory of one worker.

    Attributes:
        layout: Its files, which nobody else has.
    """

    layout: Layout
    _bucket: Bucket
    _patience: Patience
    _borrower: Borrower

    def at_hand(
        self, files: tuple[ReferenceFile, ...]
    ) -> AbstractAsyncContextManager[dict[ReferenceFile, ReferenceFile]]:
        """Have files of the store here for a while; see `Borrower`."""
        return self._borrower.at_hand(files)

    async def stage(
        self, stem: str, paths: Iterable[str], parts: Iterable[Path], record: bytes | None
    ) -> None:
        """Put what a call made into the store, its record last.

        Args:
            stem: Names the call.
            paths: Files of the directory.
            parts: What came of pictures that are not whole.
            record: Says what all of it is.

        Raises:
            StoreError: The store does not take it, or is away for longer than we wait.
        """
        root, bucket = self.layout.root, self._bucket
        files = [*((path, root / path) for path in paths), *((part.name, part) for part in parts)]
        for path, file in files:
            name = f"{STAGED}/{stem}/{path}"
            await self._do(lambda: bucket.put_file(name, file, mime_of(path)))  # noqa: B023 - awaited
        if record is not None:
            await self._do(lambda: bucket.put(f"{STAGED}/{record_name(stem)}", record))

    def give_up(self) -> None:
        """Wait for a store that is away no more."""
        self._patience.give_up()

    async def _do(self, job: Callable[[], None]) -> None:
        await self._patience.until_done(job)


@asynccontextmanager
async def outpost(name: str, bucket: Bucket, patience: Patience) -> AsyncIterator[Outpost]:
    """Open the directory of a worker. It goes away at the end, unless answers are left in it.

    Args:
        name: No worker of any run has the same.
        bucket: The place of the run.
        patience: Waits for it.

    Raises:
        StoreError: The store does not let us write there, or the disk failed.
    """
    workers = workers_of(bucket.address)
    root = workers / name
    layout = Layout(root)
    with store_errors(root):
        workers.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(_remove_left, workers)
        for directory in (root, layout.parts, layout.references):
            directory.mkdir()
        lock = _locked(root)
    try:
        async with patience:
            sign = f"{STAGED}/{name}.here"
            await patience.until_done(lambda: _try_out(bucket, sign), patience_s=_TRIED_FOR_S)
            yield _at(root, bucket, patience)
    finally:
        os.close(lock)
        await asyncio.to_thread(_remove_left, workers)


def with_answers(address: ObjectAddress, name: str = "*") -> list[Path]:
    """The directories of workers of a place, on this machine, in which whole answers lie.

    Args:
        address: The place.
        name: Only that of one worker.
    """
    return sorted(filter(_has_answers, workers_of(address).glob(name)))


@asynccontextmanager
async def left_behind(
    root: Path, bucket: Bucket, patience: Patience, clock: Clock
) -> AsyncIterator[Outpost | None]:
    """Open the directory of a worker that is no more; None if somebody is there still.

    It goes away at the end, unless answers are left in it.

    Raises:
        StoreError: The disk failed.
    """
    lock: int | None = None
    with store_errors(root), suppress(FileNotFoundError):
        for _ in range(_DYING_LOOKS):
            if (lock := _taken(root)) is not None:
                break
            await clock.sleep(_BETWEEN_LOOKS_S)
    if lock is None:
        yield None
        return
    try:
        yield _at(root, bucket, patience)
    finally:
        os.close(lock)
        await asyncio.to_thread(_remove_left, root.parent)


def _at(root: Path, bucket: Bucket, patience: Patience) -> Outpost:
    layout = Layout(root)
    borrower = Borrower(layout.references, bucket, patience.until_done)
    return Outpost(layout, bucket, patience, borrower)


def _locked(root: Path) -> int:
    """Hold a directory; under its name the lock is held from the first, or others would take it."""
    draft = root / f"{_LOCK}.new"
    lock = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    draft.rename(root / _LOCK)
    return lock


def _try_out(bucket: Bucket, path: str) -> None:
    bucket.put(path, b"")
    bucket.delete(path)


def _taken(root: Path) -> int | None:
    """Hold the directory of a worker that is no more; None if somebody has it.

    Raises:
        FileNotFoundError: It is gone, or nobody has had it yet.
        OSError: The disk failed.
    """
    lock = os.open(root / _LOCK, os.O_WRONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _has_answers(root: Path) -> bool:
    return next(answered(Layout(root).parts), None) is not None


def _remove_left(workers: Path) -> None:
    """Remove the directories of workers that are no more and left no whole answer."""
    for root in workers.glob("*"):
        with suppress(OSError, StoreError):
            if (lock := _taken(root)) is not None:
                try:
                    if not _has_answers(root):
                        shutil.rmtree(root)
                finally:
                    os.close(lock)
