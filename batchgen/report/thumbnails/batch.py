"""The thumbnails of one report: those that are missing, made by a few processes at a time."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Final, TypeAlias

from batchgen.clock import Clock
from batchgen.report.thumbnails.folder import Source, is_there, prepare, thumbnail_path
from batchgen.report.thumbnails.worker import NO_WORKER, PATIENCE_S, Worker, with_answers

_MOST_WORKERS: Final = 4
_NO_DISK: Final = "the disk does not take them"


@dataclass(frozen=True, slots=True)
class Made:
    """What became of the thumbnails of some pictures, each picture counted once.

    Attributes:
        n_made: Made now.
        n_cached: There already.
        n_failed: The picture is missing, not as it was recorded, or cannot be decoded here.
        n_left: Not tried: there was no time, nobody wanted them, or there is a problem.
        problem: The last of these in words; None if there is none.
    """

    n_made: int = 0
    n_cached: int = 0
    n_failed: int = 0
    n_left: int = 0
    problem: str | None = None


OnProgress: TypeAlias = Callable[[Made], None]


def make_thumbnails(
    root: Path,
    sources: Iterable[Source],
    *,
    n_workers: int | None = None,
    longest_s: float | None = None,
    patience_s: float = PATIENCE_S,
    is_wanted: Callable[[], bool] = lambda: True,
    on_progress: OnProgress | None = None,
    clock: Clock | None = None,
) -> Made:
    """Make the thumbnails that are not there yet, a few at a time.

    Nothing that goes wrong is raised, except what `sources` and `on_progress` raise.

    Args:
        root: The job's directory.
        sources: The pictures, the most wanted first; taken one by one as workers have time.
        n_workers: How many processes; as many as there are processors, up to 4, unless it is told.
        longest_s: How long work is given out; None for as long as there is any.
        patience_s: How long one picture may take; then it is given up, and its process ended.
        is_wanted: Asked before each picture; once it says no, the rest is left.
        on_progress: Told after each picture that was tried.
        clock: Durations are taken from it.

    Cost: about 100 bytes a picture; a worker takes 30 MB, the file, and 5 bytes a pixel at most.
        Of one processor a PNG of 1024 px takes 0.06 s, one of 2048 px 0.16 s, and a JPEG of 4096 px
        0.07 s (`make bench`, thumbnails-1k, -2k and -4k).
    """
    clock = clock or Clock()
    ends_s = inf if longest_s is None else clock.monotonic_s() + longest_s
    batch = _Batch(
        root, n_workers or _n_workers(), ends_s, patience_s, clock, is_wanted, on_progress
    )
    try:
        for source in batch.missing(sources):
            if not batch.give(source):
                batch.leave()
        batch.finish()
    finally:
        batch.end()
    return batch.made


@dataclass(slots=True)
class _Batch:
    """The thumbnails of one report: which are missing, who makes which, and how many there are.

    Attributes:
        ends_s: When no more work is given out.
        starting: Workers that are not ready yet; like those at work, by when they must answer.
    """

    root: Path
    n_workers: int
    ends_s: float
    patience_s: float
    clock: Clock
    is_wanted: Callable[[], bool]
    on_progress: OnProgress | None
    made: Made = field(default_factory=Made)
    idle: list[Worker] = field(default_factory=list)
    starting: dict[Worker, float] = field(default_factory=dict)
    at_work: dict[Worker, float] = field(default_factory=dict)
    is_prepared: bool = False

    def missing(self, sources: Iterable[Source]) -> Iterator[Source]:
        """The pictures that have none, each digest once."""
        seen: set[bytes] = set()
        for source in sources:
            if not source.is_named:
                self._count(n_failed=1)
                continue
            digest = bytes.fromhex(source.sha256)
            if digest in seen:
                continue
            seen.add(digest)
            if is_there(thumbnail_path(self.root, source.sha256)):
                self.made = replace(self.made, n_cached=self.made.n_cached + 1)
            else:
                yield source

    def give(self, source: Source) -> bool:
        """Wait for a worker and give it a picture; False if time is over, or there is a problem."""
        if not self.is_prepared and self._goes_on:
            self.is_prepared = True
            self._stop(prepare(self.root, remove_left=True))
        while self._goes_on:
            if not self.idle:
                self._begin_one()
            if not self.idle and (self.starting or self.at_work):
                self._collect(self.ends_s)
            elif self.idle and self._give_to(self.idle.pop(), source):
                return True
        return False

    @property
    def _goes_on(self) -> bool:
        is_time_left = self.clock.monotonic_s() < self.ends_s
        return self.made.problem is None and is_time_left and self.is_wanted()

    def leave(self) -> None:
        """Count a picture that is not tried."""
        self.made = replace(self.made, n_left=self.made.n_left + 1)

    def finish(self) -> None:
        """Wait for those that are being made."""
        while self.at_work:
            self._collect()

    def end(self) -> None:
        """End all workers, whatever they do."""
        workers = (*self.idle, *self.starting, *self.at_work)
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.end()

    def _begin_one(self) -> None:
        if len(self.starting) + len(self.at_work) < self.n_workers:
            try:
                self.starting[Worker()] = self._deadline_s()
            except OSError:
                self._make_do()

    def _make_do(self) -> None:
        """One cannot be started: go on with those that there are, if there are any."""
        self.n_workers = len(self.idle) + len(self.starting) + len(self.at_work)
        if not self.n_workers:
            self._stop(NO_WORKER)

    def _give_to(self, worker: Worker, source: Source) -> bool:
        """Whether it takes the picture; it may have been killed while it had nothing to do."""
        try:
            worker.give(source, thumbnail_path(self.root, source.sha256))
        except OSError:
            worker.end()
            return False
        self.at_work[worker] = self._deadline_s()
        return True

    def _deadline_s(self) -> float:
        return self.clock.monotonic_s() + self.patience_s

    def _collect(self, until_s: float = inf) -> None:
        """Wait for an answer, or for the end of somebody's time, and count what it comes to."""
        waiting = {**self.starting, **self.at_work}
        left_s = min(until_s, *waiting.values()) - self.clock.monotonic_s()
        answers = {one: one.answer() for one in with_answers(waiting, max(0.0, left_s))}
        now_s = self.clock.monotonic_s()
        late = (one for one, ends_s in waiting.items() if ends_s <= now_s)
        for worker, word in {**dict.fromkeys(late, ""), **answers}.items():
            was_at_work = self.at_work.pop(worker, None) is not None
            self.starting.pop(worker, None)
            if word:
                self.idle.append(worker)
            else:
                worker.end()
            if was_at_work:
                self._count_answer(word)
            elif not word:
                self._make_do()

    def _count_answer(self, word: str) -> None:
        match word:
            case "made":
                self._count(n_made=1)
            case "unwritten":
                self.leave()
                self._stop(_NO_DISK)
            case _:
                self._count(n_failed=1)

    def _count(self, *, n_made: int = 0, n_failed: int = 0) -> None:
        made = self.made
        self.made = replace(made, n_made=made.n_made + n_made, n_failed=made.n_failed + n_failed)
        if self.on_progress is not None:
            self.on_progress(self.made)

    def _stop(self, problem: str | None) -> None:
        self.made = replace(self.made, problem=problem)


def _n_workers() -> int:
    has_affinity = hasattr(os, "sched_getaffinity")
    n_processors = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return min(_MOST_WORKERS, n_processors)
