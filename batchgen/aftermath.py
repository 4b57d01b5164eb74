"""Once a run has ended, or could not begin, whoever watches from outside is told.

Nothing here fails a run: what goes wrong is told as a warning.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from batchgen.access import proxy_of_environment
from batchgen.clock import Clock
from batchgen.errors import BatchgenError, JobError, UsageError
from batchgen.hook import Hook, service_of
from batchgen.metrics import last_success, metrics_text, recall, write_metrics
from batchgen.mirror.remote import Remote
from batchgen.notify import Ended, is_worth_telling, message_of, post, posting
from batchgen.report.earlier import summary_before
from batchgen.report.summary import Summary
from batchgen.sanitize import Hidden, paired
from batchgen.store.layout import Layout
from batchgen.transport import tls_context

_BUG: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Aftermath:
    """Tells of one run.

    Attributes:
        job: Its name, as far as it is known; else that of its file.
        job_file: As the user named it.
        layout: The job's directory; None if there is none yet.
        hook: When, and in which form, a message is posted.
        url: Where to; None posts nothing.
        metrics_file: Replaced with the figures of the run; None writes none.
        ca_file: Certificates to trust besides.
        has_begun: Requests may have left.
        clock: Tells the time, and waits.
        fail: Told of what went wrong.
    """

    job: str
    job_file: Path
    layout: Layout | None
    hook: Hook
    url: Hidden | None
    metrics_file: Path | None
    ca_file: str | Path | None
    has_begun: bool
    clock: Clock
    fail: Callable[[str], None]

    async def tell(self, run_id: str, summary: Summary | None, failed: Exception | None) -> None:
        """Write the metrics, and post a message if this run is worth one.

        Args:
            run_id: The run.
            summary: Its figures; None if it has none.
            failed: What it ended with instead.
        """
        if self.url is None and self.metrics_file is None:
            return
        runs = None if self.layout is None else self.layout.runs
        before = None if runs is None else await asyncio.to_thread(summary_before, runs, run_id)
        code = getattr(failed, "exit_code", _BUG) if summary is None else summary.exit_code
        ended = Ended(
            job=paired(self.job),
            job_file=paired(str(self.job_file.absolute())),
            exit_code=code or 0,
            summary=summary,
            before=before,
            error=None if failed is None else paired(_said(failed)),
            place=self._place,
            has_begun=self.has_begun,
        )
        await self._write_metrics(ended, runs)
        await self._post(ended)

    @property
    def _place(self) -> str | None:
        layout = self.layout
        if layout is None:
            return None
        away = layout.away
        return away.address if isinstance(away, Remote) else str(layout.root.resolve())

    async def _write_metrics(self, ended: Ended, runs: Path | None) -> None:
        if self.metrics_file is None:
            return
        try:
            await asyncio.to_thread(self._replace_metrics, self.metrics_file, ended, runs)
        except BatchgenError as error:
            self.fail(f"the metrics of this run are not written: {error}")

    def _replace_metrics(self, path: Path, ended: Ended, runs: Path | None) -> None:
        job, success_at = ended.job, None if runs is None else last_success(runs)
        if runs is None or not runs.exists():
            # A job that cannot be read, or not wholly: its series go on under the name they had.
            job, success_at = recall(path) or (job, None)
        text = metrics_text(
            ended.summary,
            job=job,
            exit_code=ended.exit_code,
            ended_at=self._ended_at(ended),
            last_success_at=success_at,
        )
        write_metrics(path, text)

    def _ended_at(self, ended: Ended) -> datetime:
        told = None if ended.summary is None else ended.summary.finished_at
        return self.clock.now() if told is None else datetime.fromisoformat(told)

    async def _post(self, ended: Ended) -> None:
        if self.url is None or not is_worth_telling(self.hook.on, ended):
            return
        service = self.hook.service or service_of(self.url)
        where, document = posting(service, self.url, message_of(ended), ended)
        try:
            proxy, tls = proxy_of_environment(where), tls_context(self.ca_file)
        except UsageError as error:
            problem: str | None = str(error)
        else:
            problem = await post(where, document, clock=self.clock, tls=tls, proxy=proxy)
        if problem is not None:
            self.fail(f"nobody was told how this run ended: {problem}")


def _said(failed: Exception) -> str:
    """What a run ended with, in a sentence."""
    if isinstance(failed, JobError):
        n, first = failed.n_problems, str(failed.problems[0])
        return first if n == 1 else f"{n} errors in the job, the first: {first}"
    if isinstance(failed, BatchgenError):
        return str(failed)
    return f"a bug in batchgen ({type(failed).__name__}: {failed}): please report it"
