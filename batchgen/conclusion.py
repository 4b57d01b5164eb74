"""The end of a run: what it exits with, the last line of its ledger, then all that is read.

A shard ends with its ledger: what is read is made by `report`, of all of them.

Where everything stands is counted first, in one pass over the items. It decides the exit code,
which is in the ledger's last line; and from the ledger everything else is made.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

from batchgen.clock import Clock
from batchgen.course import Course
from batchgen.dependencies import read_lineage
from batchgen.ending import EXIT_LEFT, Ending, FailOn, exit_code
from batchgen.errors import AttemptError, BatchgenError, StoreError, store_errors
from batchgen.limits import Limiter
from batchgen.model import Result, Status
from batchgen.pool import Pool
from batchgen.recorder import Recorder
from batchgen.report.earlier import keep_summary
from batchgen.report.reading import marked_items, summarize
from batchgen.report.seal import Seal
from batchgen.report.standing import is_left, result_of
from batchgen.report.summary import Summary
from batchgen.report.thumbnails import ThumbnailsOfARun
from batchgen.settle import CallEnd
from batchgen.stop import Stop
from batchgen.store.history import History
from batchgen.store.layout import Layout
from batchgen.store.ledger import End, Run


@dataclass(slots=True, kw_only=True)
class Conclusion:
    """Writes the end of one run, once nothing is under way any more.

    Attributes:
        run: The first line of its ledger.
        began_s: When it began, on the clock.
        n_selected: Items that it is about.
        most: The most calls that might be under way.
        fail_on: Which failures make it fail.
        thumbnails: Makes those of the page; None makes none.
        signal: Which signal came first, if any did.
        seal: Of the job, if the run found it unbroken.
        summary: Its figures, as they were written; where the disk could not take them, with exit
            code 12. None before.
    """

    run: Run
    began_s: float
    n_selected: int
    most: int
    fail_on: FailOn
    layout: Layout
    clock: Clock
    recorder: Recorder
    course: Course
    pool: Pool[CallEnd, Result]
    limiter: Limiter
    stop: Stop
    thumbnails: ThumbnailsOfARun | None
    signal: Callable[[], str | None]
    seal: Seal | None = None
    summary: Summary | None = None
    _are_too_many: bool = field(init=False, default=True)

    async def write(self, error: BaseException | None) -> None:
        """Write the end of the ledger, then results, summary and page.

        Args:
            error: What the run was left by, if it did not go on to its end.

        Raises:
            StoreError: The disk failed only now.
        """
        statuses = self._statuses()
        try:
            await self.recorder.cleared()
            # The reports read a history of their own; both would be held at once.
            self.recorder.history = History()
            self._are_too_many = await asyncio.to_thread(self._fails_by, statuses)
            end = self._end(self._exit_code(statuses, error))
            await self.recorder.segments.own.append(end)
            self.summary = await asyncio.to_thread(self._report, end)
        except StoreError as failed:
            first = error if isinstance(error, StoreError) else failed
            code = self._exit_code(statuses, first)
            self.summary = await asyncio.to_thread(self._unwritten_summary, first, code)
            # A disk that is full already has its say in the first error.
            if not isinstance(error, StoreError):
                raise

    def _statuses(self) -> dict[Status, int]:
        """How many of the items that the run is about stand where."""
        counts: dict[Status, int] = {"done": 0, "failed": 0, "skipped": 0, "pending": 0}
        told, limit = self.course.forecast, self.run.limit
        if told.is_idle and limit is None:
            return {**counts, "done": told.n_reused, "failed": told.n_settled}
        history = self.recorder.history
        lineage = read_lineage(self.layout, history)
        run_ids = {self.run.run_id}
        for item, is_selected in marked_items(self.layout, self.run):
            result = result_of(item, history.standing(lineage.resolved(item)))
            if is_selected and not is_left(result, run_ids, limit):
                counts[result.status] += 1
        if limit is not None:
            counts["pending"] = max(0, self.n_selected - sum(counts.values()))
        return counts

    def _fails_by(self, statuses: Mapping[Status, int]) -> bool:
        """Whether what failed makes the run fail, as the caller decided.

        Whether a failure is new is what the summary says too, before it is written.
        """
        n_failed = statuses["failed"] + statuses["skipped"]
        n_new = n_failed
        if self.fail_on.kind == "new" and n_failed:
            diff = summarize(self.layout).diff
            n_new = n_failed if diff is None else diff.count("new_failures")
        return self.fail_on.is_met(n_failed, n_new, sum(statuses.values()))

    def _exit_code(self, statuses: Mapping[Status, int], error: BaseException | None) -> int:
        defect = self.pool.defect
        failed = defect or error
        return exit_code(
            Ending(
                n_failed=statuses["failed"] + statuses["skipped"],
                n_pending=statuses["pending"],
                are_too_many=self._are_too_many,
                met_bug=self.recorder.met_bug or not isinstance(defect, BatchgenError | None),
                signal=self.signal(),
                failed=failed if isinstance(failed, BatchgenError) else None,
                is_stopped=isinstance(self.stop.cause, AttemptError),
                is_given_up=self.stop.asked,
                stop_code=self.stop.exit_code,
                out_codes=self.course.out_codes | ({EXIT_LEFT} if self.pool.later else set()),
            )
        )

    def _end(self, code: int) -> End:
        concurrency: dict[str, Any] = {
            "peak": self.limiter.peak,
            "final": self.limiter.concurrency,
            "most": self.most,
            "history": [asdict(step) for step in self.limiter.history],
        }
        return End(
            run_id=self.run.run_id,
            at=self.clock.stamp(),
            stop_reason=self.course.stop_reason or self.pool.later or "finished",
            exit_code=code,
            wall_s=round(self.clock.monotonic_s() - self.began_s, 3),
            concurrency=concurrency,
            n_selected=self.n_selected,
        )

    def _report(self, end: End) -> Summary:
        if self.layout.shard is not None:  # a report tells of all of them
            summary = summarize(self.layout)
            with store_errors(self.layout.runs):
                keep_summary(self.layout, summary)
            return summary
        from batchgen.report.rebuild import rebuild  # noqa: PLC0415 - only the end needs it
        from batchgen.report.retell import retell  # noqa: PLC0415 - the same

        is_through = end.exit_code == 0 and end.stop_reason == "finished"
        if self.seal is not None and is_through:
            told = retell(self.layout, self.seal, self.run, end)
            if told is not None:
                return told
        is_wanted = self.thumbnails is not None and self.signal() is None
        thumbnails = self.thumbnails if is_wanted else None
        seals = is_through and self.layout.away is None
        make = None if thumbnails is None else thumbnails.make
        return rebuild(self.layout, thumbnails=make, seals=seals)

    def _unwritten_summary(self, failed: StoreError, code: int) -> Summary | None:
        """The figures, added up without writing anything, for a disk that takes nothing more."""
        try:
            told = summarize(self.layout)
        except BatchgenError:
            return None
        return msgspec.structs.replace(
            told, exit_code=code, stop_reason=f"the disk failed: {failed}"
        )
