"""An answer as it arrives: image bytes to part files, hashed on the way, off the event loop.

One thread writes and hashes for all calls of a run. It lets go of the interpreter lock for nearly
all of its time, so the loop goes on receiving meanwhile; a bound on the bytes handed over and not
yet written keeps a slow disk from filling the memory: nobody receives meanwhile.
"""

import asyncio
import hashlib
import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, TypeAlias, TypeVar

from batchgen.errors import StoreError

T = TypeVar("T")

MAX_PENDING_BYTES: Final = 4 << 20
BATCH_BYTES: Final = 128 << 10


class Writer:
    """The thread that writes. Work is done in the order in which it was handed over.

    Memory: `MAX_PENDING_BYTES` and a piece waiting, besides one unfinished batch an open part.

    Attributes:
        failed: The first failure of the disk.
    """

    def __init__(self, on_failure: Callable[[StoreError], None] | None = None) -> None:
        """Prepare; the thread starts with `async with`.

        Args:
            on_failure: Told once, on the event loop, as soon as the disk has failed: an answer that
                it could not take may take minutes more to come to its end.
        """
        self.failed: StoreError | None = None
        self._on_failure = on_failure
        self._jobs: queue.SimpleQueue[tuple[Callable[[], None], int] | None] = queue.SimpleQueue()
        self._handed_bytes = 0
        self._written_bytes = 0
        self._waiting = False
        self._room = asyncio.Event()
        self._in_turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Start the thread."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="batchgen-writer", daemon=True)
        self._thread.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Do what was handed over, then end."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def hand_over(self, job: Callable[[], None], n_bytes: int) -> None:
        """Queue a job that never raises and writes so many bytes."""
        self._handed_bytes += n_bytes
        self._jobs.put((job, n_bytes))

    @property
    def is_full(self) -> bool:
        """Whether more than the bound is pending."""
        return self._handed_bytes - self._written_bytes > MAX_PENDING_BYTES

    async def room(self) -> None:
        """Wait until no more than the bound is pending; one goes on after the other.

        A round of the event loop lies between them, in which the bytes come that the one before has
        waited for: else all would go on at once.
        """
        async with self._in_turn:
            while self.is_full:
                self._room.clear()
                self._waiting = True
                # The thread may have caught up between the check and the flag.
                if self.is_full:
                    await self._room.wait()
            await asyncio.sleep(0)

    async def call(self, job: Callable[[], Any]) -> Any:
        """Run a job after all that was handed over before it, and return what it returns."""
        future: asyncio.Future[Any] = self._loop.create_future()

        def run() -> None:
            try:
                result = job()
            except BaseException as error:  # noqa: BLE001 - it is raised again, in the caller
                self._loop.call_soon_threadsafe(_settle, future, None, error)
            else:
                self._loop.call_soon_threadsafe(_settle, future, result, None)

        self.hand_over(run, 0)
        return await future

    async def caught_up(self) -> None:
        """Wait until all that was handed over is done."""
        await self.call(_nothing)

    def fail(self, failure: StoreError) -> None:
        """Say, in any thread, that the disk has failed."""
        if self.failed is None:
            self.failed = failure
            if self._on_failure is not None:
                self._loop.call_soon_threadsafe(self._on_failure, failure)

    def _work(self) -> None:
        while (handed := self._jobs.get()) is not None:
            job, n_bytes = handed
            try:
                job()
            except Exception as defect:  # noqa: BLE001 - whoever waits behind it must not for ever
                self.fail(StoreError(f"a bug in batchgen, in the thread that writes: {defect!r}"))
            self._written_bytes += n_bytes
            if self._waiting:
                self._waiting = False
                self._loop.call_soon_threadsafe(self._room.set)


def _settle(future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _nothing() -> None:
    return


# Runs a job that writes so many bytes, where there is room for them; raises as the job does.
InRoom: TypeAlias = Callable[[Callable[[], Any], int], Any]


def as_it_comes(job: Callable[[], T], _n_bytes: int) -> T:
    """Where no room is set aside."""
    return job()


@dataclass(frozen=True, slots=True)
class WrittenImage:
    """The bytes of one image on disk under a part's name, whole as far as base64 goes."""

    path: Path
    sha256: str
    size_bytes: int
    fault: str | None


@dataclass(eq=False)
class PartImage:
    """One image of an answer on its way to disk; an `ImageSink` of the reply stream.

    The file is created with its first batch, so a call that waits for its answer opens nothing. A
    small image is one batch, which is written by whoever finishes it: of an answer with several the
    last one alone.

    Attributes:
        in_room: Runs what writes so many bytes, in the thread that does.
    """

    path: Path
    writer: Writer
    in_room: InRoom = as_it_comes
    fault: str | None = None
    _batch: list[bytes] = field(default_factory=list)
    _batch_bytes: int = 0
    _is_behind: bool = False
    _descriptor: int = -1
    _size_bytes: int = 0
    _error: OSError | None = None

    def __post_init__(self) -> None:
        """Start the digest."""
        self._digest = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Take the next bytes; they are written in batches."""
        self._batch.append(data)
        self._batch_bytes += len(data)
        if self._batch_bytes >= BATCH_BYTES:
            self.hand_over()

    def hand_over(self) -> None:
        """Have the writer write what has gathered."""
        batch, n_bytes = self._taken()
        self._is_behind = True
        self.writer.hand_over(lambda: self._write(batch), n_bytes)

    def close(self, fault: str | None) -> None:
        """There are no more; `fault` says why the data cannot be whole, if so."""
        self.fault = fault

    async def caught_up(self) -> None:
        """Wait until what was handed over is written."""
        if self._is_behind:
            await self.writer.caught_up()

    def finish(self) -> WrittenImage:
        """Write the rest and close the file, in a thread, once it has caught up. Not durable yet.

        Raises:
            StoreError: The disk could not take them.
        """
        if self._batch:
            self._write(self._taken()[0])
        self._close()
        if self._error is not None:
            raise StoreError.of(self._error, self.path) from self._error
        return WrittenImage(self.path, self._digest.hexdigest(), self._size_bytes, self.fault)

    def _taken(self) -> tuple[list[bytes], int]:
        """What has gathered, and how much it is."""
        taken = self._batch, self._batch_bytes
        self._batch, self._batch_bytes = [], 0
        return taken

    def _write(self, batch: list[bytes]) -> None:
        if self._error is not None or not batch:
            return
        data = b"".join(batch) if len(batch) > 1 else batch[0]
        try:
            if self._descriptor < 0:
                self._descriptor = self.in_room(self._open, 1)
            view = memoryview(data)
            while view:
                writing = partial(os.write, self._descriptor, view)
                view = view[self.in_room(writing, len(view)) :]
        except OSError as error:
            self._fail(error)
            return
        self._digest.update(data)
        self._size_bytes += len(data)

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        try:
            os.close(descriptor)
        except OSError as error:  # a network disk may say only now that it is full
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self._error = self._error or error
        self.writer.fail(StoreError.of(error, self.path))
