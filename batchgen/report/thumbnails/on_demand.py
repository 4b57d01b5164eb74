"""Thumbnails one by one, as somebody looks at a page that is served."""

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from batchgen.report.thumbnails.folder import Source, is_there, prepare, thumbnail_path
from batchgen.report.thumbnails.worker import NICENESS, PATIENCE_S, Worker


@dataclass(slots=True)
class _Making:
    """One thumbnail that somebody waits for."""

    future: Future[Path | None]
    n_waiting: int = 0


class Thumbnailer:
    """Makes thumbnails one by one as they are asked for, while an event loop does other things.

        async with Thumbnailer(root) as thumbnailer:
            path = await thumbnailer.thumbnail(Source(sha256, root / image.path))

    Who leaves the block ends what is being made; whoever still waits is told that there is none.
    """

    def __init__(
        self,
        root: Path,
        *,
        n_workers: int = 1,
        niceness: int = NICENESS,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._root = root
        self._niceness = niceness
        self._patience_s = patience_s
        self._threads = ThreadPoolExecutor(n_workers, "thumbnails")  # one waits for each worker
        self._making: dict[str, _Making] = {}
        self._lock = threading.Lock()
        self._idle: list[Worker] = []
        self._at_work: set[Worker] = set()
        self._is_off = False
        self._is_stuck = False  # a process that cannot even begin: no other one could
        # Pictures that cost a worker its life, or a minute: one such is enough.
        self._lost: set[str] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_off = True  # nothing is submitted any more
        await asyncio.to_thread(self._end)

    async def thumbnail(self, source: Source) -> Path | None:
        """Where the thumbnail of a picture is, made if it is not there; None if there can be none.

        All who ask for the same picture at the same time get the same one. One that is not begun
        when the last of them has gone away is not made.
        """
        if not source.is_named or self._is_off:
            return None
        making = self._making.get(source.sha256)
        if making is None:
            making = _Making(self._threads.submit(self._make, source))
            self._making[source.sha256] = making
        making.n_waiting += 1
        try:
            return await asyncio.shield(asyncio.wrap_future(making.future))
        finally:
            making.n_waiting -= 1
            if not making.n_waiting:
                making.future.cancel()
                del self._making[source.sha256]

    def _make(self, source: Source) -> Path | None:
        """Make one, in a thread, if it is not there."""
        path = thumbnail_path(self._root, source.sha256)
        if is_there(path):
            return path
        if source.sha256 in self._lost or prepare(self._root) is not None:
            return None
        worker = self._take_worker(source, path)
        if worker is None:
            return None
        word = worker.answer_within(self._patience_s)
        self._give_back(worker, is_alive=bool(word))
        if not word and not self._is_off:
            self._lost.add(source.sha256)
        return path if word == "made" else None

    def _take_worker(self, source: Source, path: Path) -> Worker | None:
        """A worker that has begun with a picture; None if there can be none."""
        while (worker := self._next_worker()) is not None:
            with suppress(OSError):  # it was killed while it had nothing to do
                worker.give(source, path)
                return worker
            self._give_back(worker, is_alive=False)
        return None

    def _next_worker(self) -> Worker | None:
        with self._lock:
            if self._is_off or self._is_stuck:
                return None
            if self._idle:
                worker = self._idle.pop()
                self._at_work.add(worker)
                return worker
            try:
                worker = Worker(self._niceness)
            except OSError:  # of too many open files there may be fewer the next time
                return None
            self._at_work.add(worker)
        if worker.answer_within(self._patience_s):
            return worker
        self._give_back(worker, is_alive=False)
        self._is_stuck = True
        return None

    def _give_back(self, worker: Worker, *, is_alive: bool) -> None:
        with self._lock:
            self._at_work.discard(worker)
            if is_alive and not self._is_off:
                self._idle.append(worker)
                return
        worker.end()

    def _end(self) -> None:
        with self._lock:
            for worker in self._at_work:
                worker.kill()  # who waits for its answer wakes up, and ends it
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.end()
        self._threads.shutdown()
